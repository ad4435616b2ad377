// Weights in few bits as float32, for what cannot use them as they are: gradients, absorbed matrices, exact products of int8 rows.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/quant/stored.h"

namespace tenon::quant {

namespace detail {

inline constexpr std::array<float, 256> kE4m3 = [] {
  std::array<float, 256> values{};
  for (unsigned b = 0; b < 256; ++b) values[b] = f8e4m3_to_float(static_cast<uint8_t>(b));
  return values;
}();

/// Columns [begin, end) of a row of 4-bit codes.
inline void decode(float* to, const uint8_t* row, int64_t begin, int64_t end, float scale, int zero) {
  float value[16];
  for (int c = 0; c < 16; ++c) value[c] = static_cast<float>(c - zero) * scale;
  int64_t k = begin;
  if (k % 2 && k < end) to[k] = value[row[k / 2] >> 4], ++k;
  for (; k + 1 < end; k += 2) to[k] = value[row[k / 2] & 15], to[k + 1] = value[row[k / 2] >> 4];
  if (k < end) to[k] = value[row[k / 2] & 15];
}

}  // namespace detail

/// The weight as float32, on all threads. Shapes: -> (N,K).
/// Errors: as check_matrix.
inline Tensor dequantize(Context& ctx, const QuantizedMatrix& m) {
  check_matrix(m);
  Tensor w = Tensor::empty({m.N, m.K}, DType::F32);
  const bool int4 = m.format == WeightFormat::Int4;
  const int64_t G = m.groups(), bytes = m.q.size(1);
  const uint8_t *q = m.q.data<uint8_t>(), *zero = int4 ? m.zero.data<uint8_t>() : nullptr;
  const float* scale = m.scale.data<float>();
  float* all = w.data<float>();
  ctx.over_rows(m.N, m.K, [&](int64_t first, int64_t last) {
    std::vector<float> sorted(m.order.empty() ? 0 : static_cast<size_t>(m.K));
    for (int64_t n = first; n < last; ++n) {
      float* row = m.order.empty() ? all + n * m.K : sorted.data();
      for (int64_t g = 0; g < G; ++g) {
        const int64_t begin = g * m.group, end = std::min(begin + m.group, m.K);
        if (int4) detail::decode(row, q + n * bytes, begin, end, scale[n * G + g], zero[n * G + g]);
        for (int64_t k = begin; !int4 && k < end; ++k) row[k] = detail::kE4m3[q[n * bytes + k]] * scale[n * G + g];
      }
      for (int64_t k = 0; !m.order.empty() && k < m.K; ++k) all[n * m.K + m.order[static_cast<size_t>(k)]] = row[k];
    }
  });
  return w;
}

/// The same of a stored weight.
inline Tensor dequantize(Context& ctx, const StoredWeight& s) {
  if (!s.is_rows()) return dequantize(ctx, s.matrix);
  const int64_t N = s.rows.size(0), K = s.rows.size(1);
  Tensor w = Tensor::empty({N, K}, DType::F32);
  float* to = w.data<float>();
  const int8_t* q = s.rows.data<int8_t>();
  const float* scale = s.scale.data<float>();
  ctx.over_rows(N, K, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n)
      for (int64_t k = 0; k < K; ++k) to[n * K + k] = static_cast<float>(q[n * K + k]) * scale[n];
  });
  return w;
}

}  // namespace tenon::quant
