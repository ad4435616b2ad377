// Binds models: the registry, loading and saving, and the forward pass with inputs and outputs by name.
#include <pybind11/stl.h>

#include <memory>
#include <type_traits>

#include "bindings.h"
#include "tenon/models/registry.h"

namespace tenon::python {
namespace {

using models::Inputs;
using models::LoadOptions;
using models::LoadReport;
using models::Model;
using models::Outputs;
using models::Precision;

constexpr std::pair<const char*, bool Inputs::*> kFlags[] = {{"output_hidden_states", &Inputs::output_hidden_states},
                                                             {"output_attentions", &Inputs::output_attentions},
                                                             {"interpolate_pos_encoding", &Inputs::interpolate_pos_encoding},
                                                             {"return_loss", &Inputs::return_loss},
                                                             {"output_router_logits", &Inputs::output_router_logits},
                                                             {"use_cache", &Inputs::use_cache}};

py::dict forward(const Model& model, const py::kwargs& given) {
  const Inputs inputs = inputs_of(given);
  Outputs outputs;
  {
    py::gil_scoped_release release;
    BorrowedContext context(model.device());
    outputs = model.forward(*context, inputs);
  }
  return dict_of(outputs);
}

py::dict encode(const Model& model, const py::kwargs& given) {
  const Inputs inputs = inputs_of(given);
  Outputs outputs;
  {
    py::gil_scoped_release release;
    BorrowedContext context(model.device());
    outputs = model.encode(*context, inputs);
  }
  return dict_of(outputs);
}

Tensor features(const Model& model, const py::kwargs& given) {
  const Inputs inputs = inputs_of(given);
  py::gil_scoped_release release;
  BorrowedContext context(model.device());
  return model.features(*context, inputs);
}

std::pair<std::shared_ptr<Model>, LoadReport> load(const std::string& folder, LoadOptions options, const py::object& overrides,
                                                   const std::string& device) {
  options.config_overrides = to_json(overrides);
  LoadReport report;
  py::gil_scoped_release release;
  BorrowedContext context(parse_device(device));
  std::shared_ptr<Model> model = models::load(*context, folder, options, &report);
  return {std::move(model), std::move(report)};
}

std::shared_ptr<Model> from_config(const py::object& config, const LoadOptions& options) {
  const Json json = to_json(config);
  py::gil_scoped_release release;
  BorrowedContext context;
  return models::from_config(*context, json, options);
}

void pack(Model& model, Precision precision) {
  BorrowedContext context(model.device());
  model.pack(*context, precision);
}

void move(Model& model, const std::string& device) {
  BorrowedContext context(parse_device(device));
  model.to(*context);
}

}  // namespace

Inputs inputs_of(const py::dict& given) {
  Inputs inputs;
  for (const auto& [key, value] : given) {
    const auto name = key.cast<std::string>();
    bool known = false;
    inputs.visit([&](const char* member, auto& to) {
      if (name != member) return;
      known = true;
      using To = std::remove_reference_t<decltype(to)>;
      to = value.template cast<To>();
    });
    for (const auto& [flag, member] : kFlags) {
      if (name != flag) continue;
      known = true;
      inputs.*member = value.cast<bool>();
    }
    if (name == "past_key_values") {
      known = true;
      inputs.past_key_values = value.cast<std::shared_ptr<models::PastKeyValues>>();
    }
    check(known, ErrorCode::Type, "forward", "unknown argument '", name, "'");
  }
  return inputs;
}

py::dict dict_of(Outputs& outputs) {
  py::dict d;
  outputs.visit([&](const char* name, auto& value) {
    if constexpr (std::is_same_v<std::remove_reference_t<decltype(value)>, Tensor>) {
      if (value.defined()) d[name] = value;
    } else if (!value.empty()) {
      py::tuple all(value.size());
      for (size_t i = 0; i < value.size(); ++i) all[i] = value[i];
      d[name] = all;
    }
  });
  if (outputs.past_key_values) d["past_key_values"] = outputs.past_key_values;
  return d;
}

void bind_models(py::module_& m) {
  py::enum_<Precision>(m, "Precision", "Of the weights and of the activations between them.")
      .value("float32", Precision::Float32)
      .value("bfloat16", Precision::BFloat16)
      .value("int8", Precision::Int8)
      .value("int4", Precision::Int4)
      .value("fp8", Precision::Fp8);
  py::class_<LoadReport>(m, "LoadReport", "What did not fit between a checkpoint and a model, by the checkpoint's names.")
      .def_readwrite("missing", &LoadReport::missing)
      .def_readwrite("unexpected", &LoadReport::unexpected)
      .def_readwrite("mismatched", &LoadReport::mismatched);
  py::class_<LoadOptions>(m, "LoadOptions")
      .def(py::init<>())
      .def_readwrite("class_name", &LoadOptions::class_name)
      .def_readwrite("precision", &LoadOptions::precision)
      .def_readwrite("automatic_precision", &LoadOptions::automatic_precision)
      .def_readwrite("exact_products", &LoadOptions::exact_products)
      .def_readwrite("fp8_rows", &LoadOptions::fp8_rows)
      .def_readwrite("pack", &LoadOptions::pack)
      .def_readwrite("allow_missing", &LoadOptions::allow_missing)
      .def_readwrite("ignore_mismatched_sizes", &LoadOptions::ignore_mismatched_sizes)
      .def_readwrite("seed", &LoadOptions::seed);
  py::class_<Model, std::shared_ptr<Model>>(m, "Model", "A loaded model; several threads may call forward() at once.")
      .def_property_readonly("class_name", &Model::class_name)
      .def_property_readonly("base_prefix", &Model::base_prefix)
      .def_property_readonly("precision", &Model::precision)
      .def_property_readonly("fp8_rows", &Model::fp8_rows)
      .def_property_readonly("device", [](const Model& model) { return model.device().str(); })
      .def_property("config", [](const Model& model) { return to_python(model.config()); },
                    [](Model& model, const py::object& config) { model.config() = to_json(config); })
      .def("forward", &forward)
      .def("features", &features)
      .def("encode", &encode)
      .def("parameters", &Model::parameters)
      .def("quantized_parts", &Model::quantized_parts)
      .def("num_parameters", &Model::num_parameters)
      .def("to", &move, py::call_guard<py::gil_scoped_release>())
      .def("pack", &pack, py::call_guard<py::gil_scoped_release>())
      .def("unpack", &Model::unpack, py::call_guard<py::gil_scoped_release>());
  m.def("load", &load, py::arg("folder"), py::arg("options"), py::arg("overrides") = py::none(), py::arg("device") = "cpu");
  m.def("from_config", &from_config, py::arg("config"), py::arg("options"));
  m.def("copy", [](const Model& model, const LoadOptions& options) {
    BorrowedContext context(model.device());
    return std::shared_ptr<Model>(models::copy(*context, model, options));
  }, py::arg("model"), py::arg("options"), py::call_guard<py::gil_scoped_release>());
  m.def("save", &models::save, py::arg("model"), py::arg("folder"), py::arg("max_shard_bytes"), py::call_guard<py::gil_scoped_release>());
  m.def("registry", [] {
    py::list rows;
    for (const models::Entry& e : models::registry()) rows.append(py::make_tuple(e.model_type, e.class_name, e.auto_class));
    return rows;
  }, "All models known, as (model_type, class name, Auto class).");
}

}  // namespace tenon::python
