// The steps of AdamW, Lion and SGD: blocks of elements, each a call of a kernel.
#include "train/steps.h"

#include "train/blocks.h"

namespace tenon::train {
namespace {

/// The part of a call that is about elements [begin, end).
template <class Call>
Call part_of(Call c, int64_t begin, int64_t end) {
  c.p += begin;
  c.g += begin;
  if (c.m) c.m += begin;
  c.n = end - begin;
  return c;
}

}  // namespace

void make_step(Context& ctx, const AdamW& o, std::span<const Update> updates, double grad_scale) {
  std::vector<AdamWCall> calls;
  for (const Update& u : updates) {
    AdamWCall c = adamw_call(o, u, o.maximize ? -grad_scale : grad_scale);
    c.m = elements(u.state->tensors[0]);
    c.v = elements(u.state->tensors[1]);
    if (o.amsgrad) c.vmax = elements(u.state->tensors[2]);
    c.decay_gradient = !o.decoupled;
    calls.push_back(c);
  }
  over_blocks(ctx, sizes_of(updates), [&](size_t i, int64_t begin, int64_t end) {
    AdamWCall c = part_of(calls[i], begin, end);
    c.v += begin;
    if (c.vmax) c.vmax += begin;
    ctx.kernels().adamw(c);
  });
}

void make_step(Context& ctx, const Lion& o, std::span<const Update> updates, double grad_scale) {
  over_blocks(ctx, sizes_of(updates), [&](size_t i, int64_t begin, int64_t end) {
    LionCall c;
    c.p = elements(updates[i].parameter);
    c.m = elements(updates[i].state->tensors[0]);
    c.g = updates[i].gradient.ptr<float>();
    c.lr = static_cast<float>(o.lr);
    c.beta1 = static_cast<float>(o.beta1);
    c.beta2 = static_cast<float>(o.beta2);
    c.weight_decay = static_cast<float>(o.weight_decay);
    c.grad_scale = static_cast<float>(grad_scale);
    ctx.kernels().lion(part_of(c, begin, end));
  });
}

void make_step(Context& ctx, const Sgd& o, std::span<const Update> updates, double grad_scale) {
  over_blocks(ctx, sizes_of(updates), [&](size_t i, int64_t begin, int64_t end) {
    SgdCall c;
    c.p = elements(updates[i].parameter);
    if (o.momentum != 0) c.m = elements(updates[i].state->tensors[0]);
    c.g = updates[i].gradient.ptr<float>();
    c.lr = static_cast<float>(o.lr);
    c.momentum = static_cast<float>(o.momentum);
    c.dampening = static_cast<float>(o.dampening);
    c.weight_decay = static_cast<float>(o.weight_decay);
    c.grad_scale = static_cast<float>(o.maximize ? -grad_scale : grad_scale);
    c.nesterov = o.nesterov;
    c.first = updates[i].state->step == 1;
    ctx.kernels().sgd(part_of(c, begin, end));
  });
}

}  // namespace tenon::train
