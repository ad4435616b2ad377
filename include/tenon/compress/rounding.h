// Weights as they are after quantisation and back: what every search for better scales measures.
#pragma once

#include <cstdint>
#include <string>

#include "tenon/core/context.h"
#include "tenon/core/tensor.h"
#include "tenon/quant/fp8.h"

namespace tenon::compress {

/// How weights are rounded. Int4: groups of columns as quant::round_to_nearest has them; Int8: symmetric, a scale per row;
/// Fp8: blocks of group x group that share a scale.
struct Rounding {
  WeightFormat format = WeightFormat::Int4;
  int64_t group = 128;
  bool symmetric = false;  // Int4

  /// Whether a weight (N,K) can be rounded like this, as the formats on disk want it; "" or why it cannot.
  std::string refuses(int64_t N, int64_t K) const;
};

/// to = Q(w diag(s)) diag(1/s), where Q rounds. Int4 and Int8 alone take s.
/// Shapes: w (N,K) f32, s (K) positive or nullptr, to (N,K), may be w.
void round_weights(Context& ctx, float* to, const float* w, const float* s, int64_t N, int64_t K, const Rounding& r);

/// A matrix in int8 with a scale per row: w[n,k] = q[n,k] * scale[n].
struct Int8Matrix {
  Tensor q;      // (N,K) i8
  Tensor scale;  // (N) f32: the largest magnitude of the row / 127
};

/// Shapes: w (N,K) f32. Errors: Error(Format) if a weight is not finite.
Int8Matrix to_int8(Context& ctx, const Tensor& w);
/// Shapes: -> (N,K) f32.
Tensor dequantize(const Int8Matrix& m);

}  // namespace tenon::compress
