// The router of a mixture of experts: from logits to chosen experts and their weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "tenon/ops/checks.h"

namespace tenon::ops {

enum class RouterScore : uint8_t { Softmax, Sigmoid };

struct RouterOptions {
  int64_t top_k = 2;
  RouterScore score = RouterScore::Softmax;
  int64_t groups = 1, top_groups = 1;  // experts are chosen from the best top_groups of equally large groups
  bool group_by_top2 = false;          // a group's score: the sum of its two best instead of its best
  bool normalize = false;              // weights of a token are divided by their sum
  float scale = 1;                     // weights are multiplied by it, last
  float capacity_factor = 0;           // an expert takes at most ceil(N K / E * factor) tokens; the others are dropped. 0 = all
  bool expert_choice = false;          // each expert takes its best N K / E * max(factor, 1) tokens instead; not causal
  int64_t newcomers = 0;               // the scores of a token's last places are multiplied by newcomer_weight before they are weighed:
  float newcomer_weight = 1;           // at 0, normalised, the layer computes what it did with fewer places (soft start)
};

/// Which experts each of N tokens goes to.
struct Routing {
  int64_t N = 0, E = 0, K = 0;  // K places for a token; expert choice needs E of them
  std::vector<int64_t> expert;  // (N,K), -1 for a place that is empty or was dropped
  Tensor weight;                // (N,K) float32, 0 where there is no expert
  Tensor logits;                // (N,E) float32

  /// Tokens that each expert got.
  std::vector<int64_t> loads() const {
    std::vector<int64_t> n(static_cast<size_t>(E));
    for (const int64_t e : expert)
      if (e >= 0) ++n[static_cast<size_t>(e)];
    return n;
  }
  /// The largest load over the mean load, minus 1 (MaxVio of DeepSeek's loss-free balancing): 0 is perfect balance.
  double max_violation() const {
    const std::vector<int64_t> n = loads();
    const double total = static_cast<double>(std::accumulate(n.begin(), n.end(), int64_t{0}));
    return total == 0 ? 0 : static_cast<double>(*std::max_element(n.begin(), n.end())) * static_cast<double>(E) / total - 1;
  }
  /// Entropy of the loads over ln E: 1 is perfect balance, 0 one expert alone.
  double load_entropy() const {
    const std::vector<int64_t> n = loads();
    const double total = static_cast<double>(std::accumulate(n.begin(), n.end(), int64_t{0}));
    double h = 0;
    for (const int64_t count : n)
      if (count > 0) h -= static_cast<double>(count) / total * std::log(static_cast<double>(count) / total);
    return E > 1 ? h / std::log(static_cast<double>(E)) : 1;
  }
  /// The share of places that a capacity left empty. Not for expert choice.
  double dropped_share() const {
    const auto empty = std::count(expert.begin(), expert.end(), int64_t{-1});
    return expert.empty() ? 0 : static_cast<double>(empty) / static_cast<double>(expert.size());
  }
};

namespace detail {

inline void check_router(const RouterOptions& o, int64_t E) {
  check(E > 0 && o.top_k > 0 && o.top_k <= E, ErrorCode::Limit, "router", "top_k: expected 1 to ", E, " experts, got ", o.top_k);
  check(o.groups > 0 && E % o.groups == 0 && o.top_groups > 0 && o.top_groups <= o.groups, ErrorCode::Limit, "router",
        "groups: expected a divisor of ", E, " and 1 to as many groups chosen, got ", o.groups, " and ", o.top_groups);
  check(o.top_groups * (E / o.groups) >= o.top_k, ErrorCode::Limit, "router", "top_k: ", o.top_groups, " groups of ", E / o.groups,
        " experts have fewer than ", o.top_k);
  check(o.capacity_factor >= 0, ErrorCode::Limit, "router", "capacity_factor: expected 0 or more, got ", o.capacity_factor);
  check(o.newcomers >= 0 && o.newcomers < o.top_k, ErrorCode::Limit, "router", "newcomers: expected 0 to fewer than ", o.top_k,
        " places, got ", o.newcomers);
  check(o.newcomer_weight >= 0 && o.newcomer_weight <= 1, ErrorCode::Limit, "router", "newcomer_weight: expected 0 to 1, got ",
        o.newcomer_weight);
}

/// What the score in place k of a token is multiplied by.
inline float place_weight(const RouterOptions& o, int64_t k) {
  return !o.expert_choice && k >= o.top_k - o.newcomers ? o.newcomer_weight : 1.0f;
}

/// The index of the largest value that is not yet taken (NaN of them counts as the smallest); the lower index of equal ones.
inline int64_t best_free(const float* v, const uint8_t* taken, int64_t n) {
  int64_t best = -1;
  for (int64_t i = 0; i < n; ++i)
    if (!taken[i] && (best < 0 || v[i] > v[best] || (std::isnan(v[best]) && !std::isnan(v[i])))) best = i;
  return best;
}

/// Takes all experts out of the groups that are not among the best.
inline void limit_groups(const float* choice, uint8_t* taken, int64_t E, const RouterOptions& o) {
  const int64_t size = E / o.groups;
  std::vector<float> score(static_cast<size_t>(o.groups));
  for (int64_t g = 0; g < o.groups; ++g) {
    float first = -std::numeric_limits<float>::infinity(), second = first;
    for (int64_t i = g * size; i < (g + 1) * size; ++i) {
      if (choice[i] > first)
        second = first, first = choice[i];
      else if (choice[i] > second)
        second = choice[i];
    }
    score[static_cast<size_t>(g)] = o.group_by_top2 && size > 1 ? first + second : first;
  }
  std::vector<uint8_t> chosen(static_cast<size_t>(o.groups));
  for (int64_t k = 0; k < o.top_groups; ++k) chosen[static_cast<size_t>(best_free(score.data(), chosen.data(), o.groups))] = 1;
  for (int64_t g = 0; g < o.groups; ++g)
    if (!chosen[static_cast<size_t>(g)]) std::fill_n(taken + g * size, size, uint8_t{1});
}

/// Tokens choose experts, by scores + bias.
inline void choose_experts(Context& ctx, const Tensor& scores, const float* bias, const RouterOptions& o, Routing& r) {
  const float* s = scores.data<float>();
  ctx.over_rows(r.N, r.E * (r.K + 2), [&](int64_t begin, int64_t end) {
    std::vector<float> choice(static_cast<size_t>(r.E));
    std::vector<uint8_t> taken(static_cast<size_t>(r.E));
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t e = 0; e < r.E; ++e) choice[static_cast<size_t>(e)] = s[n * r.E + e] + (bias ? bias[e] : 0.0f);
      std::fill(taken.begin(), taken.end(), uint8_t{0});
      if (o.top_groups < o.groups) limit_groups(choice.data(), taken.data(), r.E, o);
      for (int64_t k = 0; k < r.K; ++k) {
        const int64_t e = best_free(choice.data(), taken.data(), r.E);
        taken[static_cast<size_t>(e)] = 1;
        r.expert[static_cast<size_t>(n * r.K + k)] = e;
      }
    }
  });
}

/// First choices are served first, in the order of tokens; who comes too late is dropped.
inline void apply_capacity(const RouterOptions& o, Routing& r) {
  const auto capacity = static_cast<int64_t>(std::ceil(static_cast<double>(r.N * r.K) / static_cast<double>(r.E) * o.capacity_factor));
  std::vector<int64_t> load(static_cast<size_t>(r.E));
  for (int64_t k = 0; k < r.K; ++k)
    for (int64_t n = 0; n < r.N; ++n) {
      int64_t& e = r.expert[static_cast<size_t>(n * r.K + k)];
      if (++load[static_cast<size_t>(e)] > capacity) e = -1;
    }
}

/// Experts choose tokens. Place e of a token is expert e.
inline void choose_tokens(const Tensor& scores, const RouterOptions& o, Routing& r) {
  const double share = static_cast<double>(r.N * o.top_k) / static_cast<double>(r.E) * std::max(o.capacity_factor, 1.0f);
  const auto count = std::min<int64_t>(r.N, static_cast<int64_t>(std::ceil(share)));
  const float* s = scores.data<float>();
  std::vector<int64_t> order(static_cast<size_t>(r.N));
  for (int64_t e = 0; e < r.E; ++e) {
    std::iota(order.begin(), order.end(), int64_t{0});
    std::partial_sort(order.begin(), order.begin() + count, order.end(),
                      [&](int64_t a, int64_t b) { return s[a * r.E + e] != s[b * r.E + e] ? s[a * r.E + e] > s[b * r.E + e] : a < b; });
    for (int64_t i = 0; i < count; ++i) r.expert[static_cast<size_t>(order[static_cast<size_t>(i)] * r.E + e)] = e;
  }
}

/// weight (N,K) from the scores of the chosen.
inline Tensor routing_weights(Context& ctx, const Tensor& scores, const RouterOptions& o, const Routing& r) {
  Tensor weight = ctx.empty({r.N, r.K}, DType::F32);
  float* w = weight.data<float>();
  const float* s = scores.data<float>();
  for (int64_t n = 0; n < r.N; ++n) {
    float sum = 0;
    for (int64_t k = 0; k < r.K; ++k) {
      const int64_t e = r.expert[static_cast<size_t>(n * r.K + k)];
      w[n * r.K + k] = e < 0 ? 0 : s[n * r.E + e] * place_weight(o, k);
      sum += w[n * r.K + k];
    }
    const float factor = o.normalize ? o.scale / (sum + 1e-20f) : o.scale;
    for (int64_t k = 0; k < r.K; ++k) w[n * r.K + k] *= factor;
  }
  return weight;
}

/// The gradient of the logits from that of the weights.
inline Tensor routing_backward(Context& ctx, const Tensor& dw, const Tensor& scores, const RouterOptions& o, const Routing& r) {
  Tensor ds = ctx.zeros({r.N, r.E}, DType::F32);
  float* d = ds.data<float>();
  const float *s = scores.data<float>(), *g = dw.data<float>();
  for (int64_t n = 0; n < r.N; ++n) {
    float sum = 0, dot = 0;
    for (int64_t k = 0; k < r.K; ++k)
      if (const int64_t e = r.expert[static_cast<size_t>(n * r.K + k)]; e >= 0) {
        const float a = s[n * r.E + e] * place_weight(o, k);
        sum += a, dot += a * g[n * r.K + k];
      }
    sum += 1e-20f;
    for (int64_t k = 0; k < r.K; ++k)
      if (const int64_t e = r.expert[static_cast<size_t>(n * r.K + k)]; e >= 0)
        d[n * r.E + e] = place_weight(o, k) * o.scale * (o.normalize ? g[n * r.K + k] / sum - dot / (sum * sum) : g[n * r.K + k]);
    if (o.score == RouterScore::Softmax)
      ctx.kernels().softmax_backward(d + n * r.E, d + n * r.E, s + n * r.E, 1, r.E);
    else
      for (int64_t e = 0; e < r.E; ++e) d[n * r.E + e] *= s[n * r.E + e] * (1 - s[n * r.E + e]);
  }
  return ds;
}

}  // namespace detail

/// Scores the experts in float32, chooses top_k of them for each token (the lower index of equal ones) and weighs them. A bias takes part
/// in the choice alone. Gradients reach the logits through the weights of the chosen.
/// Shapes: logits (N,E) f32, bias (E) f32 or {} -> Routing.
/// Errors: Error(Shape), Error(Type), Error(Limit) for options that do not fit E.
/// Source: Shazeer et al. 2017; DeepSeek-V3 technical report, section 2.1.2; Zhou et al. 2022 for expert choice.
inline Routing route(Context& ctx, const Tensor& logits, const Tensor& bias, const RouterOptions& o) {
  detail::check_f32(logits, "router", "logits");
  check(logits.rank() == 2, ErrorCode::Shape, "router", "logits: expected (N, E), got ", logits.shape());
  Routing r{.N = logits.size(0),
            .E = logits.size(1),
            .K = o.expert_choice ? logits.size(1) : o.top_k,
            .expert = {},
            .weight = {},
            .logits = logits};
  detail::check_router(o, r.E);
  if (bias.defined()) detail::check_vector(bias, r.E, "router", "bias");
  detail::check_here(ctx, "router", logits, bias);
  r.expert.assign(static_cast<size_t>(r.N * r.K), -1);
  HostContext host(ctx);  // which rows meet which expert is decided here
  const Tensor here = logits.to(Device{}), bias_here = bias.defined() ? bias.to(Device{}) : bias;
  Tensor scores = host->empty(logits.shape(), DType::F32);
  float* s = scores.data<float>();
  const float* l = here.data<float>();
  host->over_rows(r.N, 8 * r.E, [&](int64_t begin, int64_t end) {
    if (o.score == RouterScore::Softmax)
      host->kernels().softmax(s + begin * r.E, l + begin * r.E, end - begin, r.E);
    else
      host->kernels().activation(s + begin * r.E, l + begin * r.E, (end - begin) * r.E, Activation::Sigmoid, DType::F32);
  });
  if (o.expert_choice) {
    detail::choose_tokens(scores, o, r);
  } else {
    detail::choose_experts(*host, scores, bias.defined() ? bias_here.data<float>() : nullptr, o, r);
    if (o.capacity_factor > 0) detail::apply_capacity(o, r);
  }
  r.weight = detail::routing_weights(*host, scores, o, r).to(ctx.device());
  if (recording(ctx, "router", logits)) {
    Routing chosen = r;
    chosen.weight = {}, chosen.logits = {};
    ctx.recorder()->record("router", {r.weight}, {logits},
                           [scores, o, chosen = std::move(chosen)](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             HostContext own(c);
                             return {detail::routing_backward(*own, dy[0].to(Device{}), scores, o, chosen).to(c.device())};
                           });
  }
  return r;
}

/// The loss-free balance of DeepSeek-V3, after a step of the optimiser: bias_i += gamma * sign(mean load - load_i).
/// Shapes: bias (E) f32, changed in place; loads: tokens that each of the E experts got in the step.
/// Errors: Error(Shape), Error(Type), Error(Limit) for a gamma that is negative or no number.
/// Source: Wang et al. 2024, "Auxiliary-loss-free load balancing strategy for mixture-of-experts", algorithm 1.
inline void update_correction_bias(Tensor& bias, std::span<const int64_t> loads, float gamma) {
  detail::check_vector(bias, static_cast<int64_t>(loads.size()), "correction bias", "bias");
  check(gamma >= 0 && std::isfinite(gamma), ErrorCode::Limit, "correction bias", "gamma: expected 0 or more, got ", gamma);
  const int64_t total = std::accumulate(loads.begin(), loads.end(), int64_t{0}), E = static_cast<int64_t>(loads.size());
  Tensor values = bias.to(Device{});
  for (int64_t e = 0; e < E; ++e) {
    const int64_t missing = total - loads[static_cast<size_t>(e)] * E;  // of the mean, E times; whole numbers have no rounding
    values.data<float>()[e] += gamma * static_cast<float>((missing > 0) - (missing < 0));
  }
  if (!bias.device().is_cpu()) cuda::copy(bias.address(), bias.device(), std::as_const(values).address(), {}, bias.nbytes());
  ++bias.storage()->version;
}

}  // namespace tenon::ops
