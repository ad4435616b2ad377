// The routers of a decoder's mixtures: the settings that may change while it lives, and what they are taught.
#pragma once

#include <cmath>
#include <vector>

#include "tenon/models/heads.h"
#include "tenon/nn/moe.h"
#include "tenon/nn/packed_rows.h"
#include "tenon/ops/elementwise.h"

namespace tenon::models {

/// A mixture's options as the settings change them. Errors: Error(Limit) for what does not fit its experts.
inline ops::RouterOptions router_options(const nn::MoeConfig& moe, const RoutingSettings& s) {
  ops::RouterOptions o = moe.router;
  check(s.active_experts >= 0, ErrorCode::Limit, "routing", "active_experts: expected 0 or more, got ", s.active_experts);
  if (s.active_experts > 0) o.top_k = s.active_experts;
  o.newcomers = s.newcomers, o.newcomer_weight = s.newcomer_weight;
  ops::detail::check_router(o, moe.num_experts);
  check(s.jitter >= 0 && s.jitter < 1, ErrorCode::Limit, "routing", "jitter: expected 0 to 1, got ", s.jitter);
  check(s.noise >= 0 && std::isfinite(s.noise), ErrorCode::Limit, "routing", "noise: expected 0 or more, got ", s.noise);
  check(s.losses.devices > 0 && moe.num_experts % s.losses.devices == 0 && s.losses.devices_per_token >= 0 &&
            s.losses.devices_per_token <= s.losses.devices,
        ErrorCode::Limit, "routing", "devices: expected a divisor of ", moe.num_experts, " experts and at most as many a token, got ",
        s.losses.devices, " and ", s.losses.devices_per_token);
  RoutingSettings copy = s;
  copy.visit_weights([](const char* name, float w) {
    check(w >= 0 && std::isfinite(w), ErrorCode::Limit, "routing", name, ": expected a weight of 0 or more, got ", w);
  });
  return o;
}

/// Whether a pass computes the losses of the routers.
inline bool wants_router_losses(const Context& ctx, const RoutingSettings& s, const Inputs& in) {
  return s.report || in.router_targets.defined() || (ctx.training().dropout && s.watches());
}

/// Fills router_losses and expert_loads; while training adds the weighted losses to out.loss.
/// Shapes: real (N) which rows are text, or empty. Errors: Error(Shape), Error(Limit) for router_targets that do not fit.
inline void add_router_losses(Context& ctx, const RoutingSettings& s, ops::RouterScore score, const Inputs& in,
                              const nn::PackedRows& packed, std::span<const ops::Routing> layers, std::span<const uint8_t> real,
                              Outputs& out) {
  std::vector<int64_t> target;
  if (in.router_targets.defined()) {
    const std::vector<int64_t> all = read_ids(in.router_targets, "router_targets");
    check(static_cast<int64_t>(all.size()) == packed.B * packed.T, ErrorCode::Shape, "router_targets", "expected ",
          Shape{packed.B, packed.T}, ", got ", in.router_targets.shape());
    for (const int64_t i : packed.source) target.push_back(all[static_cast<size_t>(i)]);
  }
  ops::RouterLossOptions options = s.losses;
  options.score = score;
  out.router_losses = ops::router_losses(ctx, layers, {.counted = real, .sequence = packed.start, .target = target}, options);
  out.expert_loads = ops::expert_loads(layers, real);
  if (!ctx.training().dropout || !out.loss.defined()) return;
  std::vector<float> weights;
  RoutingSettings copy = s;
  copy.visit_weights([&](const char*, float w) { weights.push_back(w); });
  size_t i = 0;
  out.router_losses.visit([&](const char*, Tensor& loss) {
    if (const float w = weights[i++]; w != 0 && loss.defined()) out.loss = ops::add(ctx, out.loss, ops::scale(ctx, loss, w));
  });
}

}  // namespace tenon::models
