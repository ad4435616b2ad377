// Binds a mixture of experts as a layer of its own, and how a model's mixtures route and are balanced.
#include <pybind11/stl.h>

#include <memory>

#include "bindings.h"
#include "tenon/models/model.h"
#include "tenon/nn/mixture_of_experts.h"
#include "tenon/quant/format.h"

namespace tenon::python {
namespace {

using nn::MixtureOfExperts;

struct Result {
  Tensor y;
  ops::Routing routing;
};

Result forward(const MixtureOfExperts& layer, const Tensor& x) {
  Result r;
  BorrowedContext context;
  r.y = layer.forward(*context, x, &r.routing);
  return r;
}

MixtureOfExperts make(const nn::MoeConfig& config, uint64_t seed, float std, const std::string& dtype) {
  MixtureOfExperts layer(config, seed, std);
  BorrowedContext context;
  layer.pack(*context, quant::parse_format(dtype));
  return layer;
}

void bind_routing(py::module_& m) {
  using models::RoutingSettings;
  py::enum_<ops::BalanceKind>(m, "BalanceKind", "How the balance loss counts.")
      .value("megablocks", ops::BalanceKind::Megablocks)
      .value("switch", ops::BalanceKind::Switch)
      .value("hf", ops::BalanceKind::Hf)
      .value("deepseek", ops::BalanceKind::Deepseek);
  py::class_<RoutingSettings>(m, "RoutingSettings", "How a model's mixtures route, and the weights of what their routers are taught.")
      .def(py::init<>())
      .def_readwrite("active_experts", &RoutingSettings::active_experts)
      .def_readwrite("newcomers", &RoutingSettings::newcomers)
      .def_readwrite("newcomer_weight", &RoutingSettings::newcomer_weight)
      .def_readwrite("noise", &RoutingSettings::noise)
      .def_readwrite("jitter", &RoutingSettings::jitter)
      .def_readwrite("report", &RoutingSettings::report)
      .def_readwrite("balance", &RoutingSettings::balance)
      .def_readwrite("sequence_balance", &RoutingSettings::sequence_balance)
      .def_readwrite("device", &RoutingSettings::device)
      .def_readwrite("communication", &RoutingSettings::communication)
      .def_readwrite("z", &RoutingSettings::z)
      .def_readwrite("load_entropy", &RoutingSettings::load_entropy)
      .def_readwrite("token_entropy", &RoutingSettings::token_entropy)
      .def_readwrite("router_target", &RoutingSettings::router_target)
      .def_property("balance_kind", [](const RoutingSettings& s) { return s.losses.balance; },
                    [](RoutingSettings& s, ops::BalanceKind v) { s.losses.balance = v; })
      .def_property("devices", [](const RoutingSettings& s) { return s.losses.devices; },
                    [](RoutingSettings& s, int64_t v) { s.losses.devices = v; })
      .def_property("devices_per_token", [](const RoutingSettings& s) { return s.losses.devices_per_token; },
                    [](RoutingSettings& s, int64_t v) { s.losses.devices_per_token = v; });
  auto model = static_cast<py::class_<models::Model, std::shared_ptr<models::Model>>>(m.attr("Model"));
  model.def("set_routing", &models::Model::set_routing, py::arg("settings"), "Routes like this from now on.");
  model.def_property_readonly("routing", [](const models::Model& self) { return self.routing(); }, "The settings of now, a copy.");
  m.def("update_correction_bias", [](Tensor bias, const std::vector<int64_t>& loads, float gamma) { ops::update_correction_bias(bias, loads, gamma); },
        py::arg("bias"), py::arg("loads"), py::arg("gamma"), "bias_i += gamma * sign(mean load - load_i), in place.");
}

}  // namespace

void bind_moe(py::module_& m) {
  bind_routing(m);
  py::class_<nn::MoeConfig>(m, "MoeConfig")
      .def(py::init<>())
      .def_readwrite("hidden_size", &nn::MoeConfig::hidden_size)
      .def_readwrite("intermediate_size", &nn::MoeConfig::intermediate_size)
      .def_readwrite("num_experts", &nn::MoeConfig::num_experts)
      .def_readwrite("shared_intermediate_size", &nn::MoeConfig::shared_intermediate_size)
      .def_readwrite("correction_bias", &nn::MoeConfig::correction_bias)
      .def_property("top_k", [](const nn::MoeConfig& c) { return c.router.top_k; }, [](nn::MoeConfig& c, int64_t v) { c.router.top_k = v; })
      .def_property("n_group", [](const nn::MoeConfig& c) { return c.router.groups; }, [](nn::MoeConfig& c, int64_t v) { c.router.groups = v; })
      .def_property("topk_group", [](const nn::MoeConfig& c) { return c.router.top_groups; },
                    [](nn::MoeConfig& c, int64_t v) { c.router.top_groups = v; })
      .def_property("norm_topk_prob", [](const nn::MoeConfig& c) { return c.router.normalize; },
                    [](nn::MoeConfig& c, bool v) { c.router.normalize = v; })
      .def_property("routed_scaling_factor", [](const nn::MoeConfig& c) { return c.router.scale; },
                    [](nn::MoeConfig& c, float v) { c.router.scale = v; })
      .def_property("capacity_factor", [](const nn::MoeConfig& c) { return c.router.capacity_factor; },
                    [](nn::MoeConfig& c, float v) { c.router.capacity_factor = v; })
      .def_property("expert_choice", [](const nn::MoeConfig& c) { return c.router.expert_choice; },
                    [](nn::MoeConfig& c, bool v) { c.router.expert_choice = v; })
      .def_property("sigmoid", [](const nn::MoeConfig& c) { return c.router.score == ops::RouterScore::Sigmoid; },
                    [](nn::MoeConfig& c, bool v) {
                      c.router.score = v ? ops::RouterScore::Sigmoid : ops::RouterScore::Softmax;
                      c.router.group_by_top2 = v;
                    });
  py::class_<Result>(m, "MoeResult")
      .def_readonly("hidden_states", &Result::y)
      .def_property_readonly("router_logits", [](const Result& r) { return r.routing.logits; })
      .def_property_readonly("weights", [](const Result& r) { return r.routing.weight; })
      .def_property_readonly("experts", [](const Result& r) { return r.routing.expert.tensor().to(Device{}).view({r.routing.N, r.routing.K}); })
      .def_property_readonly("loads", [](const Result& r) { return r.routing.loads(); })
      .def_property_readonly("load_entropy", [](const Result& r) { return r.routing.load_entropy(); })
      .def_property_readonly("max_violation", [](const Result& r) { return r.routing.max_violation(); })
      .def_property_readonly("dropped_share", [](const Result& r) { return r.routing.dropped_share(); });
  py::class_<MixtureOfExperts>(m, "MixtureOfExperts")
      .def(py::init(&make), py::arg("config"), py::arg("seed"), py::arg("std"), py::arg("dtype"), py::call_guard<py::gil_scoped_release>())
      .def("forward", &forward, py::call_guard<py::gil_scoped_release>())
      .def("parameters", &MixtureOfExperts::parameters)
      .def("set", &MixtureOfExperts::set)
      .def("pack", [](MixtureOfExperts& layer, const std::string& dtype) {
        BorrowedContext context;
        layer.pack(*context, quant::parse_format(dtype));
      }, py::call_guard<py::gil_scoped_release>());
}

}  // namespace tenon::python
