// Products of two matrices: float32 ones with gradients, and those that training is made of.
#pragma once

#include "tenon/ops/checks.h"

namespace tenon::ops {

namespace detail {

/// c (M,N) = a b, or c += a b, in float32 over factors of one type, f32 or bf16, either of them transposed.
inline void multiply(Context& ctx, float* c, const void* a, const void* b, DType type, bool trans_a, bool trans_b, int64_t M, int64_t N,
                     int64_t K, bool accumulate) {
  if (M == 0 || N == 0) return;
  if (K == 0) {
    if (!accumulate) cuda::zero(c, ctx.device(), static_cast<size_t>(M * N) * sizeof(float));
    return;
  }
  ctx.kernels().matmul({.c = c,
                        .a = a,
                        .b = b,
                        .type = type,
                        .trans_a = trans_a,
                        .trans_b = trans_b,
                        .accumulate = accumulate,
                        .M = M,
                        .N = N,
                        .K = K,
                        .threads = ctx.threads()});
}

/// What training multiplies float32 factors as. Errors: Error(Type) for a type that nothing multiplies there.
inline DType training_type(const Context& ctx) {
  const DType type = ctx.training().matmul;
  check(type == DType::F32 || type == DType::BF16 || type == DType::F8E4M3 || (type == DType::F16 && !ctx.device().is_cpu()), ErrorCode::Type, "matmul",
        "training multiplies in float32, bfloat16, float8_e4m3fn, or on a GPU float16; got ", name_of(type));
  return type;
}
/// What x is multiplied as. Other types than float32 stay as they are.
inline DType product_type(const Context& ctx, const Tensor& x) { return x.dtype() == DType::F32 ? training_type(ctx) : x.dtype(); }

/// What factors are rounded to; gradients must do as their forward pass did.
struct FactorType {
  DType type = DType::F32;
  Fp8Scaling scaling = Fp8Scaling::Block;  // of F8E4M3
};
inline FactorType factor_type(const Context& ctx, const Tensor& x) { return {product_type(ctx, x), ctx.training().fp8_scaling}; }

/// The elements in another type. Records nothing. Errors: Error(Type) for another than float32, bfloat16 or float16.
inline Tensor converted(Context& ctx, const Tensor& x, DType type) {
  if (x.dtype() == type) return x;
  check(type == DType::F32 || type == DType::BF16 || type == DType::F16, ErrorCode::Type, "matmul", "no factors are rounded to ", name_of(type), " here");
  check_here(ctx, "matmul", x);
  Tensor y = ctx.empty(x.shape(), type);
  const auto* from = static_cast<const char*>(x.address());
  auto* to = static_cast<char*>(y.address());
  const size_t from_size = size_of(x.dtype()), to_size = size_of(type);
  ctx.over_rows(x.numel(), 1, [&](int64_t begin, int64_t end) {
    ctx.kernels().cast(to + begin * to_size, type, from + begin * from_size, x.dtype(), end - begin);
  });
  return y;
}

/// A new c (M,N) = a b over float32, with either factor transposed.
inline Tensor product_of(Context& ctx, const Tensor& a, const Tensor& b, bool trans_a, bool trans_b, int64_t M, int64_t N, int64_t K) {
  check_here(ctx, "matmul", a, b);
  Tensor c = ctx.empty({M, N}, DType::F32);
  if (M == 0 || N == 0) return c;
  if (K == 0) return ctx.zeros({M, N}, DType::F32);
  ctx.kernels().matmul({.c = c.address(),
                        .a = a.address(),
                        .b = b.address(),
                        .trans_a = trans_a,
                        .trans_b = trans_b,
                        .M = M,
                        .N = N,
                        .K = K,
                        .threads = ctx.threads()});
  return c;
}

}  // namespace detail

/// c = a b, or a b^T.
/// Shapes: a (M,K), b (K,N), or (N,K) if trans_b, f32 -> (M,N).
/// Errors: Error(Shape), Error(Type).
inline Tensor matmul(Context& ctx, const Tensor& a, const Tensor& b, bool trans_b = false) {
  detail::check_f32(a, "matmul", "a");
  detail::check_f32(b, "matmul", "b");
  check(a.rank() == 2 && b.rank() == 2 && a.size(1) == b.size(trans_b ? 1 : 0), ErrorCode::Shape, "matmul", "expected (M, K) and ",
        trans_b ? "(N, K)" : "(K, N)", ", got ", a.shape(), " and ", b.shape());
  const int64_t M = a.size(0), K = a.size(1), N = b.size(trans_b ? 0 : 1);
  Tensor c = detail::product_of(ctx, a, b, false, trans_b, M, N, K);
  if (recording(ctx, "matmul", a, b))
    ctx.recorder()->record(
        "matmul", {c}, {a, b},
        [=, want_a = ctx.wants(a), want_b = ctx.wants(b)](Context& x, std::span<const Tensor> dy) -> std::vector<Tensor> {
          Tensor da, db;
          if (want_a) da = detail::product_of(x, dy[0], b, false, !trans_b, M, K, N);
          if (want_b && trans_b) db = detail::product_of(x, dy[0], a, true, false, N, K, M);
          if (want_b && !trans_b) db = detail::product_of(x, a, dy[0], true, false, K, N, M);
          return {da, db};
        });
  return c;
}

}  // namespace tenon::ops
