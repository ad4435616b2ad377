// What a router is taught besides its task: balance in the published normalisations, small logits, entropies, and experts named for it.
#pragma once

#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include "tenon/ops/router.h"

namespace tenon::ops {

/// How the balance loss counts. f_i: share of an expert's places, without gradient; P_i: mean of its probability.
enum class BalanceKind : uint8_t {
  Megablocks,  // mean over layers of E sum f P, f by all K places and divided by K: perfect balance is 1
  Switch,      // sum over layers of E sum f P, f the share of tokens for which the expert is the most probable
  Hf,          // E sum f P with f and P over the tokens of all layers together, f not divided by K: perfect balance is K
  Deepseek,    // sum over layers of E sum f P, f divided by K
};

struct RouterLossOptions {
  BalanceKind balance = BalanceKind::Megablocks;
  RouterScore score = RouterScore::Softmax;  // how logits become probabilities; sigmoid scores are divided by their sum
  int64_t devices = 1;                       // groups of equally many experts, for the device and communication losses
  int64_t devices_per_token = 0;             // to how many of them a token may go (DeepSeek-V2's M); 0 = to all
};

/// Which rows count and how they belong together. Empty: every row counts, all are one sequence, no row has a target.
struct RouterRows {
  std::span<const uint8_t> counted = {};   // (N)
  std::span<const int64_t> sequence = {};  // (sequences + 1) first rows, rising from 0 to N
  std::span<const int64_t> target = {};    // (N) the expert that a token should go to, or negative
};

/// Scalars, each unweighted. `target` is undefined where no row has one.
struct RouterLosses {
  Tensor balance;        // as BalanceKind says
  Tensor sequence;       // DeepSeek-V3: sum over layers of the mean over sequences of E sum f P within the sequence
  Tensor device;         // DeepSeek-V2: sum over layers of sum over devices of f' P', f' the mean of f, P' the sum of P of its experts
  Tensor communication;  // DeepSeek-V2: the same with f'' = devices / (M T) * tokens that go there
  Tensor z;              // mean over tokens and layers of logsumexp(logits)^2 (ST-MoE)
  Tensor load_entropy;   // mean over layers of 1 - H(P) / ln E: 0 where all experts get the same, 1 where one gets all
  Tensor token_entropy;  // mean over tokens and layers of H(p) / ln E: 0 where every token is certain
  Tensor target;         // mean over layers and tokens with a target of -ln p(target)

  /// f(name, tensor) for each.
  template <class F>
  void visit(F&& f) {
    f("balance_loss", balance), f("sequence_balance_loss", sequence), f("device_loss", device), f("communication_loss", communication);
    f("z_loss", z), f("load_entropy_loss", load_entropy), f("token_entropy_loss", token_entropy), f("router_target_loss", target);
  }
};

namespace detail {

inline constexpr float kLeastProbability = 1e-30f;  // below it logarithms are those of this
enum RouterLossIndex : size_t { kBalance, kSequence, kDevice, kCommunication, kZ, kLoadEntropy, kTokenEntropy, kTarget, kRouterLosses };

/// One layer's probabilities, and the slopes of its losses by each probability, as far as they are the same for many tokens.
struct RouterLayer {
  Tensor logits, p;                                                    // (N,E)
  std::vector<float> normaliser, lse;                                  // (N): sum of sigmoid scores, logsumexp of the logits
  std::vector<double> balance, device, communication, load, sequence;  // (E), `sequence` (sequences, E)
};

struct RouterLossState {
  int64_t N = 0, E = 0;
  RouterScore score = RouterScore::Softmax;
  std::vector<RouterLayer> layers;
  std::vector<uint8_t> counted;
  std::vector<int64_t> sequence_of, target;  // (N)
  double z = 0, token = 0, named = 0;        // slopes of the losses that are means over tokens
};

/// Values by kRouterLosses of one layer, and its slopes. f and P are those of the tokens that count.
class RouterLayerLosses {
 public:
  RouterLayerLosses(RouterLossState& s, RouterLayer& layer, const Routing& r, const RouterLossOptions& o, size_t sequences)
      : s_(s), layer_(layer), r_(r), o_(o), E_(static_cast<size_t>(r.E)), sequences_(sequences), load(E_), first(E_), probability(E_) {}

  void run(std::array<double, kRouterLosses>& value) {
    const size_t devices = static_cast<size_t>(o_.devices), per_device = E_ / devices;
    std::vector<double> sent(devices), f(sequences_ * E_), P(sequences_ * E_), rows(sequences_);
    std::vector<uint8_t> seen(devices);
    const float *p = layer_.p.data<float>(), *l = layer_.logits.data<float>();
    for (int64_t n = 0; n < s_.N; ++n, p += E_, l += E_) {
      if (!s_.counted[static_cast<size_t>(n)]) continue;
      const auto q = static_cast<size_t>(s_.sequence_of[static_cast<size_t>(n)]);
      ++tokens, ++rows[q];
      std::fill(seen.begin(), seen.end(), uint8_t{0});
      for (int64_t k = 0; k < r_.K; ++k) {
        const int64_t e = r_.expert[static_cast<size_t>(n * r_.K + k)];
        if (e < 0) continue;
        ++load[static_cast<size_t>(e)], ++f[q * E_ + static_cast<size_t>(e)], seen[static_cast<size_t>(e) / per_device] = 1;
      }
      for (size_t d = 0; d < devices; ++d) sent[d] += seen[d];
      size_t best = 0;
      for (size_t e = 0; e < E_; ++e) {
        probability[e] += p[e], P[q * E_ + e] += p[e];
        value[kTokenEntropy] -= static_cast<double>(p[e]) * std::log(std::max(p[e], kLeastProbability));
        if (p[e] > p[best]) best = e;
      }
      ++first[best];
      const double z = log_sum_exp(l);
      layer_.lse[static_cast<size_t>(n)] = static_cast<float>(z);
      value[kZ] += z * z;
      if (const int64_t t = s_.target[static_cast<size_t>(n)]; t >= 0)
        value[kTarget] -= std::log(std::max(p[t], kLeastProbability)), ++targets;
    }
    if (tokens == 0) return;
    const double T = tokens, E = static_cast<double>(E_), K = static_cast<double>(r_.K);
    layer_.device.assign(E_, 0), layer_.communication.assign(E_, 0), layer_.load.assign(E_, 0);
    const double M = static_cast<double>(o_.devices_per_token > 0 ? o_.devices_per_token : o_.devices);
    double entropy = 0;
    for (size_t e = 0; e < E_; ++e) {
      const double mean = probability[e] / T, log = std::log(std::max(mean, static_cast<double>(kLeastProbability)));
      entropy -= mean * log;
      layer_.load[e] = E_ > 1 ? (log + 1) / std::log(E) / T : 0;
      for (size_t i = e / per_device * per_device; i < (e / per_device + 1) * per_device; ++i) layer_.device[e] += load[i];
      layer_.device[e] *= E / (K * T) / static_cast<double>(per_device) / T;
      layer_.communication[e] = static_cast<double>(devices) / (M * T) * sent[e / per_device] / T;
      value[kDevice] += layer_.device[e] * probability[e], value[kCommunication] += layer_.communication[e] * probability[e];
    }
    if (E_ > 1) value[kLoadEntropy] += 1 - entropy / std::log(E);
    const auto texts = static_cast<double>(std::count_if(rows.begin(), rows.end(), [](double n) { return n > 0; }));
    layer_.sequence.assign(f.size(), 0);
    for (size_t i = 0; i < f.size(); ++i) {
      if (rows[i / E_] == 0) continue;
      layer_.sequence[i] = E * f[i] / (K * rows[i / E_] * rows[i / E_] * texts);
      value[kSequence] += layer_.sequence[i] * P[i];
    }
  }

 private:
  double log_sum_exp(const float* l) const {
    const double largest = *std::max_element(l, l + E_);
    double sum = 0;
    for (size_t e = 0; e < E_; ++e) sum += std::exp(l[e] - largest);
    return largest + std::log(sum);
  }

  RouterLossState& s_;
  RouterLayer& layer_;
  const Routing& r_;
  const RouterLossOptions& o_;
  size_t E_, sequences_;

 public:
  std::vector<double> load, first, probability;  // (E) sums over the tokens that count
  double tokens = 0, targets = 0;
};

/// Probabilities of logits: softmax, or sigmoid scores divided by their sum.
inline void fill_probabilities(Context& ctx, RouterLayer& layer, RouterScore score) {
  const int64_t N = layer.logits.size(0), E = layer.logits.size(1);
  layer.p = ctx.empty({N, E}, DType::F32);
  layer.lse.assign(static_cast<size_t>(N), 0);
  float* p = layer.p.data<float>();
  const float* l = layer.logits.data<float>();
  if (score == RouterScore::Softmax) return ctx.kernels().softmax(p, l, N, E);
  ctx.kernels().activation(p, l, N * E, Activation::Sigmoid, DType::F32);
  for (int64_t n = 0; n < N; ++n) {
    float sum = 1e-20f;
    for (int64_t e = 0; e < E; ++e) sum += p[n * E + e];
    for (int64_t e = 0; e < E; ++e) p[n * E + e] /= sum;
    layer.normaliser.push_back(sum);
  }
}

/// The gradient of one layer's logits. Shapes: d by kRouterLosses -> (N,E).
inline Tensor router_losses_backward(Context& ctx, const RouterLossState& s, const RouterLayer& layer,
                                     const std::array<double, kRouterLosses>& d) {
  const auto E = static_cast<size_t>(s.E);
  Tensor gradient = ctx.zeros({s.N, s.E}, DType::F32);
  std::vector<double> same(E);
  for (size_t e = 0; e < E && !layer.balance.empty(); ++e)
    same[e] = d[kBalance] * layer.balance[e] + d[kDevice] * layer.device[e] + d[kCommunication] * layer.communication[e] +
              d[kLoadEntropy] * layer.load[e];
  ctx.over_rows(s.N, 16 * s.E, [&](int64_t begin, int64_t end) {
    std::vector<double> dp(E);
    for (int64_t n = begin; n < end; ++n) {
      const auto i = static_cast<size_t>(n);
      if (!s.counted[i]) continue;
      const float *p = layer.p.data<float>() + n * s.E, *l = layer.logits.data<float>() + n * s.E;
      float* to = gradient.data<float>() + n * s.E;
      const double* sequence = layer.sequence.data() + static_cast<size_t>(s.sequence_of[i]) * E;
      double dot = 0;
      for (size_t e = 0; e < E; ++e) {
        dp[e] = same[e] + d[kSequence] * sequence[e] - d[kTokenEntropy] * s.token * (std::log(std::max(p[e], kLeastProbability)) + 1);
        if (static_cast<int64_t>(e) == s.target[i]) dp[e] -= d[kTarget] * s.named / std::max(p[e], kLeastProbability);
        dot += dp[e] * p[e];
      }
      for (size_t e = 0; e < E; ++e) {
        const double score = s.score == RouterScore::Softmax ? 0 : static_cast<double>(p[e]) * layer.normaliser[i];
        const double slope = s.score == RouterScore::Softmax ? p[e] : score * (1 - score) / layer.normaliser[i];
        to[e] =
            static_cast<float>(slope * (dp[e] - dot) + d[kZ] * s.z * 2 * layer.lse[i] * std::exp(l[e] - static_cast<double>(layer.lse[i])));
      }
    }
  });
  return gradient;
}

/// Checks and copies what the rows are, with the defaults of RouterRows spelt out.
inline size_t take_rows(RouterLossState& s, const RouterRows& rows) {
  const auto N = static_cast<size_t>(s.N);
  const auto fits = [&](size_t n, const char* what) {
    check(n == 0 || n == N, ErrorCode::Shape, "router losses", what, ": expected one for each of ", N, " tokens, got ", n);
  };
  fits(rows.counted.size(), "counted"), fits(rows.target.size(), "target");
  s.counted.assign(N, 1), s.target.assign(N, -1), s.sequence_of.assign(N, 0);
  if (!rows.counted.empty()) s.counted.assign(rows.counted.begin(), rows.counted.end());
  if (!rows.target.empty()) s.target.assign(rows.target.begin(), rows.target.end());
  for (size_t n = 0; n < N; ++n)
    check(s.target[n] < s.E, ErrorCode::Limit, "router losses", "target: expected a negative number or 0 to ", s.E - 1, ", got ",
          s.target[n]);
  if (rows.sequence.empty()) return 1;
  check(rows.sequence.front() == 0 && rows.sequence.back() == s.N && std::is_sorted(rows.sequence.begin(), rows.sequence.end()),
        ErrorCode::Shape, "router losses", "sequence: expected rising row numbers from 0 to ", N);
  for (size_t q = 0; q + 1 < rows.sequence.size(); ++q)
    std::fill(s.sequence_of.begin() + rows.sequence[q], s.sequence_of.begin() + rows.sequence[q + 1], static_cast<int64_t>(q));
  return std::max<size_t>(1, rows.sequence.size() - 1);
}

}  // namespace detail

/// All losses of the routers of a pass, each alone and without its weight. Gradients reach the logits through the probabilities; how many
/// places an expert got is a constant.
/// Shapes: layers of one N, E and K.
/// Errors: Error(Shape) if there is no layer, or they or the rows differ; Error(Limit) for devices that do not divide E or targets beyond
/// it. Source: Fedus et al. 2021 (Switch); load_balancing_loss_func of Transformers; MegaBlocks, layers/moe.py; Dai et al. 2024
/// (DeepSeekMoE), DeepSeek-V2 section 2.2.3, DeepSeek-V3 section 2.1.2; Zoph et al. 2022 (ST-MoE); Shen et al. 2023 (ModuleFormer) for the
/// entropies.
inline RouterLosses router_losses(Context& ctx, std::span<const Routing> layers, const RouterRows& rows = {},
                                  const RouterLossOptions& o = {}) {
  using namespace detail;
  check(!layers.empty(), ErrorCode::Shape, "router losses", "expected at least one layer");
  const auto s = std::make_shared<RouterLossState>();
  s->N = layers[0].N, s->E = layers[0].E, s->score = o.score;
  check(o.devices > 0 && s->E % o.devices == 0 && o.devices_per_token >= 0 && o.devices_per_token <= o.devices, ErrorCode::Limit,
        "router losses", "devices: expected a divisor of ", s->E, " experts and at most as many a token, got ", o.devices, " and ",
        o.devices_per_token);
  HostContext host(ctx);
  const size_t sequences = take_rows(*s, rows), E = static_cast<size_t>(s->E), L = layers.size();
  std::array<double, kRouterLosses> value{};
  std::vector<Tensor> logits;
  std::vector<RouterLayerLosses> parts;
  s->layers.resize(L);
  bool record = false;
  double tokens = 0, targets = 0;
  for (size_t i = 0; i < L; ++i) {
    const Routing& r = layers[i];
    check(r.N == s->N && r.E == s->E && r.K == layers[0].K && r.logits.defined(), ErrorCode::Shape, "router losses", "expected layers of ",
          s->N, " tokens, ", s->E, " experts and ", layers[0].K, " places, got ", r.N, ", ", r.E, " and ", r.K);
    check_here(ctx, "router losses", r.logits);
    s->layers[i].logits = r.logits.to(Device{});
    fill_probabilities(*host, s->layers[i], o.score);
    parts.emplace_back(*s, s->layers[i], r, o, sequences).run(value);
    record |= recording(ctx, "router losses", r.logits);
    logits.push_back(r.logits);
    tokens += parts.back().tokens, targets += parts.back().targets;
  }
  // The balance loss of each kind, as slopes (per summed probability) of each layer.
  std::vector<double> pooled(E);
  for (const RouterLayerLosses& part : parts)
    for (size_t e = 0; e < E; ++e) pooled[e] += part.load[e];
  for (size_t i = 0; i < L && tokens > 0; ++i) {
    const double T = parts[i].tokens, K = static_cast<double>(layers[0].K);
    std::vector<double>& slope = s->layers[i].balance;
    slope.assign(E, 0);
    for (size_t e = 0; e < E; ++e) {
      switch (o.balance) {
        case BalanceKind::Megablocks:
          slope[e] = parts[i].load[e] / (K * T * T * static_cast<double>(L));
          break;
        case BalanceKind::Switch:
          slope[e] = parts[i].first[e] / (T * T);
          break;
        case BalanceKind::Hf:
          slope[e] = pooled[e] / (tokens * tokens);
          break;
        case BalanceKind::Deepseek:
          slope[e] = parts[i].load[e] / (K * T * T);
          break;
      }
      slope[e] *= static_cast<double>(E);
      value[kBalance] += slope[e] * parts[i].probability[e];
      s->layers[i].load[e] /= static_cast<double>(L);
    }
  }
  s->z = 1 / std::max(tokens, 1.0);
  s->token = E > 1 ? s->z / std::log(static_cast<double>(E)) : 0;
  s->named = 1 / std::max(targets, 1.0);
  value[kZ] *= s->z, value[kTokenEntropy] *= s->token, value[kTarget] *= s->named, value[kLoadEntropy] /= static_cast<double>(L);
  RouterLosses out;
  std::vector<Tensor> outputs;
  out.visit([&](const char*, Tensor& t) {
    t = scalar(ctx, value[outputs.size()]);
    outputs.push_back(t);
  });
  if (targets == 0) out.target = {};
  if (record)
    ctx.recorder()->record("router losses", outputs, std::move(logits), [s](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      std::array<double, kRouterLosses> d{};
      for (size_t i = 0; i < d.size(); ++i) d[i] = dy[i].defined() ? static_cast<double>(dy[i].item()) : 0;
      std::vector<Tensor> gradients;
      HostContext own(c);
      for (const RouterLayer& layer : s->layers) gradients.push_back(router_losses_backward(*own, *s, layer, d).to(c.device()));
      return gradients;
    });
  return out;
}

/// Tokens that each expert of each layer got, of those that count.
/// Shapes: layers of one N and E, counted (N) or empty -> int64 (layers, E).
inline Tensor expert_loads(std::span<const Routing> layers, std::span<const uint8_t> counted = {}) {
  check(!layers.empty(), ErrorCode::Shape, "expert loads", "expected at least one layer");
  const int64_t E = layers[0].E;
  std::vector<int64_t> all;
  for (const Routing& r : layers) {
    check(r.E == E && (counted.empty() || static_cast<int64_t>(counted.size()) == r.N), ErrorCode::Shape, "expert loads",
          "expected layers of ", E, " experts and ", counted.size(), " tokens, got ", r.E, " and ", r.N);
    std::vector<int64_t> loads(static_cast<size_t>(E));
    const std::span<const int64_t> expert = r.expert.host();
    for (size_t i = 0; i < expert.size(); ++i)
      if (expert[i] >= 0 && (counted.empty() || counted[i / static_cast<size_t>(r.K)])) ++loads[static_cast<size_t>(expert[i])];
    all.insert(all.end(), loads.begin(), loads.end());
  }
  return Tensor::from(all, {static_cast<int64_t>(layers.size()), E});
}

}  // namespace tenon::ops
