// Binds optimisers: one step for a list of parameters, states, gradient norms and clipping.
#include <pybind11/stl.h>

#include <optional>

#include "bindings.h"
#include "tenon/train/optim.h"

namespace tenon::python {
namespace {

using namespace train;

template <class T>
void set(T& to, const py::dict& options, const char* name) {
  if (options.contains(name)) to = options[name].cast<T>();
}

template <class Options>
void set_betas(Options& o, const py::dict& options) {
  if (!options.contains("betas")) return;
  const auto [beta1, beta2] = options["betas"].cast<std::pair<double, double>>();
  o.beta1 = beta1;
  o.beta2 = beta2;
}

template <class Options>
Options moments(const py::dict& options) {
  Options o;
  set(o.lr, options, "lr");
  set_betas(o, options);
  set(o.weight_decay, options, "weight_decay");
  if constexpr (requires { o.eps; }) set(o.eps, options, "eps");
  return o;
}

/// The settings of one kind of optimiser under PyTorch's names. Errors: Error(Limit) for one out of range or an unknown kind.
Algorithm algorithm_of(const std::string& kind, const py::dict& options) {
  if (kind == "adamw") {
    AdamW o = moments<AdamW>(options);
    set(o.decoupled, options, "decoupled_weight_decay");
    set(o.amsgrad, options, "amsgrad");
    set(o.maximize, options, "maximize");
    return o;
  }
  if (kind == "adamw8bit") {
    AdamW8bit o = moments<AdamW8bit>(options);
    set(o.smallest, options, "min_8bit_size");
    return o;
  }
  if (kind == "lion") return moments<Lion>(options);
  if (kind == "sgd") {
    Sgd o;
    set(o.lr, options, "lr");
    set(o.momentum, options, "momentum");
    set(o.dampening, options, "dampening");
    set(o.weight_decay, options, "weight_decay");
    set(o.nesterov, options, "nesterov");
    set(o.maximize, options, "maximize");
    return o;
  }
  check(kind == "adafactor", ErrorCode::Limit, "optimizer", "unknown kind '", kind, "'");
  Adafactor o;
  set(o.lr, options, "lr");
  if (options.contains("eps")) std::tie(o.eps1, o.eps2) = options["eps"].cast<std::pair<double, double>>();
  set(o.clip_threshold, options, "clip_threshold");
  set(o.decay_rate, options, "decay_rate");
  set(o.beta1, options, "beta1");
  set(o.weight_decay, options, "weight_decay");
  set(o.scale_parameter, options, "scale_parameter");
  set(o.relative_step, options, "relative_step");
  set(o.warmup_init, options, "warmup_init");
  return o;
}

/// Where the first of them lies.
Device device_of(const std::vector<Tensor>& tensors) { return tensors.empty() ? Device{} : tensors.front().device(); }

void optim_check(const std::string& kind, const py::dict& options) { check_settings(algorithm_of(kind, options)); }

/// Zeroed state tensors of a parameter, by name.
py::dict optim_state(const std::string& kind, const Tensor& parameter, const py::dict& options) {
  const Algorithm algorithm = algorithm_of(kind, options);
  const std::vector<std::string> names = state_names(algorithm, parameter);
  const std::vector<Tensor> tensors = new_state(algorithm, parameter);
  py::dict state;
  for (size_t i = 0; i < names.size(); ++i) state[names[i].c_str()] = tensors[i];
  return state;
}

void optim_step(const std::string& kind, const std::vector<Tensor>& parameters, const std::vector<Tensor>& gradients,
                const std::vector<std::vector<Tensor>>& states, const std::vector<int64_t>& steps, const py::dict& options,
                double grad_scale) {
  const Algorithm algorithm = algorithm_of(kind, options);
  const size_t n = parameters.size();
  check(gradients.size() == n && states.size() == n && steps.size() == n, ErrorCode::Shape, "optimizer", "expected ", n, " of each, got ",
        gradients.size(), " gradients, ", states.size(), " states and ", steps.size(), " step counts");
  py::gil_scoped_release release;
  std::vector<ParameterState> kept;
  for (size_t i = 0; i < n; ++i) {
    check(steps[i] >= 1, ErrorCode::Limit, "optimizer", "step: expected 1 or more, got ", steps[i]);
    kept.push_back({steps[i] - 1, states[i]});
  }
  std::vector<Update> updates;
  for (size_t i = 0; i < n; ++i) updates.push_back({parameters[i], gradients[i], &kept[i]});
  BorrowedContext context(device_of(parameters));
  step(*context, algorithm, updates, grad_scale);
}

double grad_norm(const std::vector<Tensor>& gradients) {
  BorrowedContext context(device_of(gradients));
  return gradient_norm(*context, gradients);
}

double clip_grad_norm(std::vector<Tensor> gradients, double max_norm) {
  BorrowedContext context(device_of(gradients));
  const double norm = clip_gradient_norm(*context, gradients, max_norm);
  for (const Tensor& g : gradients) ++g.storage()->version;
  return norm;
}

void clip_grad_value(std::vector<Tensor> gradients, double clip_value) {
  BorrowedContext context(device_of(gradients));
  clip_gradient_value(*context, gradients, clip_value);
  for (const Tensor& g : gradients) ++g.storage()->version;
}

}  // namespace

void bind_optim(py::module_& m) {
  m.def("optim_check", &optim_check, py::arg("kind"), py::arg("options"), "ValueError naming a setting that is out of range.");
  m.def("optim_state", &optim_state, py::arg("kind"), py::arg("parameter"), py::arg("options"),
        "Zeroed state tensors of a parameter, by name.");
  m.def("optim_step", &optim_step, py::arg("kind"), py::arg("params"), py::arg("grads"), py::arg("state"), py::arg("steps"),
        py::arg("options"), py::arg("grad_scale") = 1.0,
        "One step for each parameter, whose how-manieth is in `steps` (from 1), in place.");
  const auto released = py::call_guard<py::gil_scoped_release>();
  m.def("grad_norm", &grad_norm, py::arg("grads"), released, "The norm of all gradients as one vector.");
  m.def("clip_grad_norm", &clip_grad_norm, py::arg("grads"), py::arg("max_norm"), released,
        "Scales the gradients in place to a common norm of at most max_norm; returns the norm before.");
  m.def("clip_grad_value", &clip_grad_value, py::arg("grads"), py::arg("clip_value"), released,
        "Moves every element of the gradients into [-clip_value, clip_value], in place.");
}

}  // namespace tenon::python
