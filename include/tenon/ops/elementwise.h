// Sums, products and changes of type or shape.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tenon/ops/checks.h"

namespace tenon::ops {

namespace detail {

/// y = a * x as a new tensor.
inline Tensor scaled(Context& ctx, const Tensor& x, float a) {
  check_here(ctx, "scale", x);
  Tensor y = ctx.empty(x.shape(), DType::F32);
  float* to = y.ptr<float>();
  const float* from = x.ptr<float>();
  ctx.over_rows(x.numel(), 1, [&](int64_t begin, int64_t end) { ctx.kernels().axpby(to + begin, from + begin, end - begin, a, 0); });
  return y;
}

inline Tensor product(Context& ctx, const Tensor& a, const Tensor& b) {
  check_here(ctx, "mul", a, b);
  Tensor y = ctx.empty(a.shape(), DType::F32);
  float* to = y.ptr<float>();
  const float *a0 = a.ptr<float>(), *b0 = b.ptr<float>();
  ctx.over_rows(a.numel(), 1, [&](int64_t begin, int64_t end) { ctx.kernels().mul(to + begin, a0 + begin, b0 + begin, end - begin); });
  return y;
}

/// x (M,N) -> (N,M).
inline Tensor transposed(Context& ctx, const Tensor& x) {
  check_here(ctx, "transpose", x);
  const int64_t M = x.size(0), N = x.size(1);
  Tensor y = ctx.empty({N, M}, DType::F32);
  float* to = y.ptr<float>();
  const float* from = x.ptr<float>();
  ctx.over_rows(M, N, [&](int64_t begin, int64_t end) { ctx.kernels().transpose(to + begin, from + begin * N, end - begin, N, M); });
  return y;
}

inline bool is_suffix(const Shape& part, const Shape& whole) {
  return part.rank() <= whole.rank() && std::equal(part.begin(), part.end(), whole.end() - part.rank());
}

}  // namespace detail

/// y = a + b. A b with only the trailing dimensions of a is added to each of a's parts of that shape.
/// Shapes: a (..., b's) f32|bf16, b of a's dtype -> y as a.
/// Errors: Error(Shape), Error(Type).
inline Tensor add(Context& ctx, const Tensor& a, const Tensor& b) {
  detail::check_f32_or_bf16(a, "add", "a");
  check(b.defined() && detail::is_suffix(b.shape(), a.shape()), ErrorCode::Shape, "add", "b: expected ", a.shape(),
        " or its last dimensions, got ", b.describe());
  check(b.dtype() == a.dtype(), ErrorCode::Type, "add", "b: expected ", name_of(a.dtype()), ", got ", name_of(b.dtype()));
  detail::check_here(ctx, "add", a, b);
  Tensor y = ctx.empty(a.shape(), a.dtype());
  const auto *a0 = static_cast<const char*>(a.address()), *b0 = static_cast<const char*>(b.address());
  auto* y0 = static_cast<char*>(y.address());
  const int64_t C = b.numel(), N = C ? a.numel() / C : 0;
  const auto size = static_cast<int64_t>(size_of(a.dtype()));
  if (N == 1) {
    ctx.over_rows(C, 1, [&](int64_t begin, int64_t end) {
      ctx.kernels().add(y0 + begin * size, a0 + begin * size, b0 + begin * size, end - begin, a.dtype());
    });
  } else if (!ctx.device().is_cpu()) {  // row 0 of b to every row of a
    cuda::copy(y0, ctx.device(), a0, ctx.device(), a.nbytes());
    if (N > 0) ctx.kernels().gather_rows(y0, y.dtype(), b0, b.dtype(), ctx.zeros({N}, DType::I64).ptr<int64_t>(), N, C, true);
  } else {
    ctx.over_rows(N, C, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) ctx.kernels().add(y0 + n * C * size, a0 + n * C * size, b0, C, a.dtype());
    });
  }
  if (recording(ctx, "add", a, b)) {
    const bool sum = N != 1 && ctx.wants(b);
    ctx.recorder()->record("add", {y}, {a, b},
                           [N, C, sum, shape = b.shape()](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             return {dy[0], sum ? detail::column_sums(c, dy[0], N, C).view(shape) : dy[0]};
                           });
  }
  return y;
}

/// y = a * b, element by element.
/// Shapes: a, b (...) f32 -> y (...).
/// Errors: Error(Shape), Error(Type).
inline Tensor mul(Context& ctx, const Tensor& a, const Tensor& b) {
  detail::check_f32(a, "mul", "a");
  detail::check_same(a, b, "mul", "b");
  Tensor y = detail::product(ctx, a, b);
  if (recording(ctx, "mul", a, b))
    ctx.recorder()->record(
        "mul", {y}, {a, b},
        [a, b, want_a = ctx.wants(a), want_b = ctx.wants(b)](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
          return {want_a ? detail::product(c, dy[0], b) : Tensor(), want_b ? detail::product(c, dy[0], a) : Tensor()};
        });
  return y;
}

/// y = factor * x.
/// Shapes: x (...) f32 -> y (...).
/// Errors: Error(Type).
inline Tensor scale(Context& ctx, const Tensor& x, float factor) {
  detail::check_f32(x, "scale", "x");
  Tensor y = detail::scaled(ctx, x, factor);
  if (recording(ctx, "scale", x))
    ctx.recorder()->record("scale", {y}, {x}, [factor](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      return {detail::scaled(c, dy[0], factor)};
    });
  return y;
}

/// y = x where low <= x <= high, else the bound; its gradient is that of x inside and 0 outside.
/// Shapes: x (...) f32|bf16 -> (...).
/// Errors: Error(Type).
inline Tensor clamp(Context& ctx, const Tensor& x, float low, float high) {
  detail::check_f32_or_bf16(x, "clamp", "x");
  detail::check_here(ctx, "clamp", x);
  Tensor y = ctx.empty(x.shape(), x.dtype());
  const auto* from = static_cast<const char*>(x.address());
  auto* to = static_cast<char*>(y.address());
  const auto item = static_cast<int64_t>(size_of(x.dtype()));
  ctx.over_rows(x.numel(), 1, [&](int64_t begin, int64_t end) {
    ctx.kernels().clamp(to + begin * item, from + begin * item, end - begin, low, high, x.dtype());
  });
  if (recording(ctx, "clamp", x))
    ctx.recorder()->record("clamp", {y}, {x}, [x, low, high](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      detail::check_here(c, "clamp", dy[0]);
      Tensor dx = c.empty(x.shape(), DType::F32);
      const float *d = dy[0].ptr<float>(), *x0 = x.ptr<float>();
      float* out = dx.ptr<float>();
      c.over_rows(x.numel(), 1, [&](int64_t begin, int64_t end) {
        c.kernels().clamp_backward(out + begin, d + begin, x0 + begin, end - begin, low, high);
      });
      return {dx};
    });
  return y;
}

/// y = exp(log_scale) * x: the learnt temperature of CLIP.
/// Shapes: x (...) f32, log_scale f32 with one element -> y (...).
/// Errors: Error(Shape), Error(Type).
inline Tensor scale_by_exp(Context& ctx, const Tensor& x, const Tensor& log_scale) {
  detail::check_f32(x, "scale_by_exp", "x");
  detail::check_f32(log_scale, "scale_by_exp", "log_scale");
  check(log_scale.numel() == 1, ErrorCode::Shape, "scale_by_exp", "log_scale: expected one element, got ", log_scale.shape());
  const float factor = std::exp(static_cast<float>(log_scale.item()));
  Tensor y = detail::scaled(ctx, x, factor);
  if (recording(ctx, "scale_by_exp", x, log_scale))
    ctx.recorder()->record("scale_by_exp", {y}, {x, log_scale},
                           [y, factor, shape = log_scale.shape()](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             detail::check_here(c, "scale_by_exp", y, dy[0]);
                             Tensor sum = c.empty(shape, DType::F32);
                             c.kernels().dot_rows(sum.ptr<float>(), dy[0].ptr<float>(), nullptr, y.ptr<float>(), nullptr, 1, y.numel());
                             return {detail::scaled(c, dy[0], factor), sum};
                           });
  return y;
}

/// The elements in another float type, rounded to nearest even; x itself if that is its type.
/// Shapes: x (...) f32|bf16|f16 -> (...).
/// Errors: Error(Type) for other types, and for a change of type of a tensor that wants a gradient.
inline Tensor cast(Context& ctx, const Tensor& x, DType dtype) {
  const auto known = [](DType t) { return t == DType::F32 || t == DType::BF16 || t == DType::F16; };
  check(x.defined() && known(x.dtype()) && known(dtype), ErrorCode::Type, "cast", "expected float32, bfloat16 or float16, got ",
        x.describe(), " to ", name_of(dtype));
  if (x.dtype() == dtype) return x;
  no_gradient(ctx, "cast", x);
  detail::check_here(ctx, "cast", x);
  Tensor y = ctx.empty(x.shape(), dtype);
  const auto* from = static_cast<const char*>(x.address());
  auto* to = static_cast<char*>(y.address());
  const size_t from_size = size_of(x.dtype()), to_size = size_of(dtype);
  ctx.over_rows(x.numel(), 1, [&](int64_t begin, int64_t end) {
    ctx.kernels().cast(to + begin * to_size, dtype, from + begin * from_size, x.dtype(), end - begin);
  });
  return y;
}

/// y = x^T.
/// Shapes: x (M,N) f32 -> y (N,M).
/// Errors: Error(Shape), Error(Type).
inline Tensor transpose(Context& ctx, const Tensor& x) {
  detail::check_f32(x, "transpose", "x");
  check(x.rank() == 2, ErrorCode::Shape, "transpose", "x: expected two dimensions, got ", x.shape());
  Tensor y = detail::transposed(ctx, x);
  if (recording(ctx, "transpose", x))
    ctx.recorder()->record("transpose", {y}, {x},
                           [](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> { return {detail::transposed(c, dy[0])}; });
  return y;
}

/// The same elements under another shape, sharing memory.
/// Errors: Error(Shape) if the number of elements differs.
inline Tensor reshape(Context& ctx, const Tensor& x, const Shape& shape) {
  Tensor y = x.view(shape);
  if (recording(ctx, "reshape", x))
    ctx.recorder()->record("reshape", {y}, {x},
                           [old = x.shape()](Context&, std::span<const Tensor> dy) -> std::vector<Tensor> { return {dy[0].view(old)}; });
  return y;
}

}  // namespace tenon::ops
