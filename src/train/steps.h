// One overload per optimiser; step() in optim.cpp has checked what they are given.
#pragma once

#include "tenon/train/optim.h"

namespace tenon::train {

void make_step(Context& ctx, const AdamW& o, std::span<const Update> updates, double grad_scale);
void make_step(Context& ctx, const AdamW8bit& o, std::span<const Update> updates, double grad_scale);
void make_step(Context& ctx, const Adafactor& o, std::span<const Update> updates, double grad_scale);
void make_step(Context& ctx, const Lion& o, std::span<const Update> updates, double grad_scale);
void make_step(Context& ctx, const Sgd& o, std::span<const Update> updates, double grad_scale);

/// Numbers of elements, as over_blocks() takes them.
inline std::vector<int64_t> sizes_of(std::span<const Update> updates) {
  std::vector<int64_t> sizes;
  for (const Update& u : updates) sizes.push_back(u.parameter.numel());
  return sizes;
}

/// A handle of its own: the elements are written, the handle that the caller gave is not.
inline float* elements(Tensor t) { return t.ptr<float>(); }

/// The call of AdamW (or Adam) for the whole parameter, its states still to be named. The betas are rounded before their powers are
/// taken: with 0.999f in the averages, 1 - 0.999^step would be off by 1e-5.
template <class Options>
AdamWCall adamw_call(const Options& o, const Update& u, double grad_scale) {
  AdamWCall c;
  c.p = elements(u.parameter);
  c.g = u.gradient.ptr<float>();
  c.lr = static_cast<float>(o.lr);
  c.beta1 = static_cast<float>(o.beta1);
  c.beta2 = static_cast<float>(o.beta2);
  c.eps = static_cast<float>(o.eps);
  c.weight_decay = static_cast<float>(o.weight_decay);
  c.grad_scale = static_cast<float>(grad_scale);
  const auto step = static_cast<double>(u.state->step);
  c.correction1 = static_cast<float>(1 - std::pow(static_cast<double>(c.beta1), step));
  c.correction2 = static_cast<float>(1 - std::pow(static_cast<double>(c.beta2), step));
  return c;
}

}  // namespace tenon::train
