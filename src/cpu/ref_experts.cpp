// The ref kernels of mixtures of experts, and of choosing tokens.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
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
size_t size(int64_t n) { return static_cast<size_t>(n); }

/// The indices of the K best of n, the best first; the lower index of equal ones, NaN last. taken: which are left out, or nullptr.
void best_of(int64_t* best, int64_t K, const float* v, const char* taken, int64_t n) {
  const auto before = [v](int64_t a, int64_t b) { return v[a] > v[b] || (std::isnan(v[b]) && !std::isnan(v[a])); };
  int64_t found = 0;
  for (int64_t i = 0; i < n; ++i) {
    if ((taken && taken[i]) || (found == K && !before(i, best[K - 1]))) continue;
    int64_t at = found < K ? found++ : K - 1;
    for (; at > 0 && before(i, best[at - 1]); --at) best[at] = best[at - 1];
    best[at] = i;
  }
}

/// Leaves out the experts of all but the best groups.
void limit_groups(const RouterCall& c, const std::vector<float>& choice, std::vector<char>& taken) {
  const int64_t each = c.E / c.groups;
  std::vector<float> score(size(c.groups));
  for (int64_t g = 0; g < c.groups; ++g) {
    float first = -kInfinity, second = -kInfinity;
    for (int64_t e = g * each; e < (g + 1) * each; ++e) {
      const float v = choice[size(e)];
      if (v > first) second = first, first = v;
      else if (v > second) second = v;
    }
    score[size(g)] = c.group_by_top2 && each > 1 ? first + second : first;
  }
  std::vector<int64_t> chosen(size(c.top_groups));
  best_of(chosen.data(), c.top_groups, score.data(), nullptr, c.groups);
  std::fill(taken.begin(), taken.end(), char{1});
  for (const int64_t g : chosen) std::fill_n(taken.begin() + g * each, each, char{0});
}

float place_weight(const RouterCall& c, int64_t k) { return k >= c.K - c.newcomers ? c.newcomer_weight : 1.0f; }

}  // namespace

void route_with(const Kernels& kernels, const RouterCall& c) {
  if (c.sigmoid) kernels.activation(c.score, c.logits, c.N * c.E, Activation::Sigmoid, DType::F32);
  else kernels.softmax(c.score, c.logits, c.N, c.E);
  std::vector<float> choice(size(c.E));
  std::vector<char> taken(size(c.E));
  for (int64_t n = 0; n < c.N; ++n) {
    const float* s = c.score + n * c.E;
    for (int64_t e = 0; e < c.E; ++e) choice[size(e)] = s[e] + (c.bias ? c.bias[e] : 0.0f);
    const bool limited = c.top_groups < c.groups;
    if (limited) limit_groups(c, choice, taken);
    int64_t* expert = c.expert + n * c.K;
    best_of(expert, c.K, choice.data(), limited ? taken.data() : nullptr, c.E);
    float sum = 0;
    for (int64_t k = 0; k < c.K; ++k) sum += c.weight[n * c.K + k] = s[expert[k]] * place_weight(c, k);
    const float factor = c.normalize ? c.scale / (sum + 1e-20f) : c.scale;
    for (int64_t k = 0; k < c.K; ++k) c.weight[n * c.K + k] *= factor;
  }
}

/// With a_k the chosen scores: w_k = scale a_k / sum, so ds_k = scale (dw_k / sum - sum_j a_j dw_j / sum^2).
void route_backward_with(const Kernels& kernels, float* dlogits, const float* dweight, const RouterCall& c) {
  for (int64_t n = 0; n < c.N; ++n) {
    const float *s = c.score + n * c.E, *dw = dweight + n * c.K;
    const int64_t* expert = c.expert + n * c.K;
    float* d = dlogits + n * c.E;
    std::fill_n(d, c.E, 0.0f);
    float sum = 0, dot = 0;
    for (int64_t k = 0; k < c.K; ++k) {
      if (expert[k] < 0) continue;
      const float a = s[expert[k]] * place_weight(c, k);
      sum += a, dot += a * dw[k];
    }
    sum += 1e-20f;
    for (int64_t k = 0; k < c.K; ++k)
      if (expert[k] >= 0) d[expert[k]] = place_weight(c, k) * c.scale * (c.normalize ? dw[k] / sum - dot / (sum * sum) : dw[k]);
    if (c.sigmoid)
      for (int64_t e = 0; e < c.E; ++e) d[e] *= s[e] * (1 - s[e]);
    else
      kernels.softmax_backward(d, d, s, 1, c.E);
  }
}

namespace {

void route(const RouterCall& c) { route_with(ref_kernels(), c); }
void route_backward(float* dlogits, const float* dweight, const RouterCall& c) { route_backward_with(ref_kernels(), dlogits, dweight, c); }

void sort_by_expert(int64_t* start, int64_t* token, int64_t* row, const int64_t* expert, int64_t N, int64_t K, int64_t E) {
  std::fill_n(start, E + 1, int64_t{0});
  for (int64_t p = 0; p < N * K; ++p)
    if (expert[p] >= 0) ++start[expert[p] + 1];
  std::partial_sum(start, start + E + 1, start);
  std::fill_n(token, N * K, int64_t{-1});
  std::vector<int64_t> next(start, start + E);
  for (int64_t p = 0; p < N * K; ++p) {
    row[p] = expert[p] < 0 ? -1 : next[size(expert[p])]++;
    if (row[p] >= 0) token[row[p]] = p / K;
  }
}

/// The products of one group as float32 (rows, columns of w).
std::vector<float> product(const GroupedLinearCall& c, int64_t g, int64_t begin, int64_t end) {
  const int64_t rows = end - begin, columns = c.gated ? 2 * c.N : c.N;
  std::vector<float> y(size(rows * columns)), x(size(rows * c.K));
  const auto item = static_cast<int64_t>(size_of(c.type));
  ref_kernels().cast(x.data(), DType::F32, static_cast<const char*>(c.x) + begin * c.K * item, c.type, rows * c.K);
  const bool half = c.format == WeightFormat::BF16 && c.type == DType::F16;
  std::vector<float> widened;
  if (half) {
    widened.resize(size(columns * c.K));
    ref_kernels().cast(widened.data(), DType::F32, c.w[g], DType::F16, columns * c.K);
  }
  const void* from = half ? widened.data() : c.w[g];
  const WeightFormat format = half ? WeightFormat::F32 : c.format;
  if (c.transposed) {
    std::vector<float> w(size(columns * c.K));
    ref_kernels().linear_unpack(w.data(), from, nullptr, format, c.K, columns);
    ref_kernels().matmul({.c = y.data(), .a = x.data(), .b = w.data(), .M = rows, .N = columns, .K = c.K, .threads = c.threads});
    return y;
  }
  LinearCall l{.y = y.data(), .x = x.data(), .w = from, .w_scale = c.w_scale ? c.w_scale[g] : nullptr, .format = format};
  l.M = rows, l.N = columns, l.K = c.K, l.group = c.group, l.fp8_rows = c.fp8_rows, l.threads = c.threads;
  std::vector<double> scratch(ref_kernels().linear_scratch(l) / sizeof(double) + 1);
  l.scratch = scratch.data();
  ref_kernels().linear(l);
  return y;
}

void grouped_linear(const GroupedLinearCall& c) {
  for (int64_t g = 0; g < c.groups; ++g) {
    const int64_t begin = c.start[g], end = c.start[g + 1];
    if (begin == end) continue;
    std::vector<float> z = product(c, g, begin, end);
    if (c.gated) {
      std::vector<float> h(size((end - begin) * c.N));
      ref_kernels().gated(h.data(), z.data(), z.data() + c.N, 2 * c.N, end - begin, c.N, c.act, DType::F32);
      z.swap(h);
    } else {
      ref_kernels().activation(z.data(), z.data(), (end - begin) * c.N, c.act, DType::F32);
    }
    with_float(c.y_type, [&](auto* tag) {
      auto* y = static_cast<decltype(tag)>(c.y) + begin * c.N;
      for (size_t i = 0; i < z.size(); ++i) store(y + i, c.accumulate ? load(y + i) + z[i] : z[i]);
    });
  }
}

void grouped_gradient(const GroupedGradCall& c) {
  for (int64_t g = 0; g < c.groups; ++g) {
    const auto item = static_cast<int64_t>(size_of(c.type));
    MatmulCall m{.c = c.dw[g], .a = static_cast<const char*>(c.a) + c.start[g] * c.N * item, .b = static_cast<const char*>(c.b) + c.start[g] * c.K * item};
    m.type = c.type, m.trans_a = true, m.accumulate = c.accumulate, m.M = c.N, m.N = c.K, m.K = c.start[g + 1] - c.start[g], m.threads = c.threads;
    ref_kernels().matmul(m);
  }
}

void argmax_rows(int64_t* index, const float* x, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N; ++n) best_of(index + n, 1, x + n * C, nullptr, C);
}

int64_t sample_row(const SampleCall& c, int64_t n) {
  std::vector<float> s(c.scores + n * c.V, c.scores + (n + 1) * c.V);
  for (float& v : s) v = v > -kInfinity ? v / c.temperature : -kInfinity;  // a NaN is left out
  const auto likelier = [&](int64_t a, int64_t b) { return s[size(a)] != s[size(b)] ? s[size(a)] > s[size(b)] : a > b; };
  std::vector<int64_t> order(s.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::sort(order.begin(), order.end(), likelier);
  const float top = s[size(order[0])];
  if (top == -kInfinity) return -1;
  if (c.top_k > 0 && c.top_k < c.V) {
    const float least = s[size(order[size(c.top_k - 1)])];
    for (float& v : s)
      if (v < least) v = -kInfinity;
  }
  std::vector<float> p(s.size());
  double total = 0;
  for (size_t i = 0; i < s.size(); ++i) total += p[i] = s[i] > -kInfinity ? std::exp(s[i] - top) : 0.0f;
  const double limit = total * (1 - static_cast<double>(c.top_p));
  double below = 0;
  for (size_t i = s.size(); c.top_p < 1 && i-- > 1;) {  // order stays that of s: what top_k left out has p = 0
    float& least = p[size(order[i])];
    if ((below += least) > limit) break;
    least = 0;
  }
  const auto random = Random(c.seed, static_cast<uint64_t>(c.row[n])).block(static_cast<uint64_t>(c.step[n]));
  double left = std::accumulate(p.begin(), p.end(), 0.0);
  left *= static_cast<double>((uint64_t{random[0]} << 21) ^ (random[1] >> 11)) * 0x1p-53;
  int64_t last = order[0];
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0) continue;
    last = static_cast<int64_t>(i);
    if ((left -= p[i]) < 0) break;
  }
  return last;
}

void sample_rows(const SampleCall& c) {
  for (int64_t n = 0; n < c.N; ++n) c.token[n] = sample_row(c, n);
}

void reorder_columns(const ReorderCall& c) {
  const size_t item = size_of(c.type);
  for (int64_t g = 0; g < c.groups; ++g)
    for (int64_t i = c.start[g]; i < c.start[g + 1]; ++i)
      for (int64_t k = 0; k < c.K; ++k) {
        const int64_t from = c.order[g] ? c.order[g][k] : k;
        std::memcpy(static_cast<char*>(c.y) + size(i * c.K + k) * item, static_cast<const char*>(c.x) + size(i * c.K + from) * item, item);
      }
}

}  // namespace

void fill_ref_experts(Kernels& k) {
  k.route = route;
  k.route_backward = route_backward;
  k.sort_by_expert = sort_by_expert;
  k.grouped_linear = grouped_linear;
  k.grouped_gradient = grouped_gradient;
  k.reorder_columns = reorder_columns;
  k.argmax_rows = argmax_rows;
  k.sample_rows = sample_rows;
}

}  // namespace tenon
