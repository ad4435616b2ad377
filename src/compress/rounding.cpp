// Rounding of weight matrices to few bits and back.
#include "tenon/compress/rounding.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tenon/quant/dequantize.h"

namespace tenon::compress {
namespace {

/// To the nearest whole number, ties to even, for |v| < 2^22: as std::nearbyint, but in two additions that run on whole vectors.
inline float nearest(float v) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  return (v + kMagic) - kMagic;
}

struct Range {
  float least, most;
};

Range range_of(const float* x, int64_t n) {
  float least = 0, most = 0;  // 0 is among the codes even if no weight is
  for (int64_t i = 0; i < n; ++i) {
    least = x[i] < least ? x[i] : least;
    most = x[i] > most ? x[i] : most;
  }
  return {least, most};
}

/// One group of Int4, with the arithmetic of quant::round_to_nearest.
void round_int4(float* x, int64_t n, bool symmetric) {
  const auto [least, most] = range_of(x, n);
  float scale = symmetric ? std::max(std::max(-least, most) / 7.5f, 1e-6f) : std::max(most - least, 1e-5f) / 15;
  if (scale < 65504) scale = std::max(static_cast<float>(float16::from(scale)), 0x1p-24f);
  const float zero = symmetric ? 8 : std::clamp(-std::nearbyint(least / scale), 0.0f, 15.0f);
  for (int64_t i = 0; i < n; ++i) {
    float code = x[i] / scale;
    code = code < -1e5f ? -1e5f : code;  // of weights far beside their group's range
    code = code > 1e5f ? 1e5f : code;
    code = nearest(code) + zero;
    code = code < 0 ? 0 : code;
    code = code > 15 ? 15 : code;
    x[i] = (code - zero) * scale;
  }
}

void round_row_int8(float* x, int64_t n) {
  const auto [least, most] = range_of(x, n);
  const float scale = std::max(-least, most) / 127;
  if (scale == 0) return;
  for (int64_t i = 0; i < n; ++i) x[i] = nearest(x[i] / scale) * scale;
}

void check_finite(const Tensor& w, const char* where) {
  const float* x = w.data<float>();
  for (int64_t n = 0; n < w.size(0); ++n) {
    float sum = 0;
    for (int64_t k = 0; k < w.size(1); ++k) sum += x[n * w.size(1) + k] * 0;
    check(sum == 0, ErrorCode::Format, where, "row ", n, " holds a weight that is not finite");
  }
}

void check_matrix(const Tensor& w, const char* where) {
  check(w.defined() && w.rank() == 2 && w.numel() > 0 && w.dtype() == DType::F32, ErrorCode::Shape, where, "expected (N, K) float32, got ",
        w.describe());
  check_finite(w, where);
}

}  // namespace

std::string Rounding::refuses(int64_t N, int64_t K) const {
  if (format == WeightFormat::Int8) return "";
  if (format == WeightFormat::Fp8) return "";  // blocks at the edges are smaller
  if (K % group) return "its " + std::to_string(K) + " columns are no multiple of the group size " + std::to_string(group);
  if (N % 8 || K % 8) return "its shape (" + std::to_string(N) + ", " + std::to_string(K) + ") is no multiple of the 8 codes in a word";
  return "";
}

void round_weights(Context& ctx, float* to, const float* w, const float* s, int64_t N, int64_t K, const Rounding& r) {
  if (r.format == WeightFormat::Fp8) {
    Tensor from = Tensor::empty({N, K}, DType::F32);
    std::copy_n(w, N * K, from.data<float>());
    const Tensor back = quant::dequantize(ctx, quant::round_to_blocks(ctx, from, r.group));
    std::copy_n(back.data<float>(), N * K, to);
    return;
  }
  std::vector<float> inverse;
  for (int64_t k = 0; s && k < K; ++k) inverse.push_back(1 / s[k]);
  const float* inv = inverse.data();
  ctx.over_rows(N, 8 * K, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* from = w + n * K;
      float* row = to + n * K;
      for (int64_t k = 0; k < K; ++k) row[k] = s ? from[k] * s[k] : from[k];
      if (r.format == WeightFormat::Int8) round_row_int8(row, K);
      for (int64_t k = 0; r.format == WeightFormat::Int4 && k < K; k += r.group) round_int4(row + k, std::min(r.group, K - k), r.symmetric);
      for (int64_t k = 0; s && k < K; ++k) row[k] *= inv[k];
    }
  });
}

Int8Matrix to_int8(Context& ctx, const Tensor& w) {
  check_matrix(w, "to_int8");
  const int64_t N = w.size(0), K = w.size(1);
  Int8Matrix m{Tensor::empty(w.shape(), DType::I8), Tensor::empty({N}, DType::F32)};
  const float* from = w.data<float>();
  int8_t* q = m.q.data<int8_t>();
  float* scales = m.scale.data<float>();
  ctx.over_rows(N, 4 * K, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const auto [least, most] = range_of(from + n * K, K);
      scales[n] = std::max(std::max(-least, most) / 127, 1e-30f);
      for (int64_t k = 0; k < K; ++k) q[n * K + k] = static_cast<int8_t>(nearest(from[n * K + k] / scales[n]));
    }
  });
  return m;
}

Tensor dequantize(const Int8Matrix& m) {
  const int64_t N = m.q.size(0), K = m.q.size(1);
  Tensor w = Tensor::empty({N, K}, DType::F32);
  for (int64_t i = 0; i < N * K; ++i) w.data<float>()[i] = m.q.data<int8_t>()[i] * m.scale.data<float>()[i / K];
  return w;
}

}  // namespace tenon::compress
