// The router of a mixture of experts: from logits to chosen experts and their weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
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

/// The experts of places, int64, wherever they were chosen: on a device they stay, and the host gets a copy when it first asks. Copies of the
/// handle share it. Not for concurrent first use.
class ChosenExperts {
 public:
  ChosenExperts() = default;
  ChosenExperts(std::initializer_list<int64_t> places) : ChosenExperts(std::vector<int64_t>(places)) {}
  ChosenExperts(const std::vector<int64_t>& places)  // NOLINT: converts on purpose
      : ChosenExperts(Tensor::from(places, {static_cast<int64_t>(places.size())})) {}
  explicit ChosenExperts(const Tensor& there) : there_(there), here_(std::make_shared<Tensor>(there.device().is_cpu() ? there : Tensor())) {}

  /// Where they were chosen.
  const Tensor& tensor() const { return there_; }
  /// Errors: Error(Device) while a graph is recorded.
  std::span<const int64_t> host() const {
    if (!here_) return {};
    if (!here_->defined()) *here_ = there_.to(Device{});
    return std::as_const(*here_).values<int64_t>();
  }
  size_t size() const { return static_cast<size_t>(there_.numel()); }
  bool empty() const { return size() == 0; }
  int64_t operator[](size_t i) const { return host()[i]; }
  auto begin() const { return host().begin(); }
  auto end() const { return host().end(); }
  friend bool operator==(const ChosenExperts& a, const std::vector<int64_t>& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

 private:
  Tensor there_;
  std::shared_ptr<Tensor> here_;
};

/// Which experts each of N tokens goes to.
struct Routing {
  int64_t N = 0, E = 0, K = 0;  // K places for a token; expert choice needs E of them
  ChosenExperts expert;         // (N,K), -1 for a place that is empty or was dropped
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

/// First choices are served first, in the order of tokens; who comes too late is dropped.
inline void apply_capacity(const RouterOptions& o, const RouterCall& c) {
  const auto capacity = static_cast<int64_t>(std::ceil(static_cast<double>(c.N * c.K) / static_cast<double>(c.E) * o.capacity_factor));
  std::vector<int64_t> load(static_cast<size_t>(c.E));
  for (int64_t k = 0; k < c.K; ++k)
    for (int64_t n = 0; n < c.N; ++n) {
      int64_t& e = c.expert[n * c.K + k];
      if (++load[static_cast<size_t>(e)] > capacity) e = -1;
    }
}

/// Experts choose tokens. Place e of a token is expert e.
inline void choose_tokens(const RouterOptions& o, const RouterCall& c) {
  const double share = static_cast<double>(c.N * o.top_k) / static_cast<double>(c.E) * std::max(o.capacity_factor, 1.0f);
  const auto count = std::min<int64_t>(c.N, static_cast<int64_t>(std::ceil(share)));
  const float* s = c.score;
  std::fill_n(c.expert, c.N * c.K, int64_t{-1});
  std::vector<int64_t> order(static_cast<size_t>(c.N));
  for (int64_t e = 0; e < c.E; ++e) {
    std::iota(order.begin(), order.end(), int64_t{0});
    std::partial_sort(order.begin(), order.begin() + count, order.end(),
                      [&](int64_t a, int64_t b) { return s[a * c.E + e] != s[b * c.E + e] ? s[a * c.E + e] > s[b * c.E + e] : a < b; });
    for (int64_t i = 0; i < count; ++i) c.expert[order[static_cast<size_t>(i)] * c.E + e] = e;
  }
}

/// The weights once more, where places were emptied since the kernel wrote them or it did not choose.
inline void weigh_chosen(const RouterCall& c) {
  for (int64_t n = 0; n < c.N; ++n) {
    float sum = 0;
    float* w = c.weight + n * c.K;
    for (int64_t k = 0; k < c.K; ++k) {
      const int64_t e = c.expert[n * c.K + k];
      w[k] = e < 0 ? 0 : c.score[n * c.E + e] * (k >= c.K - c.newcomers ? c.newcomer_weight : 1.0f);
      sum += w[k];
    }
    const float factor = c.normalize ? c.scale / (sum + 1e-20f) : c.scale;
    for (int64_t k = 0; k < c.K; ++k) w[k] *= factor;
  }
}

inline RouterCall router_call(const RouterOptions& o, int64_t N, int64_t E) {
  RouterCall c{.N = N, .E = E, .K = o.expert_choice ? E : o.top_k};
  c.sigmoid = o.score == RouterScore::Sigmoid, c.groups = o.groups, c.top_groups = o.top_groups, c.group_by_top2 = o.group_by_top2;
  c.normalize = o.normalize, c.scale = o.scale, c.newcomers = o.expert_choice ? 0 : o.newcomers, c.newcomer_weight = o.newcomer_weight;
  return c;
}

/// Rows [begin, end) of a call.
inline RouterCall rows_of(RouterCall c, int64_t begin, int64_t end) {
  c.expert += begin * c.K, c.weight += begin * c.K, c.score += begin * c.E, c.logits += begin * c.E;
  c.N = end - begin;
  return c;
}

}  // namespace detail

/// Scores the experts in float32, chooses top_k of them for each token (the lower index of equal ones) and weighs them. A bias takes part
/// in the choice alone. Gradients reach the logits through the weights of the chosen. A device chooses there, and nothing comes to the host, unless
/// a capacity or expert choice asks for all tokens.
/// Shapes: logits (N,E) f32, bias (E) f32 or {} -> Routing.
/// Errors: Error(Shape), Error(Type), Error(Limit) for options that do not fit E.
/// Source: Shazeer et al. 2017; DeepSeek-V3 technical report, section 2.1.2; Zhou et al. 2022 for expert choice.
inline Routing route(Context& ctx, const Tensor& logits, const Tensor& bias, const RouterOptions& o) {
  detail::check_f32(logits, "router", "logits");
  check(logits.rank() == 2, ErrorCode::Shape, "router", "logits: expected (N, E), got ", logits.shape());
  detail::check_router(o, logits.size(1));
  RouterCall call = detail::router_call(o, logits.size(0), logits.size(1));
  if (bias.defined()) detail::check_vector(bias, call.E, "router", "bias");
  detail::check_here(ctx, "router", logits, bias);
  HostContext host(ctx);
  const bool over_tokens = o.expert_choice || o.capacity_factor > 0;  // who is served depends on all tokens: the host decides
  Context& at = over_tokens ? *host : ctx;
  const Tensor given = logits.to(at.device()), given_bias = bias.defined() ? bias.to(at.device()) : bias;
  Tensor scores = at.empty({call.N, call.E}, DType::F32), expert = at.empty({call.N, call.K}, DType::I64);
  Tensor weight = at.empty({call.N, call.K}, DType::F32);
  call.expert = expert.ptr<int64_t>(), call.weight = weight.ptr<float>(), call.score = scores.ptr<float>();
  call.logits = given.ptr<float>(), call.bias = given_bias.defined() ? given_bias.ptr<float>() : nullptr;
  if (o.expert_choice) {
    if (call.sigmoid) at.kernels().activation(call.score, call.logits, call.N * call.E, Activation::Sigmoid, DType::F32);
    else at.kernels().softmax(call.score, call.logits, call.N, call.E);
    detail::choose_tokens(o, call);
  } else {
    at.over_rows(call.N, call.E * (call.K + 10), [&](int64_t begin, int64_t end) { at.kernels().route(detail::rows_of(call, begin, end)); });
    if (o.capacity_factor > 0) detail::apply_capacity(o, call);
  }
  if (over_tokens) detail::weigh_chosen(call);
  Routing r{.N = call.N, .E = call.E, .K = call.K, .expert = ops::ChosenExperts(expert), .weight = weight.to(ctx.device()), .logits = logits};
  if (recording(ctx, "router", logits))
    ctx.recorder()->record("router", {r.weight}, {logits}, [scores, expert, call](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      HostContext own(c);
      Context& there = expert.device().is_cpu() ? *own : c;
      const Tensor dw = dy[0].to(there.device());
      Tensor d = there.empty(scores.shape(), DType::F32);
      float* to = d.ptr<float>();
      const float* from = dw.ptr<float>();
      there.over_rows(call.N, call.E * 10, [&](int64_t begin, int64_t end) {
        there.kernels().route_backward(to + begin * call.E, from + begin * call.K, detail::rows_of(call, begin, end));
      });
      return {d.to(c.device())};
    });
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
