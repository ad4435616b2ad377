// The ref attention: two passes per query, scores kept for one query at a time.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "cpu/ref.h"
#include "cpu/scalar.h"
#include "tenon/core/random.h"

namespace tenon {
namespace {

using scalar::load;
using scalar::store;
using scalar::with_float;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// One head of one sequence: where its rows begin and how many there are.
struct Head {
  int64_t q_row, k_row, T, S, q_column, k_column, out_column, v_column;
  const void* const* pages;

  Head(const AttentionCall& c, int64_t b, int64_t h)
      : q_row(c.q_start[b]),
        k_row(c.k_start[b]),
        T(c.q_start[b + 1] - q_row),
        S(c.k_start[b + 1] - k_row),
        q_column(h * c.D),
        k_column(h / (c.H / c.Hkv) * c.D),
        out_column(h * c.Dv),
        v_column(h / (c.H / c.Hkv) * c.Dv),
        pages(c.pages ? c.pages + c.page_start[b] : nullptr) {}
  /// Keys that query t sees: all, or with causal the first of them up to the diagonal that ends in the last key.
  int64_t seen(const AttentionCall& c, int64_t t) const { return c.causal ? std::clamp<int64_t>(t + S - T + 1, 0, S) : S; }
  /// The first key that it sees.
  int64_t first(const AttentionCall& c, int64_t t) const { return c.window > 0 ? std::max<int64_t>(t + S - T + 1 - c.window, 0) : 0; }

  /// Element d of key s, and of value s.
  template <class E>
  float key(const AttentionCall& c, int64_t s, int64_t d) const {
    if (c.codes != CacheCodes::None) return code(c, s, c.ld_k, c.k_offset, k_column + d) * scale(c, s, c.k_scale_offset);
    return load(row<E>(c, c.k, s, c.ld_k, c.k_offset) + k_column + d);
  }
  template <class E>
  float value(const AttentionCall& c, int64_t s, int64_t d) const {
    if (c.codes != CacheCodes::None) return code(c, s, c.ld_v, c.v_offset, v_column + d) * scale(c, s, c.v_scale_offset);
    return load(row<E>(c, c.v, s, c.ld_v, c.v_offset) + v_column + d);
  }

 private:
  template <class E>
  const E* row(const AttentionCall& c, const void* all, int64_t s, int64_t ld, int64_t offset) const {
    if (!pages) return static_cast<const E*>(all) + (k_row + s) * ld;
    return reinterpret_cast<const E*>(static_cast<const char*>(pages[s / c.page_rows]) + offset) + s % c.page_rows * ld;
  }
  float code(const AttentionCall& c, int64_t s, int64_t ld, int64_t offset, int64_t column) const {
    if (c.codes == CacheCodes::Fp8) return f8e4m3_to_float(row<float8>(c, nullptr, s, ld, offset)[column].bits);
    return row<int8_t>(c, nullptr, s, ld, offset)[column];
  }
  float scale(const AttentionCall& c, int64_t s, int64_t offset) const { return row<float>(c, nullptr, s, c.Hkv, offset)[k_column / c.D]; }
};

/// scores[s] = cap(scale * q . k_s) + the biases; -inf before the window
template <class E>
void score(float* scores, const AttentionCall& c, const Head& head, int64_t h, int64_t t, int64_t count) {
  const E* q = static_cast<const E*>(c.q) + (head.q_row + t) * c.ld_q + head.q_column;
  for (int64_t s = 0; s < count; ++s) {
    double sum = 0;
    for (int64_t d = 0; d < c.D; ++d) sum += static_cast<double>(load(q + d)) * head.key<E>(c, s, d);
    float score = static_cast<float>(sum) * c.scale;
    if (c.softcap > 0) score = c.softcap * std::tanh(score / c.softcap);
    if (c.distance_bias) score += c.distance_bias[h * c.ld_distance + s - (t + head.S - head.T) + c.distance_zero];
    scores[s] = score + (c.key_bias ? c.key_bias[head.k_row + s] : 0.0f);
  }
  std::fill_n(scores, std::min(count, head.first(c, t)), -kInfinity);
}

/// What dropout multiplies the weight of key s with: 0 or its scale.
float kept(const AttentionCall& c, const Head& head, int64_t h, int64_t t, int64_t s) {
  if (c.dropout.below == 0) return 1;
  const auto number = static_cast<uint64_t>((h * c.Nq + head.q_row + t) * c.ld_dropout + s);
  const uint32_t word = Random(c.dropout.seed, c.dropout.stream).block(c.dropout.first + number / 8)[number / 2 % 4];
  return (number % 2 ? word >> 16 : word & 0xffff) < c.dropout.below ? 0 : c.dropout.scale;
}

size_t attention_scratch(const AttentionCall&, int64_t, int64_t S) { return static_cast<size_t>(S) * sizeof(float); }

template <class E>
void attention_row(const AttentionCall& c, const Head& head, int64_t h, int64_t t, float* p) {
  const int64_t count = head.seen(c, t);
  score<E>(p, c, head, h, t, count);
  const float largest = count ? *std::max_element(p, p + count) : -kInfinity;
  double sum = 0;
  if (largest > -kInfinity)
    for (int64_t s = 0; s < count; ++s) sum += p[s] = std::exp(p[s] - largest);
  if (c.lse) c.lse[h * c.Nq + head.q_row + t] = sum > 0 ? largest + static_cast<float>(std::log(sum)) : -kInfinity;
  if (sum > 0)
    for (int64_t s = 0; s < count; ++s) p[s] *= kept(c, head, h, t, s);
  E* out = static_cast<E*>(c.out) + (head.q_row + t) * c.ld_out + head.out_column;
  for (int64_t d = 0; d < c.Dv; ++d) {
    double v = 0;
    if (sum > 0)
      for (int64_t s = 0; s < count; ++s) v += static_cast<double>(p[s]) * head.value<E>(c, s, d);
    store(out + d, sum > 0 ? static_cast<float>(v / sum) : 0.0f);
  }
}

void attention(const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch) {
  with_float(c.type, [&](auto* tag) {
    for (int64_t i = h; i < h + c.group; ++i)
      for (int64_t t = begin; t < end; ++t)
        attention_row<std::remove_pointer_t<decltype(tag)>>(c, Head(c, b, i), i, t, static_cast<float*>(scratch));
  });
}

/// With p = softmax(scores) and o = p v: dv = p^T do, dscore = p * (do v^T - do . o), dq = scale * dscore k, dk = scale * dscore^T q.
/// With dropout, o = (m p) v: the p of dv and do v^T are multiplied by m.
/// d_distance: that of the head, or nullptr.
void attention_backward_row(const AttentionCall& c, const AttentionGrad& g, const Head& head, int64_t h, int64_t t, float* d_distance,
                            float* p) {
  const float lse = c.lse[h * c.Nq + head.q_row + t];
  if (lse == -kInfinity) return;
  const int64_t q_at = (head.q_row + t) * c.ld_q + head.q_column, out_at = (head.q_row + t) * c.ld_out + head.out_column;
  const float *q = static_cast<const float*>(c.q) + q_at, *out = static_cast<const float*>(c.out) + out_at, *d_out = g.d_out + out_at;
  float* dq = g.dq + q_at;
  double delta = 0;
  for (int64_t d = 0; d < c.Dv; ++d) delta += static_cast<double>(d_out[d]) * out[d];
  const int64_t count = head.seen(c, t);
  score<float>(p, c, head, h, t, count);
  for (int64_t s = head.first(c, t); s < count; ++s) {
    const int64_t k_at = (head.k_row + s) * c.ld_k + head.k_column, v_at = (head.k_row + s) * c.ld_v + head.v_column;
    const float *k = static_cast<const float*>(c.k) + k_at, *v = static_cast<const float*>(c.v) + v_at;
    const float prob = std::exp(p[s] - lse);
    double dp = 0;
    for (int64_t d = 0; d < c.Dv; ++d) dp += static_cast<double>(d_out[d]) * v[d];
    const float mask = kept(c, head, h, t, s);
    const float unscaled = prob * static_cast<float>(mask * dp - delta), dscore = unscaled * c.scale;
    if (d_distance) d_distance[s - (t + head.S - head.T) + c.distance_zero] += unscaled;
    for (int64_t d = 0; d < c.Dv; ++d) g.dv[v_at + d] += mask * prob * d_out[d];
    for (int64_t d = 0; d < c.D; ++d) {
      g.dk[k_at + d] += dscore * q[d];
      dq[d] += dscore * k[d];
    }
  }
}

void attention_backward(const AttentionCall& c, const AttentionGrad& g, int64_t b, int64_t hkv, void* scratch) {
  const int64_t group = c.H / c.Hkv;
  for (int64_t h = hkv * group; h < (hkv + 1) * group; ++h) {
    const Head head(c, b, h);
    float* d_distance = g.d_distance ? g.d_distance + (b * c.H + h) * c.ld_distance : nullptr;
    for (int64_t t = 0; t < head.T; ++t) attention_backward_row(c, g, head, h, t, d_distance, static_cast<float*>(scratch));
  }
}

void attention_probs(float* probs, const AttentionCall& c, const int64_t* query, const int64_t* key, int64_t T, int64_t S, int64_t b, int64_t h) {
  const Head head(c, b, h);
  std::vector<float> p(static_cast<size_t>(head.S));
  for (int64_t t = 0; t < head.T; ++t) {
    const int64_t count = head.seen(c, t), place = query[head.q_row + t];
    with_float(c.type, [&](auto* tag) { score<std::remove_pointer_t<decltype(tag)>>(p.data(), c, head, h, t, count); });
    const float largest = count ? *std::max_element(p.begin(), p.begin() + count) : -kInfinity;
    double sum = 0;
    for (int64_t s = 0; s < count && largest > -kInfinity; ++s) sum += std::exp(p[static_cast<size_t>(s)] - largest);
    float* to = probs + ((place / T * c.H + h) * T + place % T) * S;
    for (int64_t s = 0; s < head.S; ++s)
      to[key[head.k_row + s]] =
          s < count && sum > 0 ? static_cast<float>(std::exp(p[static_cast<size_t>(s)] - largest) / sum) : 0.0f;
  }
}

}  // namespace

void fill_ref_attention(Kernels& k) {
  k.attention_scratch = attention_scratch;
  k.attention = attention;
  k.attention_backward = attention_backward;
  k.attention_probs = attention_probs;
}

}  // namespace tenon
