// Parts of rows, and rows put together from parts.
#pragma once

#include "tenon/ops/checks.h"

namespace tenon::ops {

namespace detail {

/// Where the parts of a tensor's rows lie, from an element on, strides in elements.
struct Parts {
  int64_t first, row, part;
};

/// Moves `width` elements of each of `parts` parts of N rows. y and x are of one type.
inline void move_parts(Context& ctx, Tensor& y, const Parts& to, const Tensor& x, const Parts& from, int64_t N, int64_t parts, int64_t width,
                       bool add = false) {
  const auto item = static_cast<int64_t>(size_of(y.dtype()));
  auto* y0 = static_cast<char*>(y.address()) + to.first * item;
  const auto* x0 = static_cast<const char*>(x.address()) + from.first * item;
  ctx.over_rows(N, width * parts, [&](int64_t begin, int64_t end) {
    ctx.kernels().move_parts({.y = y0 + begin * to.row * item,
                              .x = x0 + begin * from.row * item,
                              .y_row = to.row,
                              .y_part = to.part,
                              .x_row = from.row,
                              .x_part = from.part,
                              .N = end - begin,
                              .parts = parts,
                              .width = width,
                              .type = y.dtype(),
                              .add = add});
  });
}

}  // namespace detail

/// Columns [begin, begin + width) of each of `parts` equal parts of a row, one part after another.
/// Shapes: x (N, parts*D) f32|bf16 -> (N, parts*width).
/// Errors: Error(Shape) if the columns do not lie within D, Error(Type).
inline Tensor columns(Context& ctx, const Tensor& x, int64_t begin, int64_t width, int64_t parts = 1) {
  detail::check_f32_or_bf16(x, "columns", "x");
  check(x.rank() == 2 && parts > 0 && x.size(1) % parts == 0, ErrorCode::Shape, "columns", "x: expected (N, ", parts, " * D), got ", x.shape());
  const int64_t N = x.size(0), D = x.size(1) / parts;
  check(begin >= 0 && width > 0 && begin + width <= D, ErrorCode::Shape, "columns", "expected ", width, " columns from ", begin, " on within ",
        D);
  detail::check_here(ctx, "columns", x);
  Tensor y = ctx.empty({N, parts * width}, x.dtype());
  detail::move_parts(ctx, y, {0, parts * width, width}, x, {begin, x.size(1), D}, N, parts, width);
  if (recording(ctx, "columns", x)) {
    detail::check_f32(x, "columns", "x with gradients");
    ctx.recorder()->record("columns", {y}, {x}, [=, shape = x.shape()](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      detail::check_here(c, "columns", dy[0]);
      Tensor dx = c.zeros(shape, DType::F32);
      detail::move_parts(c, dx, {begin, shape[1], D}, dy[0], {0, parts * width, width}, N, parts, width);
      return {dx};
    });
  }
  return y;
}

/// Each of `parts` parts of a row of a, followed by a part of b's row: its own, or the only one that b has.
/// Shapes: a (N, parts*A), b (N, parts*B) or (N, B) of one dtype f32|bf16 -> (N, parts*(A+B)).
/// Errors: Error(Shape), Error(Type).
inline Tensor join_columns(Context& ctx, const Tensor& a, const Tensor& b, int64_t parts, bool b_is_shared) {
  detail::check_f32_or_bf16(a, "join_columns", "a");
  check(b.defined() && a.rank() == 2 && b.rank() == 2 && a.dtype() == b.dtype() && a.size(0) == b.size(0) && parts > 0 &&
            a.size(1) % parts == 0 && (b_is_shared || b.size(1) % parts == 0),
        ErrorCode::Shape, "join_columns", "a, b: expected matrices of one dtype and as many rows, of ", parts, " parts, got ", a.describe(),
        " and ", b.describe());
  const int64_t N = a.size(0), A = a.size(1) / parts, B = b_is_shared ? b.size(1) : b.size(1) / parts, both = A + B;
  detail::check_here(ctx, "join_columns", a, b);
  Tensor y = ctx.empty({N, parts * both}, a.dtype());
  detail::move_parts(ctx, y, {0, parts * both, both}, a, {0, a.size(1), A}, N, parts, A);
  detail::move_parts(ctx, y, {A, parts * both, both}, b, {0, b.size(1), b_is_shared ? 0 : B}, N, parts, B);
  if (recording(ctx, "join_columns", a, b)) {
    detail::check_f32(a, "join_columns", "a with gradients");
    ctx.recorder()->record("join_columns", {y}, {a, b},
                           [=, shape_a = a.shape(), shape_b = b.shape()](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             detail::check_here(c, "join_columns", dy[0]);
                             Tensor da = c.empty(shape_a, DType::F32), db = c.empty({N, parts * B}, DType::F32);
                             detail::move_parts(c, da, {0, parts * A, A}, dy[0], {0, parts * both, both}, N, parts, A);
                             detail::move_parts(c, db, {0, parts * B, B}, dy[0], {A, parts * both, both}, N, parts, B);
                             if (!b_is_shared) return {da, db};
                             Tensor sum = c.zeros(shape_b, DType::F32);  // of the parts of each row
                             for (int64_t p = 0; p < parts; ++p)
                               detail::move_parts(c, sum, {0, B, 0}, db, {p * B, parts * B, 0}, N, 1, B, true);
                             return {da, sum};
                           });
  }
  return y;
}

/// Rows of B parts for A things become rows for B things of A parts, as a matrix of one part a row.
/// Shapes: x of A*B parts of W elements, f32|bf16 -> (B*A, W).
/// Errors: Error(Shape), Error(Type), also if a gradient is wanted.
inline Tensor swap_parts(Context& ctx, const Tensor& x, int64_t A, int64_t B) {
  detail::check_f32_or_bf16(x, "swap_parts", "x");
  no_gradient(ctx, "swap_parts", x);
  check(A > 0 && B > 0 && x.numel() % (A * B) == 0, ErrorCode::Shape, "swap_parts", "x: expected ", A, " * ", B, " parts, got ", x.shape());
  const int64_t W = x.numel() / (A * B);
  detail::check_here(ctx, "swap_parts", x);
  Tensor y = ctx.empty({B * A, W}, x.dtype());
  detail::move_parts(ctx, y, {0, A * W, W}, x, {0, W, B * W}, B, A, W);
  return y;
}

}  // namespace tenon::ops
