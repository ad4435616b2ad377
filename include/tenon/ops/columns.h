// Parts of rows, and rows put together from parts.
#pragma once

#include <cstring>

#include "tenon/ops/checks.h"

namespace tenon::ops {

namespace detail {

/// Copies `width` columns of `groups` parts of a row: from part stride and column, to part stride and column. Bytes.
inline void move_columns(Context& ctx, char* to, size_t to_row, size_t to_part, const char* from, size_t from_row, size_t from_part,
                         size_t width, int64_t rows, int64_t parts) {
  ctx.over_rows(rows, static_cast<int64_t>(width) * parts / 4, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      for (int64_t p = 0; p < parts; ++p)
        std::memcpy(to + n * to_row + p * to_part, from + n * from_row + p * from_part, width);
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
  const size_t item = size_of(x.dtype());
  Tensor y = ctx.empty({N, parts * width}, x.dtype());
  detail::move_columns(ctx, static_cast<char*>(y.raw()), parts * width * item, width * item,
                       static_cast<const char*>(x.raw()) + begin * item, x.size(1) * item, D * item, width * item, N, parts);
  if (recording(ctx, "columns", x)) {
    detail::check_f32(x, "columns", "x with gradients");
    ctx.recorder()->record("columns", {y}, {x}, [=, shape = x.shape()](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      Tensor dx = c.zeros(shape, DType::F32);
      detail::move_columns(c, static_cast<char*>(dx.raw()) + begin * 4, shape[1] * 4, D * 4, static_cast<const char*>(dy[0].raw()),
                           parts * width * 4, width * 4, width * 4, N, parts);
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
  const size_t item = size_of(a.dtype());
  Tensor y = ctx.empty({N, parts * both}, a.dtype());
  auto* to = static_cast<char*>(y.raw());
  detail::move_columns(ctx, to, parts * both * item, both * item, static_cast<const char*>(a.raw()), a.size(1) * item, A * item, A * item, N,
                       parts);
  detail::move_columns(ctx, to + A * item, parts * both * item, both * item, static_cast<const char*>(b.raw()), b.size(1) * item,
                       b_is_shared ? 0 : B * item, B * item, N, parts);
  if (recording(ctx, "join_columns", a, b)) {
    detail::check_f32(a, "join_columns", "a with gradients");
    ctx.recorder()->record("join_columns", {y}, {a, b},
                           [=, shape_a = a.shape(), shape_b = b.shape()](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             Tensor da = c.empty(shape_a, DType::F32), db = c.empty({N, parts * B}, DType::F32);
                             const auto* from = static_cast<const char*>(dy[0].raw());
                             detail::move_columns(c, static_cast<char*>(da.raw()), parts * A * 4, A * 4, from, parts * both * 4, both * 4,
                                                  A * 4, N, parts);
                             detail::move_columns(c, static_cast<char*>(db.raw()), parts * B * 4, B * 4, from + A * 4, parts * both * 4,
                                                  both * 4, B * 4, N, parts);
                             if (!b_is_shared) return {da, db};
                             Tensor sum = c.zeros(shape_b, DType::F32);
                             c.over_rows(N, parts * B, [&](int64_t begin, int64_t end) {
                               for (int64_t n = begin; n < end; ++n)
                                 c.kernels().sum_rows(sum.data<float>() + n * B, std::as_const(db).data<float>() + n * parts * B, parts, B);
                             });
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
  const size_t bytes = static_cast<size_t>(W) * size_of(x.dtype());
  Tensor y = ctx.empty({B * A, W}, x.dtype());
  auto* to = static_cast<char*>(y.raw());
  const auto* from = static_cast<const char*>(x.raw());
  ctx.over_rows(B, A * W, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b)
      for (int64_t a = 0; a < A; ++a)
        std::memcpy(to + static_cast<size_t>(b * A + a) * bytes, from + static_cast<size_t>(a * B + b) * bytes, bytes);
  });
  return y;
}

}  // namespace tenon::ops
