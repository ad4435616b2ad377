// A weight matrix in few bits, in the one order that all checkpoint formats are read into and all quantisers write.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/core/error.h"
#include "tenon/core/tensor.h"
#include "tenon/quant/format.h"

namespace tenon::quant {

/// w[n, order[k]] = (code(n,k) - zero[n, k/group]) * scale[n, k/group]; Fp8 has no zero.
struct QuantizedMatrix {
  WeightFormat format = WeightFormat::Int4;  // Int4 or Fp8
  int64_t N = 0, K = 0, group = 0;           // group: how many columns share a scale, 1 to K; the last ones may be fewer
  Tensor q;                                  // u8. Int4: (N, ceil(K/2)), column 2i in the low half of byte i; Fp8: (N,K) e4m3
  Tensor scale;                              // (N, groups) f32
  Tensor zero;                               // (N, groups) u8, Int4 only
  std::vector<int64_t> order;                // (K), or empty: column k of q is column order[k] of w (GPTQ with act-order)

  bool defined() const { return q.defined(); }
  int64_t groups() const { return (K + group - 1) / group; }
  int code(int64_t n, int64_t k) const {
    const uint8_t byte = q.data<uint8_t>()[n * ((K + 1) / 2) + k / 2];
    return k % 2 ? byte >> 4 : byte & 15;
  }
};

/// Errors: Error(Shape), Error(Type), Error(Format) for scales that are not finite, zeros above 15 and an order that is no permutation.
inline void check_matrix(const QuantizedMatrix& m) {
  const bool int4 = m.format == WeightFormat::Int4;
  check(int4 || m.format == WeightFormat::Fp8, ErrorCode::Type, "quantized matrix", "expected int4 or float8");
  check(m.N > 0 && m.K > 0 && m.group > 0 && m.group <= m.K, ErrorCode::Shape, "quantized matrix", "expected a group of 1 to ", m.K,
        " columns, got ", m.group);
  const Shape codes{m.N, int4 ? (m.K + 1) / 2 : m.K}, scales{m.N, m.groups()};
  check(m.q.dtype() == DType::U8 && m.scale.dtype() == DType::F32 && (!int4 || m.zero.dtype() == DType::U8), ErrorCode::Type,
        "quantized matrix", "expected codes and zeros of uint8 and scales of float32");
  check(m.q.shape() == codes && m.scale.shape() == scales && (!int4 || m.zero.shape() == scales), ErrorCode::Shape, "quantized matrix",
        "expected codes ", codes, " and scales ", scales, ", got ", m.q.shape(), " and ", m.scale.shape());
  for (int64_t i = 0; i < m.scale.numel(); ++i)
    check(std::isfinite(m.scale.data<float>()[i]), ErrorCode::Format, "quantized matrix", "scale ", i, " is not finite");
  for (int64_t i = 0; int4 && i < m.zero.numel(); ++i)
    check(m.zero.data<uint8_t>()[i] < 16, ErrorCode::Format, "quantized matrix", "zero ", i, ": expected 0 to 15, got ",
          static_cast<int>(m.zero.data<uint8_t>()[i]));
  if (m.order.empty()) return;
  std::vector<uint8_t> seen(static_cast<size_t>(m.K));
  check(static_cast<int64_t>(m.order.size()) == m.K, ErrorCode::Shape, "quantized matrix", "order: expected ", m.K, " columns");
  for (const int64_t k : m.order)
    check(k >= 0 && k < m.K && !std::exchange(seen[static_cast<size_t>(k)], 1), ErrorCode::Format, "quantized matrix",
          "order: expected each column once, got ", k);
}

/// The weight as float32. Shapes: -> (N,K).
inline Tensor dequantize(const QuantizedMatrix& m) {
  check_matrix(m);
  Tensor w = Tensor::empty({m.N, m.K}, DType::F32);
  const int64_t G = m.groups();
  for (int64_t n = 0; n < m.N; ++n)
    for (int64_t k = 0; k < m.K; ++k) {
      const int64_t at = n * G + k / m.group;
      const float v = m.format == WeightFormat::Fp8 ? f8e4m3_to_float(m.q.data<uint8_t>()[n * m.K + k])
                                                    : static_cast<float>(m.code(n, k) - m.zero.data<uint8_t>()[at]);
      w.data<float>()[n * m.K + (m.order.empty() ? k : m.order[static_cast<size_t>(k)])] = v * m.scale.data<float>()[at];
    }
  return w;
}

/// Rounds each group by itself. Int4, asymmetric: scale = max((max - min) / 15, 1e-5 / 15) in half precision (if it fits), zero =
/// -round(min / scale) in 0 to 15; symmetric: zero = 8, scale = max |w| / 7.5. Fp8: scale = max |w| / 448. Shapes: w (N,K) f32|bf16|f16.
/// Errors: Error(Shape), Error(Type), Error(Format) if a weight is not finite.
/// Source: the pseudo-quantisation of Lin et al. 2023, "AWQ".
inline QuantizedMatrix round_to_nearest(Context& ctx, const Tensor& w, WeightFormat format, int64_t group = kMostGroup,
                                        bool symmetric = false) {
  check(w.defined() && w.rank() == 2 && w.numel() > 0, ErrorCode::Shape, "round_to_nearest", "expected (N, K), got ", w.describe());
  check(is_float(w.dtype()), ErrorCode::Type, "round_to_nearest", "expected floating point weights, got ", w.describe());
  QuantizedMatrix m{format, w.size(0), w.size(1), std::min(group, w.size(1)), {}, {}, {}, {}};
  check(m.group > 0, ErrorCode::Shape, "round_to_nearest", "group: expected 1 or more, got ", group);
  const Tensor wide = w.to(DType::F32);
  const float* from = wide.data<float>();
  const bool int4 = format == WeightFormat::Int4;
  const int64_t G = m.groups(), bytes = int4 ? (m.K + 1) / 2 : m.K;
  m.q = Tensor::zeros({m.N, bytes}, DType::U8);
  m.scale = Tensor::empty({m.N, G}, DType::F32);
  if (int4) m.zero = Tensor::zeros({m.N, G}, DType::U8);
  uint8_t *q = m.q.data<uint8_t>(), *zeros = int4 ? m.zero.data<uint8_t>() : nullptr;
  float* scales = m.scale.data<float>();
  ctx.over_rows(m.N, 8 * m.K, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n)
      for (int64_t g = 0; g < G; ++g) {
        const int64_t begin = g * m.group, end = std::min(begin + m.group, m.K);
        const float* row = from + n * m.K;
        const auto [low, high] = std::minmax_element(row + begin, row + end);
        const float least = std::min(*low, 0.0f), most = std::max(*high, 0.0f);  // 0 is among the codes even if no weight is
        float sum = 0;
        for (int64_t k = begin; k < end; ++k) sum += row[k] * 0;
        check(sum == 0, ErrorCode::Format, "round_to_nearest", "row ", n, " holds a weight that is not finite");
        const float largest = std::max(-least, most);
        float scale = !int4       ? std::max(largest / 448, 1e-12f)
                      : symmetric ? std::max(largest / 7.5f, 1e-6f)
                                  : std::max(most - least, 1e-5f) / 15;
        if (int4 && scale < 65504) scale = std::max(static_cast<float>(float16::from(scale)), 0x1p-24f);
        const float zero = int4 ? symmetric ? 8 : std::clamp(-std::nearbyint(least / scale), 0.0f, 15.0f) : 0;
        scales[n * G + g] = scale;
        if (int4) zeros[n * G + g] = static_cast<uint8_t>(zero);
        for (int64_t k = begin; k < end; ++k) {
          if (!int4) {
            q[n * bytes + k] = float_to_f8e4m3(row[k] / scale);
            continue;
          }
          const auto code = static_cast<uint8_t>(std::clamp(std::nearbyint(row[k] / scale) + zero, 0.0f, 15.0f));
          q[n * bytes + k / 2] = static_cast<uint8_t>(q[n * bytes + k / 2] | (k % 2 ? code << 4 : code));
        }
      }
  });
  return m;
}

/// The same matrix with groups that the kernels take: a multiple of 32 up to kMostGroup. Larger groups repeat their scale.
/// Errors: Error(Format) for groups that have no such divisor.
inline QuantizedMatrix regroup(QuantizedMatrix m) {
  const bool single = m.group >= m.K;
  const int64_t group = single ? std::min(kMostGroup, (m.K + 31) / 32 * 32) : std::gcd(m.group, kMostGroup);
  check(group % 32 == 0, ErrorCode::Format, "quantized matrix", "group_size: expected a multiple of 32, or all of K, got ", m.group);
  const int64_t before = m.groups(), G = (m.K + group - 1) / group;
  if (G != before) {
    Tensor scale = Tensor::empty({m.N, G}, DType::F32), zero = m.zero.defined() ? Tensor::empty({m.N, G}, DType::U8) : Tensor();
    for (int64_t n = 0; n < m.N; ++n)
      for (int64_t g = 0; g < G; ++g) {
        const int64_t at = n * before + g * group / m.group;
        scale.data<float>()[n * G + g] = std::as_const(m.scale).data<float>()[at];
        if (zero.defined()) zero.data<uint8_t>()[n * G + g] = std::as_const(m.zero).data<uint8_t>()[at];
      }
    m.scale = scale, m.zero = zero;
  }
  m.group = group;
  return m;
}

/// Several matrices above each other. Shapes: -> (sum of N_i, K).
/// Errors: Error(Shape) unless all have one format, K, group and order.
inline QuantizedMatrix rows_concat(std::span<const QuantizedMatrix> parts) {
  check(!parts.empty(), ErrorCode::Shape, "quantized matrix", "expected at least one");
  QuantizedMatrix all = parts[0];
  if (parts.size() == 1) return all;
  all.N = 0;
  for (const QuantizedMatrix& p : parts) {
    check(p.format == all.format && p.K == all.K && p.group == all.group && p.order == all.order, ErrorCode::Shape, "quantized matrix",
          "above each other: expected one format, K, group and order");
    all.N += p.N;
  }
  const auto join = [&](auto member) {
    const Tensor& first = parts[0].*member;
    if (!first.defined()) return Tensor();
    Tensor t = Tensor::empty({all.N, first.size(1)}, first.dtype());
    char* at = static_cast<char*>(t.raw());
    for (const QuantizedMatrix& p : parts) at = std::copy_n(static_cast<const char*>((p.*member).raw()), (p.*member).nbytes(), at);
    return t;
  };
  all.q = join(&QuantizedMatrix::q), all.scale = join(&QuantizedMatrix::scale), all.zero = join(&QuantizedMatrix::zero);
  return all;
}

}  // namespace tenon::quant
