// Binds training: a model's forward pass on a tape, its gradients, and sums of gradients in place.
#include <pybind11/stl.h>

#include <memory>
#include <optional>

#include "bindings.h"
#include "tenon/models/registry.h"
#include "tenon/ops/checks.h"
#include "tenon/train/tape.h"

namespace tenon::python {
namespace {

using models::Inputs;
using models::Model;
using models::Outputs;

/// A borrowed Context that trains; given back as it was.
class TrainingContext {
 public:
  TrainingContext(Device device, const TrainingMode& mode, uint64_t seed) : borrowed_(device) {
    (*borrowed_).set_training(mode);
    (*borrowed_).random() = Random(seed);
  }
  ~TrainingContext() {
    (*borrowed_).set_recorder(nullptr);
    (*borrowed_).set_training({});
  }
  TrainingContext(const TrainingContext&) = delete;
  TrainingContext& operator=(const TrainingContext&) = delete;
  Context& operator*() { return *borrowed_; }

 private:
  BorrowedContext borrowed_;
};

/// What a forward pass left on its tape. The gradients can be had once.
class Recording {
 public:
  Recording(std::shared_ptr<Model> model, std::vector<Tensor> watched, const TrainingMode& mode, uint64_t seed)
      : model_(std::move(model)), watched_(std::move(watched)), mode_(mode), seed_(seed), tape_(std::make_unique<train::Tape>()) {
    for (const Tensor& t : watched_) tape_->watch(t);
  }

  Outputs forward(const Inputs& inputs) {
    TrainingContext context(model_->device(), mode_, seed_);
    if (!watched_.empty()) (*context).set_recorder(tape_.get());
    return model_->forward(*context, inputs);
  }

  void check_finite() { tape_->check_finite(); }
  bool tracks(const Tensor& t) const { return tape_ && tape_->wants(t); }

  std::vector<std::optional<Tensor>> backward(const std::vector<Tensor>& outputs, const std::vector<Tensor>& gradients) {
    // Whoever comes second, on this or another thread, finds no tape.
    const std::unique_ptr<train::Tape> tape = std::move(tape_);
    if (!tape) throw std::runtime_error("[backward] the gradients of this recording were already computed");
    std::vector<std::optional<Tensor>> found;
    py::gil_scoped_release release;
    TrainingContext context(model_->device(), mode_, seed_);
    tape->backward(*context, outputs, gradients);
    for (const Tensor& t : watched_) {
      Tensor gradient = tape->grad(t);
      found.push_back(gradient.defined() ? std::optional(std::move(gradient)) : std::nullopt);
    }
    return found;
  }

 private:
  std::shared_ptr<Model> model_;  // the tape reads its parameters
  std::vector<Tensor> watched_;
  TrainingMode mode_;
  uint64_t seed_;
  std::unique_ptr<train::Tape> tape_;  // parts that are computed again point to it: it never moves
};

std::pair<py::dict, std::shared_ptr<Recording>> record(std::shared_ptr<Model> model, const py::dict& given, std::vector<Tensor> watched,
                                                       bool dropout, ProductType matmul, bool checkpoint, uint64_t seed, bool check_finite) {
  const Inputs inputs = inputs_of(given);
  TrainingMode mode = matmul.on(model->device());
  mode.dropout = dropout, mode.checkpoint = checkpoint;
  auto recording = std::make_shared<Recording>(std::move(model), std::move(watched), mode, seed);
  if (check_finite) recording->check_finite();
  Outputs outputs;
  {
    py::gil_scoped_release release;
    outputs = recording->forward(inputs);
  }
  return {dict_of(outputs), recording};
}

/// sums[i] += terms[i].
void add_in_place(std::vector<Tensor> sums, const std::vector<Tensor>& terms) {
  check(sums.size() == terms.size(), ErrorCode::Shape, "gradient", "expected ", sums.size(), " tensors, got ", terms.size());
  for (size_t i = 0; i < sums.size(); ++i) {
    BorrowedContext context(sums[i].device());
    Context& ctx = *context;
    ops::detail::check_here(ctx, "gradient", terms[i]);
    check(sums[i].shape() == terms[i].shape() && sums[i].dtype() == DType::F32 && terms[i].dtype() == DType::F32, ErrorCode::Shape, "gradient",
          "expected ", sums[i].describe(), ", got ", terms[i].describe());
    float* to = sums[i].ptr<float>();
    const float* from = terms[i].ptr<float>();
    ctx.over_rows(sums[i].numel(), 1, [&](int64_t begin, int64_t end) {
      ctx.kernels().add(to + begin, to + begin, from + begin, end - begin, DType::F32);
    });
    ++sums[i].storage()->version;
  }
}

/// tensors[i] *= factor.
void scale_in_place(std::vector<Tensor> tensors, float factor) {
  for (Tensor& t : tensors) {
    BorrowedContext context(t.device());
    float* const to = t.ptr<float>();
    (*context).over_rows(t.numel(), 1, [&](int64_t begin, int64_t end) {
      (*context).kernels().axpby(to + begin, to + begin, end - begin, factor, 0);
    });
    ++t.storage()->version;
  }
}

/// A number that changes when one of the tensors is changed in place.
uint64_t versions(const std::vector<Tensor>& tensors) {
  uint64_t sum = 0;
  for (const Tensor& t : tensors) sum += t.storage() ? t.storage()->version : 0;
  return sum;
}

}  // namespace

void bind_training(py::module_& m) {
  py::class_<Recording, std::shared_ptr<Recording>>(m, "Recording", "A forward pass whose gradients can be had, once.")
      .def("tracks", &Recording::tracks, "Whether a tensor was computed from a watched one.")
      .def("backward", &Recording::backward, py::arg("outputs"), py::arg("gradients"),
           "The gradients of the watched tensors, None where nothing depended on one, given those of some outputs.");
  auto model = static_cast<py::class_<Model, std::shared_ptr<Model>>>(m.attr("Model"));
  model.def("record", &record, py::arg("inputs"), py::arg("watched"), py::arg("dropout") = false, py::arg("matmul") = ProductType(),
            py::arg("checkpoint") = false, py::arg("seed") = 0, py::arg("check_finite") = false,
            "The forward pass as training computes it: the outputs, and a Recording for the gradients of the watched tensors.");
  m.def("add_in_place", &add_in_place, py::call_guard<py::gil_scoped_release>(), "sums[i] += terms[i], float32.");
  m.def("scale_in_place", &scale_in_place, py::arg("tensors"), py::arg("factor"), py::call_guard<py::gil_scoped_release>(),
        "tensors[i] *= factor, float32.");
  m.def("versions", &versions, "A number that changes when one of the tensors is changed in place.");
}

}  // namespace tenon::python
