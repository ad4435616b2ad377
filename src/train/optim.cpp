// What is the same for all optimisers: their settings, their states by name, groups.
#include "tenon/train/optim.h"

#include <cmath>
#include <unordered_set>

#include "train/steps.h"

namespace tenon::train {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

constexpr int64_t kQuantBlock = 256;

void check_at_least(const char* where, const char* what, double value, double least) {
  check(value >= least && std::isfinite(value), ErrorCode::Limit, where, what, ": expected ", least, " or more, got ", value);
}
void check_beta(const char* where, const char* what, double value) {
  check(value >= 0 && value < 1, ErrorCode::Limit, where, what, ": expected 0 to below 1, got ", value);
}
template <class Options>
void check_moments(const char* where, const Options& o) {
  check_at_least(where, "lr", o.lr, 0);
  check_beta(where, "beta1", o.beta1);
  check_beta(where, "beta2", o.beta2);
  check_at_least(where, "weight_decay", o.weight_decay, 0);
}

/// Whether AdamW8bit keeps this parameter's moments in 8 bits.
bool quantised(const AdamW8bit& o, const Tensor& p) { return p.numel() >= o.smallest; }

/// A state tensor: its name, shape and type.
struct Field {
  std::string name;
  Shape shape;
  DType dtype = DType::F32;
};

std::vector<Field> fields_of(const Algorithm& algorithm, const Tensor& p) {
  const Shape& s = p.shape();
  return std::visit(Overloaded{[&](const AdamW& o) {
                                 std::vector<Field> f = {{"exp_avg", s}, {"exp_avg_sq", s}};
                                 if (o.amsgrad) f.push_back({"max_exp_avg_sq", s});
                                 return f;
                               },
                               [&](const AdamW8bit& o) -> std::vector<Field> {
                                 if (!quantised(o, p)) return {{"state1", s}, {"state2", s}};
                                 const Shape blocks = {(p.numel() + kQuantBlock - 1) / kQuantBlock};
                                 return {{"state1", s, DType::U8}, {"state2", s, DType::U8}, {"absmax1", blocks}, {"absmax2", blocks}};
                               },
                               [&](const Adafactor& o) {
                                 std::vector<Field> f;
                                 if (s.rank() >= 2) {
                                   Shape columns(s.begin(), s.end() - 2);
                                   columns.append(s[s.rank() - 1]);
                                   f = {{"exp_avg_sq_row", Shape(s.begin(), s.end() - 1)}, {"exp_avg_sq_col", columns}};
                                 } else {
                                   f = {{"exp_avg_sq", s}};
                                 }
                                 if (o.beta1) f.push_back({"exp_avg", s});
                                 return f;
                               },
                               [&](const Lion&) -> std::vector<Field> {
                                 return {{"exp_avg", s}};
                               },
                               [&](const Sgd& o) -> std::vector<Field> {
                                 if (o.momentum == 0) return {};
                                 return {{"momentum_buffer", s}};
                               }},
                    algorithm);
}

void check_updates(const Context& ctx, const Algorithm& algorithm, std::span<const Update> updates) {
  for (const Update& u : updates) {
    check(u.parameter.defined() && u.parameter.dtype() == DType::F32 && !u.parameter.read_only(), ErrorCode::Type, "optimizer",
          "parameter: expected writable float32, got ", u.parameter.describe(), u.parameter.read_only() ? ", read-only" : "");
    check(u.gradient.defined() && u.gradient.dtype() == DType::F32, ErrorCode::Type, "optimizer", "gradient: expected float32, got ",
          u.gradient.describe());
    check(u.gradient.shape() == u.parameter.shape(), ErrorCode::Shape, "optimizer", "gradient: expected ", u.parameter.shape(), ", got ",
          u.gradient.shape());
    for (const Tensor* t : {&u.parameter, &u.gradient})
      check(t->device() == ctx.device(), ErrorCode::Device, "optimizer", "expected parameters and gradients on ", ctx.device(), ", got ",
            t->describe());
    const std::vector<Field> fields = fields_of(algorithm, u.parameter);
    check(u.state != nullptr && u.state->tensors.size() == fields.size(), ErrorCode::Shape, "optimizer", "state: expected ", fields.size(),
          " tensors, got ", u.state ? u.state->tensors.size() : 0);
    for (size_t i = 0; i < fields.size(); ++i) {
      const Tensor& t = u.state->tensors[i];
      check(t.device() == ctx.device(), ErrorCode::Device, "optimizer", fields[i].name, ": expected it on ", ctx.device(), ", got ", t.describe(),
            "; make the optimizer after the model was moved");
      check(t.defined() && t.shape() == fields[i].shape && t.dtype() == fields[i].dtype && !t.read_only(), ErrorCode::Shape, "optimizer",
            fields[i].name, ": expected ", fields[i].shape, " ", name_of(fields[i].dtype), ", got ", t.describe());
    }
  }
}

}  // namespace

void check_settings(const Algorithm& algorithm) {
  std::visit(Overloaded{[](const AdamW& o) {
                          check_moments("AdamW", o);
                          check_at_least("AdamW", "eps", o.eps, 0);
                        },
                        [](const AdamW8bit& o) {
                          check_moments("AdamW8bit", o);
                          check_at_least("AdamW8bit", "eps", o.eps, 0);
                        },
                        [](const Adafactor& o) {
                          check(!o.lr || !o.relative_step, ErrorCode::Limit, "Adafactor", "lr: expected none with relative_step, got ",
                                o.lr.value_or(0));
                          check(o.lr || o.relative_step, ErrorCode::Limit, "Adafactor", "lr: expected one without relative_step");
                          check(!o.warmup_init || o.relative_step, ErrorCode::Limit, "Adafactor", "warmup_init needs relative_step");
                          check_at_least("Adafactor", "lr", o.lr.value_or(0), 0);
                          check_at_least("Adafactor", "weight_decay", o.weight_decay, 0);
                          check(o.clip_threshold > 0, ErrorCode::Limit, "Adafactor", "clip_threshold: expected above 0, got ",
                                o.clip_threshold);
                          if (o.beta1) check_beta("Adafactor", "beta1", *o.beta1);
                        },
                        [](const Lion& o) { check_moments("Lion", o); },
                        [](const Sgd& o) {
                          check_at_least("SGD", "lr", o.lr, 0);
                          check_at_least("SGD", "momentum", o.momentum, 0);
                          check_at_least("SGD", "weight_decay", o.weight_decay, 0);
                          check(!o.nesterov || (o.momentum > 0 && o.dampening == 0), ErrorCode::Limit, "SGD",
                                "nesterov: expected a momentum and no dampening, got ", o.momentum, " and ", o.dampening);
                        }},
             algorithm);
}

std::vector<std::string> state_names(const Algorithm& algorithm, const Tensor& parameter) {
  std::vector<std::string> names;
  for (const Field& f : fields_of(algorithm, parameter)) names.push_back(f.name);
  return names;
}

std::vector<Tensor> new_state(const Algorithm& algorithm, const Tensor& parameter) {
  std::vector<Tensor> tensors;
  for (const Field& f : fields_of(algorithm, parameter)) tensors.push_back(Tensor::zeros(f.shape, f.dtype, parameter.device()));
  return tensors;
}

void step(Context& ctx, const Algorithm& algorithm, std::span<const Update> updates, double grad_scale) {
  check_settings(algorithm);
  check_updates(ctx, algorithm, updates);
  for (const Update& u : updates) {
    ++u.state->step;
    ++u.parameter.storage()->version;
  }
  std::visit([&](const auto& options) { make_step(ctx, options, updates, grad_scale); }, algorithm);
}

double learning_rate(const Algorithm& algorithm) {
  return std::visit(Overloaded{[](const Adafactor& o) { return o.lr.value_or(0); }, [](const auto& o) { return o.lr; }}, algorithm);
}
void set_learning_rate(Algorithm& algorithm, double lr) {
  std::visit([&](auto& o) { o.lr = lr; }, algorithm);
}

void Optimizer::add(Algorithm algorithm, std::vector<Tensor> parameters) {
  check_settings(algorithm);
  std::unordered_set<uint64_t> known;
  for (const ParameterGroup& group : groups_)
    for (const Tensor& p : group.parameters) known.insert(p.id());
  ParameterGroup group{std::move(algorithm), std::move(parameters)};
  group.initial_lr = train::learning_rate(group.algorithm);
  for (const Tensor& p : group.parameters) {
    check(p.defined() && p.dtype() == DType::F32 && !p.read_only(), ErrorCode::Type, "optimizer",
          "parameter: expected writable float32, got ", p.describe(), p.read_only() ? ", read-only" : "");
    check(known.insert(p.id()).second, ErrorCode::Type, "optimizer", "parameter: it is already in a group, ", p.describe());
    group.states.push_back({0, new_state(group.algorithm, p)});
  }
  groups_.push_back(std::move(group));
}

void Optimizer::watch(Tape& tape) const {
  for (const ParameterGroup& group : groups_)
    for (const Tensor& p : group.parameters) tape.watch(p);
}

double Optimizer::step(Context& ctx, const Tape& tape, double max_norm) {
  std::vector<std::vector<Update>> updates;
  std::vector<Tensor> gradients;
  for (ParameterGroup& group : groups_) {
    std::vector<Update>& of_group = updates.emplace_back();
    for (size_t i = 0; i < group.parameters.size(); ++i) {
      Tensor g = tape.grad(group.parameters[i]);
      if (!g.defined()) continue;
      gradients.push_back(g);
      of_group.push_back({group.parameters[i], std::move(g), &group.states[i]});
    }
  }
  double norm = 0, factor = 1;
  if (std::isfinite(max_norm)) {
    norm = gradient_norm(ctx, gradients);
    if (!std::isfinite(norm)) return norm;
    factor = clip_factor(norm, max_norm);
  }
  for (size_t i = 0; i < groups_.size(); ++i) train::step(ctx, groups_[i].algorithm, updates[i], factor);
  return norm;
}

void Optimizer::scale_learning_rate(double factor) {
  for (ParameterGroup& group : groups_) {
    const auto* adafactor = std::get_if<Adafactor>(&group.algorithm);
    if (!adafactor || !adafactor->relative_step) set_learning_rate(group.algorithm, group.initial_lr * factor);
  }
}

std::vector<std::pair<std::string, Tensor>> Optimizer::state() const {
  std::vector<std::pair<std::string, Tensor>> all;
  size_t number = 0;
  for (const ParameterGroup& group : groups_)
    for (size_t i = 0; i < group.parameters.size(); ++i, ++number) {
      const std::string prefix = std::to_string(number) + ".";
      const std::vector<std::string> names = state_names(group.algorithm, group.parameters[i]);
      all.emplace_back(prefix + "step", Tensor::from(std::vector<int64_t>{group.states[i].step}, {1}));
      for (size_t k = 0; k < names.size(); ++k) all.emplace_back(prefix + names[k], group.states[i].tensors[k]);
    }
  return all;
}

void Optimizer::load_state(std::span<const std::pair<std::string, Tensor>> state) {
  const std::vector<std::pair<std::string, Tensor>> own = this->state();
  std::vector<Tensor> found;
  for (const auto& [name, tensor] : own) {
    const auto it = std::find_if(state.begin(), state.end(), [&](const auto& entry) { return entry.first == name; });
    check(it != state.end(), ErrorCode::Format, "optimizer", "state: expected ", name, ", which is missing");
    check(it->second.defined() && it->second.shape() == tensor.shape() && it->second.dtype() == tensor.dtype(), ErrorCode::Format,
          "optimizer", name, ": expected ", tensor.describe(), ", got ", it->second.describe());
    found.push_back(it->second);
  }
  auto next = found.begin();
  for (ParameterGroup& group : groups_)
    for (ParameterState& s : group.states) {
      s.step = *std::as_const(*next++).data<int64_t>();
      for (Tensor& t : s.tensors) t = next->device() == t.device() ? next->clone() : next->to(t.device()), ++next;
    }
}

}  // namespace tenon::train
