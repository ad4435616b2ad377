// Kernels that reduce rows: a block has one row.
#pragma once

#include "bodies/row.h"

namespace tenon::cuda {

template <class E, int V>
struct LayerNormBody {
  E* y;
  const E* x;
  const float *w, *b;
  float *mean, *rstd;
  int64_t C;
  float eps;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const E* from = x + block.index * C;
    const float m = row_sum<V>(block, from, C, [](float e) { return e; }) / static_cast<float>(C);
    const float variance = row_sum<V>(block, from, C, [&](float e) { return (e - m) * (e - m); }) / static_cast<float>(C);
    const float r = 1 / sqrtf(variance + eps);
    map_row<V>(
        block, y + block.index * C, from, C, [&](float e, int64_t c) { return (e - m) * r * w[c] + b[c]; },
        [&] {
          if (mean) mean[block.index] = m;
          if (rstd) rstd[block.index] = r;
        });
  }
};

template <class E, int V>
struct RmsNormBody {
  E* y;
  const E* x;
  const float* w;
  float* rstd;
  int64_t C;
  float eps;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const E* from = x + block.index * C;
    const float r = 1 / sqrtf(row_sum<V>(block, from, C, [](float e) { return e * e; }) / static_cast<float>(C) + eps);
    map_row<V>(
        block, y + block.index * C, from, C, [&](float e, int64_t c) { return e * (r * w[c]); },
        [&] {
          if (rstd) rstd[block.index] = r;
        });
  }
};

/// dx of both norms, with xhat = (x - mean) rstd (rms: x rstd) and g = dy w:
/// dx = rstd (g - mean(g) - xhat mean(g xhat)), for rms without mean(g). mean is nullptr for rms.
template <int V>
struct NormBackwardBody {
  float* dx;
  const float *dy, *x, *w, *mean, *rstd;
  int64_t C;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t row = block.index * C;
    const float m = mean ? mean[block.index] : 0.0f, r = rstd[block.index];
    Lanes<float, Block> g(block), gx(block);
    block.each([&](int t) {
      float sum_g = 0, sum_gx = 0;
      walk_rows<V>(t, block.threads, dy + row, x + row, C, [&](int64_t c, float(&d)[V], float(&v)[V]) {
        for (int j = 0; j < V; ++j) sum_g += d[j] * w[c + j], sum_gx += d[j] * w[c + j] * ((v[j] - m) * r);
      });
      g[t] = sum_g, gx[t] = sum_gx;
    });
    const float mean_g = mean ? block.sum(g) / static_cast<float>(C) : 0.0f, mean_gx = block.sum(gx) / static_cast<float>(C);
    block.each([&](int t) {
      walk_rows<V>(t, block.threads, dy + row, x + row, C, [&](int64_t c, float(&d)[V], float(&v)[V]) {
        for (int j = 0; j < V; ++j) d[j] = r * (d[j] * w[c + j] - mean_g - (v[j] - m) * r * mean_gx);
        store(dx + row + c, d);
      });
    });
  }
};

/// dw (C) += sum over rows of dy xhat, db (C) += sum of dy; db is nullptr for rms, and dw for plain sums of rows. A block has 32 columns:
/// thread t has column t % 32 and every (threads / 32)-th row, so that a warp reads 32 neighbours; each sum has a fixed order.
struct ColumnSumsBody {
  float *dw, *db;
  const float *dy, *x, *mean, *rstd;
  int64_t N, C;
  static constexpr int kThreads = 256;
  static constexpr size_t kShared = 2 * kThreads * sizeof(float);
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    float *by_w = reinterpret_cast<float*>(block.shared), *by_b = by_w + kThreads;
    block.each([&](int t) {
      const int64_t c = block.index * kWarp + t % kWarp;
      float sum_w = 0, sum_b = 0;
      if (c < C)
        for (int64_t n = t / kWarp; n < N; n += kThreads / kWarp) {
          const float d = dy[n * C + c];
          sum_b += d;
          if (dw) sum_w += d * ((x[n * C + c] - (mean ? mean[n] : 0.0f)) * rstd[n]);
        }
      by_w[t] = sum_w, by_b[t] = sum_b;
    });
    block.each([&](int t) {
      const int64_t c = block.index * kWarp + t;
      if (t >= kWarp || c >= C) return;
      float sum_w = 0, sum_b = 0;
      for (int i = t; i < kThreads; i += kWarp) sum_w += by_w[i], sum_b += by_b[i];
      if (dw) dw[c] += sum_w;
      if (db) db[c] += sum_b;
    });
  }
};

template <int V>
struct L2NormalizeBody {
  float *y, *norm;
  const float* x;
  int64_t C;
  float eps;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t row = block.index * C;
    const float length = sqrtf(row_sum<V>(block, x + row, C, [](float e) { return e * e; })), divisor = fmaxf(length, eps);
    map_row<V>(
        block, y + row, x + row, C, [&](float e, int64_t) { return e / divisor; },
        [&] {
          if (norm) norm[block.index] = length;
        });
  }
};

TENON_BODY int8_t coded(float v, const int8_t*) {
  const float r = rintf(v);
  return r >= -127 && r <= 127 ? static_cast<int8_t>(r) : int8_t{0};  // outside only for a NaN
}
TENON_BODY float8 coded(float v, const float8*) { return {float_to_f8e4m3(v)}; }
constexpr float largest_code(const int8_t*) { return 127; }
constexpr float largest_code(const float8*) { return 448; }

template <class Code, class E, int V>
struct QuantizeRowsBody {
  Code* q;
  float* scale;
  const E* x;
  int64_t C;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t row = block.index * C;
    constexpr float limit = largest_code(static_cast<const Code*>(nullptr));
    const float largest = row_max<V>(block, x + row, C, 0.0f, [](float e) { return fabsf(e); }), s = largest / limit > 0 ? largest / limit : 1.0f;
    block.each([&](int t) {
      walk_row<V>(t, block.threads, x + row, C, [&](int64_t c, float(&v)[V]) {
        Pack<Code, V> p;
        for (int j = 0; j < V; ++j) p.e[j] = coded(v[j] / s, static_cast<const Code*>(nullptr));
        *reinterpret_cast<Pack<Code, V>*>(q + row + c) = p;
      });
      if (t == 0) scale[block.index] = s;
    });
  }
};

}  // namespace tenon::cuda
