// Binds the making of quantised checkpoints.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "bindings.h"
#include "tenon/tasks/quantize.h"

namespace tenon::python {
namespace {

py::dict layer_of(const compress::LayerReport& l) {
  using namespace pybind11::literals;
  return py::dict("name"_a = l.name, "quantized"_a = l.quantized, "note"_a = l.note, "error"_a = l.error, "ratio"_a = l.ratio,
                  "tokens"_a = l.tokens);
}

QuantizeReport run(const std::string& folder, const std::string& output, const std::vector<std::string>& texts,
                   const std::vector<std::string>& held_out, QuantizeOptions options, const py::object& progress) {
  if (!progress.is_none())
    options.progress = [&progress](const QuantizeProgress& p) {
      py::gil_scoped_acquire held;
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      progress(p.layer, p.layers, p.left);
      return true;
    };
  py::gil_scoped_release release;
  return quantize(folder, output, texts, held_out, options);
}

}  // namespace

void bind_quantize(py::module_& m) {
  py::class_<QuantizeOptions>(m, "QuantizeOptions")
      .def(py::init<>())
      .def_property(
          "method", [](const QuantizeOptions& o) { return compress::name_of(o.block.method); },
          [](QuantizeOptions& o, const std::string& name) { o.block.method = compress::parse_method(name); })
      .def_property(
          "group_size", [](const QuantizeOptions& o) { return o.block.group; }, [](QuantizeOptions& o, int64_t v) { o.block.group = v; })
      .def_property(
          "symmetric", [](const QuantizeOptions& o) { return o.block.symmetric; },
          [](QuantizeOptions& o, bool v) { o.block.symmetric = v; })
      .def_property(
          "clip", [](const QuantizeOptions& o) { return o.block.clip; }, [](QuantizeOptions& o, bool v) { o.block.clip = v; })
      .def_property(
          "desc_act", [](const QuantizeOptions& o) { return o.block.desc_act; }, [](QuantizeOptions& o, bool v) { o.block.desc_act = v; })
      .def_property(
          "damp_percent", [](const QuantizeOptions& o) { return o.block.damp_percent; },
          [](QuantizeOptions& o, double v) { o.block.damp_percent = v; })
      .def_property(
          "smooth", [](const QuantizeOptions& o) { return o.block.smooth; },
          [](QuantizeOptions& o, std::optional<float> v) { o.block.smooth = v; })
      .def_readwrite("format", &QuantizeOptions::format)
      .def_readwrite("samples", &QuantizeOptions::samples)
      .def_readwrite("length", &QuantizeOptions::length)
      .def_readwrite("held_out", &QuantizeOptions::held_out)
      .def_readwrite("modules_to_not_convert", &QuantizeOptions::modules_to_not_convert)
      .def_readwrite("max_shard_bytes", &QuantizeOptions::max_shard_bytes);
  py::class_<QuantizeReport>(m, "QuantizeReport")
      .def_property_readonly("layers",
                             [](const QuantizeReport& r) {
                               py::list all;
                               for (const compress::LayerReport& l : r.layers) all.append(layer_of(l));
                               return all;
                             })
      .def_readonly("errors", &QuantizeReport::errors)
      .def_readonly("notes", &QuantizeReport::notes)
      .def_readonly("windows", &QuantizeReport::windows)
      .def_readonly("length", &QuantizeReport::length)
      .def_readonly("bytes_before", &QuantizeReport::bytes_before)
      .def_readonly("bytes_after", &QuantizeReport::bytes_after)
      .def_readonly("perplexity_before", &QuantizeReport::perplexity_before)
      .def_readonly("perplexity_after", &QuantizeReport::perplexity_after)
      .def_readonly("seconds", &QuantizeReport::seconds);
  m.def("quantize", &run, py::arg("folder"), py::arg("output"), py::arg("texts"), py::arg("held_out"), py::arg("options"),
        py::arg("progress") = py::none());
}

}  // namespace tenon::python
