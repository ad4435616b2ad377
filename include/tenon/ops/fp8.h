// Factors of the products that training makes: as they are, rounded to 16 bits, or in float8 with scales of blocks.
#pragma once

#include <algorithm>
#include <limits>

#include "tenon/ops/matmul.h"

namespace tenon::ops {

namespace detail {

/// A matrix (M,K) in e4m3, with a scale for each block of `rows` rows and `columns` columns.
struct Fp8Matrix {
  Tensor codes, scale;
  int64_t rows = 1, columns = 128;
};

/// x (N,C), or x^T if transposed, in blocks of `rows` by `columns`; more than there are stand for all.
inline Fp8Matrix to_fp8(Context& ctx, const Tensor& x, int64_t N, int64_t C, int64_t rows, int64_t columns, bool transposed) {
  check_here(ctx, "matmul", x);
  const int64_t P = transposed ? C : N, Q = transposed ? N : C;
  rows = std::min(rows, std::max<int64_t>(P, 1)), columns = std::min(columns, std::max<int64_t>(Q, 1));
  const int64_t G = (Q + columns - 1) / columns;
  Fp8Matrix m{ctx.empty({P, Q}, DType::F8E4M3), ctx.empty({(P + rows - 1) / rows, G}, DType::F32), rows, columns};
  auto* codes = static_cast<float8*>(m.codes.address());
  float* scale = m.scale.ptr<float>();
  const auto* from = static_cast<const char*>(x.address());
  const auto item = static_cast<int64_t>(size_of(x.dtype()));
  if (transposed) {
    ctx.kernels().quantize_blocks_fp8(codes, scale, from, N, C, rows, columns, true, x.dtype());
    return m;
  }
  ctx.over_rows((N + rows - 1) / rows, rows * C, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * rows, last = std::min(end * rows, N);
    ctx.kernels().quantize_blocks_fp8(codes + first * C, scale + begin * G, from + first * C * item, last - first, C, rows, columns, false,
                                      x.dtype());
  });
  return m;
}

/// One factor of products. In float8 a product needs both factors with k along their rows, so each is there in the orientations that are
/// asked for.
struct Factor {
  Tensor plain;                // (N,C) of the type that is multiplied, or {}: float8
  Fp8Matrix straight, turned;  // of x, of x^T
};

/// What a factor of a float8 product is: by blocks, activations and their gradients have a scale for each row and 128 elements, weights for
/// each 128 by 128.
enum class Fp8Role : uint8_t { Rows, Weight };

/// x (N,C) as `type`; in float8 x and x^T if they are needed. Records nothing.
inline Factor factor_of(Context& ctx, const Tensor& x, FactorType type, Fp8Role role, int64_t N, int64_t C, bool straight, bool turned) {
  if (type.type != DType::F8E4M3) return {converted(ctx, x, type.type), {}, {}};
  constexpr int64_t kBlock = 128, kAll = std::numeric_limits<int64_t>::max();
  const bool whole = type.scaling == Fp8Scaling::Tensor;
  const int64_t rows = whole ? kAll : role == Fp8Role::Rows ? 1 : kBlock, columns = whole ? kAll : kBlock;
  Factor f;
  if (straight) f.straight = to_fp8(ctx, x, N, C, rows, columns, false);
  if (turned) f.turned = to_fp8(ctx, x, N, C, rows, columns, true);
  return f;
}

/// c (M,N) = a b, or c += a b, in float32; a is (M,K), or (K,M) if trans_a, b (K,N), or (N,K) if trans_b.
inline void multiply(Context& ctx, float* c, const Factor& a, const Factor& b, bool trans_a, bool trans_b, int64_t M, int64_t N, int64_t K,
                     bool accumulate) {
  if (a.plain.defined() || M == 0 || N == 0 || K == 0)
    return multiply(ctx, c, a.plain.address(), b.plain.address(), a.plain.defined() ? a.plain.dtype() : DType::F32, trans_a, trans_b, M, N, K,
                    accumulate);
  const Fp8Matrix &x = trans_a ? a.turned : a.straight, &y = trans_b ? b.straight : b.turned;
  ctx.kernels().fp8_matmul({.c = c,
                            .a = static_cast<const float8*>(x.codes.address()),
                            .b = static_cast<const float8*>(y.codes.address()),
                            .a_scale = x.scale.ptr<float>(),
                            .b_scale = y.scale.ptr<float>(),
                            .accumulate = accumulate,
                            .M = M,
                            .N = N,
                            .K = K,
                            .a_rows = x.rows,
                            .b_rows = y.rows,
                            .block = x.columns,
                            .threads = ctx.threads()});
}

}  // namespace detail

}  // namespace tenon::ops
