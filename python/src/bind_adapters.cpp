// Binds LoRA adapters of a model: names, files, switching and merging.
#include <pybind11/stl.h>

#include <memory>

#include "bindings.h"
#include "tenon/models/adapters.h"

namespace tenon::python {
namespace {

using models::Adapters;
using models::Model;

/// Adapters that keep their model alive.
class PythonAdapters {
 public:
  explicit PythonAdapters(std::shared_ptr<Model> model) : model_(std::move(model)), adapters_(*model_) {}

  Adapters& operator*() { return adapters_; }
  template <class F>
  void change(F&& f) {
    py::gil_scoped_release release;
    BorrowedContext context(model_->device());
    f(*context, adapters_);
  }

 private:
  std::shared_ptr<Model> model_;
  Adapters adapters_;
};

py::list parameters(PythonAdapters& self, const std::string& name) {
  py::list all;
  for (const Adapters::Parameter& p : (*self).parameters(name)) all.append(py::make_tuple(p.module, p.part, p.saved, p.value));
  return all;
}

}  // namespace

void bind_adapters(py::module_& m) {
  using Names = std::vector<std::string>;
  py::class_<PythonAdapters>(m, "Adapters", "LoRA adapters of a model. What changes it must not run beside its forward passes.")
      .def(py::init<std::shared_ptr<Model>>(), py::arg("model"))
      .def(
          "add",
          [](PythonAdapters& a, const std::string& name, const py::object& config, uint64_t seed) {
            (*a).add(name, to_json(config), seed);
          },
          py::arg("name"), py::arg("config"), py::arg("seed"))
      .def(
          "load", [](PythonAdapters& a, const std::string& name, const std::string& folder) { return (*a).load(name, folder); },
          py::arg("name"), py::arg("folder"), py::call_guard<py::gil_scoped_release>(),
          "Returns the names of tensors that the folder lacks.")
      .def(
          "save", [](PythonAdapters& a, const std::string& name, const std::string& folder) { (*a).save(name, folder); }, py::arg("name"),
          py::arg("folder"), py::call_guard<py::gil_scoped_release>())
      .def(
          "remove", [](PythonAdapters& a, const std::string& name) { a.change([&](Context& c, Adapters& x) { x.remove(c, name); }); },
          py::arg("name"))
      .def(
          "activate", [](PythonAdapters& a, const Names& names) { a.change([&](Context& c, Adapters& x) { x.activate(c, names); }); },
          py::arg("names"))
      .def(
          "merge", [](PythonAdapters& a, const Names& names) { a.change([&](Context& c, Adapters& x) { x.merge(c, names); }); },
          py::arg("names"))
      .def("unmerge", [](PythonAdapters& a) { a.change([](Context& c, Adapters& x) { x.unmerge(c); }); })
      .def("to", [](PythonAdapters& a, const std::string& device) {
        const Device to = parse_device(device);
        py::gil_scoped_release release;
        BorrowedContext context(to);
        (*a).to(*context);
      }, py::arg("device"), "Moves the model with its adapters.")
      .def("forget", [](PythonAdapters& a) { a.change([](Context& c, Adapters& x) { x.forget(c); }); })
      .def(
          "config", [](PythonAdapters& a, const std::string& name) { return to_python((*a).config(name)); }, py::arg("name"))
      .def(
          "set_config",
          [](PythonAdapters& a, const std::string& name, const py::object& config) { (*a).set_config(name, to_json(config)); },
          py::arg("name"), py::arg("config"))
      .def("parameters", &parameters, py::arg("name"), "(module, part, whether it stands in for a parameter of the model, tensor) of each.")
      .def(
          "scalings", [](PythonAdapters& a, const std::string& name) { return (*a).scalings(name); }, py::arg("name"))
      .def_property_readonly("names", [](PythonAdapters& a) { return (*a).names(); })
      .def_property_readonly("active", [](PythonAdapters& a) { return (*a).active(); })
      .def_property_readonly("merged", [](PythonAdapters& a) { return (*a).merged(); })
      .def_property_readonly("layers", [](PythonAdapters& a) { return (*a).layers(); });
}

}  // namespace tenon::python
