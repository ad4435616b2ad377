// Binds sparse training and checkpoints without zeros.
#include <pybind11/stl.h>

#include <optional>

#include "bindings.h"
#include "tenon/io/sparse_weights.h"
#include "tenon/train/sparse.h"

namespace tenon::python {
namespace {

using namespace train;

template <class T>
void set(T& to, const py::dict& options, const char* name) {
  if (options.contains(name)) to = options[name].cast<T>();
}

/// Errors: Error(Limit) for a setting out of its range.
SparseSettings settings_of(const py::dict& options) {
  SparseSettings s;
  if (options.contains("method")) s.method = parse_sparse_method(options["method"].cast<std::string>());
  if (options.contains("distribution")) s.distribution = parse_sparse_distribution(options["distribution"].cast<std::string>());
  set(s.density, options, "density");
  set(s.drop_fraction, options, "drop_fraction");
  set(s.begin, options, "begin");
  set(s.end, options, "end");
  set(s.every, options, "every");
  set(s.seed, options, "seed");
  check_settings(s);
  return s;
}

std::vector<double> densities(const std::vector<std::vector<int64_t>>& shapes, const py::dict& options) {
  const SparseSettings s = settings_of(options);
  std::vector<Shape> all;
  for (const auto& dims : shapes) all.emplace_back(dims.begin(), dims.end());
  return layer_densities(all, s.density, s.distribution);
}

Tensor new_mask(const std::vector<int64_t>& shape, double goal, const py::dict& options, uint64_t stream) {
  const SparseSettings s = settings_of(options);
  return random_mask(Shape(shape.begin(), shape.end()), s.method == SparseMethod::Magnitude ? 1 : goal, s.seed, stream);
}

void changed(const Tensor& t) {
  if (t.defined()) ++t.storage()->version;
}

void apply_masks(const std::vector<Tensor>& tensors, const std::vector<Tensor>& masks) {
  check(tensors.size() == masks.size(), ErrorCode::Shape, "sparse training", "expected ", tensors.size(), " masks, got ", masks.size());
  py::gil_scoped_release release;
  BorrowedContext context;
  for (size_t i = 0; i < tensors.size(); ++i) {
    apply_mask(*context, tensors[i], masks[i]);
    changed(tensors[i]);
  }
}

std::pair<int64_t, int64_t> update(const py::dict& options, double goal, const Tensor& mask, const Tensor& weight,
                                   const std::optional<Tensor>& gradient, const std::vector<Tensor>& moments, uint64_t stream,
                                   int64_t step) {
  const SparseSettings s = settings_of(options);
  py::gil_scoped_release release;
  const SparseMoves moves = update_connections(s, goal, mask, weight, gradient.value_or(Tensor()), moments, stream, step);
  changed(mask);
  changed(weight);
  for (const Tensor& m : moments) changed(m);
  return {moves.dropped, moves.grown};
}

io::SparseLayout layout_of(const std::string& name) {
  if (name == "dense") return io::SparseLayout::Dense;
  if (name == "bitmask") return io::SparseLayout::Bitmask;
  check(name == "2:4", ErrorCode::Limit, "sparse weights", "layout: expected one of dense, bitmask, 2:4, got '", name, "'");
  return io::SparseLayout::TwoFour;
}

}  // namespace

void bind_sparse(py::module_& m) {
  m.def(
      "sparse_check", [](const py::dict& options) { settings_of(options); }, py::arg("options"),
      "ValueError naming a setting that is out of range.");
  m.def("sparse_densities", &densities, py::arg("shapes"), py::arg("options"), "The density of each of several layers.");
  m.def("sparse_mask", &new_mask, py::arg("shape"), py::arg("density"), py::arg("options"), py::arg("stream"),
        "The first mask of a layer.");
  m.def("sparse_apply", &apply_masks, py::arg("tensors"), py::arg("masks"), "Sets tensors to 0 in place where their masks are 0.");
  m.def(
      "sparse_updates_at", [](const py::dict& options, int64_t step) { return updates_at(settings_of(options), step); }, py::arg("options"),
      py::arg("step"), "Whether connections change at this step (from 1).");
  m.def("sparse_update", &update, py::arg("options"), py::arg("density"), py::arg("mask"), py::arg("weight"), py::arg("gradient"),
        py::arg("moments"), py::arg("stream"), py::arg("step"),
        "One update of a layer, in place; returns how many connections went and came.");
  m.def(
      "sparse_tensors",
      [](const std::string& name, const Tensor& w, const std::string& layout) { return io::sparse_tensors(name, w, layout_of(layout)); },
      py::arg("name"), py::arg("weight"), py::arg("layout"), "The tensors that stand for a weight in a file.");
  m.def(
      "rewrite_checkpoint",
      [](const std::string& from, const std::string& to, const std::string& layout, double max_density) {
        return io::rewrite_checkpoint(from, to, layout_of(layout), max_density);
      },
      py::arg("source"), py::arg("target"), py::arg("layout"), py::arg("max_density") = 0.5, py::call_guard<py::gil_scoped_release>(),
      "Writes a checkpoint again in another layout; returns how many weights were compressed.");
}

}  // namespace tenon::python
