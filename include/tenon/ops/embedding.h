// Rows picked from a table, and rows put into place.
#pragma once

#include <algorithm>
#include <cstring>

#include "tenon/ops/checks.h"

namespace tenon::ops {

namespace detail {

/// table[index] as a new tensor (n, C).
inline Tensor picked(Context& ctx, const Tensor& table, std::span<const int64_t> index, DType out) {
  const int64_t n = static_cast<int64_t>(index.size()), C = table.size(-1);
  check_here(ctx, "gather_rows", table);
  Tensor y = ctx.empty({n, C}, out);
  auto* to = static_cast<char*>(y.address());
  const Numbers numbers(ctx, index);
  ctx.over_rows(n, C, [&](int64_t begin, int64_t end) {
    ctx.kernels().gather_rows(to + static_cast<size_t>(begin * C) * size_of(out), out, table.address(), table.dtype(), numbers.data() + begin,
                              end - begin, C, false);
  });
  return y;
}

/// Row i of the result is row index[i] of x, or zeros where index[i] is -1. Shapes: x (n,C) f32|bf16 -> (indices, C) as x.
inline Tensor picked_or_zero(Context& ctx, const Tensor& x, std::span<const int64_t> index) {
  check_here(ctx, "gather_rows", x);
  const int64_t n = static_cast<int64_t>(index.size()), C = x.size(-1);
  Tensor y = ctx.empty({n, C}, x.dtype());
  const size_t row = static_cast<size_t>(C) * size_of(x.dtype());
  auto* to = static_cast<char*>(y.address());
  const std::vector<float> once(index.size(), 1.0f);
  const Numbers rows(ctx, index);
  const OnDevice<float> weights(ctx, once);
  ctx.over_rows(n, C, [&](int64_t begin, int64_t end) {
    ctx.kernels().combine_rows(to + static_cast<size_t>(begin) * row, x.address(), rows.data() + begin, weights.data(), end - begin, 1, C, false,
                               x.dtype());
  });
  return y;
}

/// Records that y = table[index], for a table of float32. Row `padding` of the table gets no gradient.
inline void record_picked(Context& ctx, std::string_view op, const Tensor& y, const Tensor& table, std::span<const int64_t> index,
                          int64_t padding = -1) {
  ctx.recorder()->record(op, {y}, {table},
                         [shape = table.shape(), index = std::vector<int64_t>(index.begin(), index.end()), padding](
                             Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                           check_here(c, "scatter_add_rows", dy[0]);
                           Tensor d = c.empty(shape, DType::F32);  // a vocabulary's table is large enough to be cleared by all threads
                           c.over_rows(shape.numel() / std::max<int64_t>(shape[-1], 1), shape[-1], [&](int64_t begin, int64_t end) {
                             const auto bytes = static_cast<size_t>((end - begin) * shape[-1]) * sizeof(float);
                             cuda::zero(d.ptr<float>() + begin * shape[-1], c.device(), bytes);
                           });
                           const Numbers numbers(c, index);
                           c.kernels().scatter_add_rows(d.ptr<float>(), dy[0].ptr<float>(), numbers.data(),
                                                        static_cast<int64_t>(index.size()), shape[-1]);
                           if (padding >= 0 && padding < shape[0])
                             cuda::zero(d.ptr<float>() + padding * shape[-1], c.device(), static_cast<size_t>(shape[-1]) * sizeof(float));
                           return {d};
                         });
}

}  // namespace detail

/// y[i] = table[ids[i]]. Row `padding`, if there is one, is never trained through this op.
/// Shapes: table (V,C) f32|bf16|f16, n ids -> y (n,C) of type `out` (f32|bf16).
/// Errors: Error(Limit) naming the first id outside [0, V), `what` says what it is ("token id"); Error(Shape), Error(Type).
/// Source: torch.nn.functional.embedding.
inline Tensor embedding(Context& ctx, const Tensor& table, std::span<const int64_t> ids, DType out, const char* what, int64_t padding = -1) {
  check(table.defined() && table.rank() == 2, ErrorCode::Shape, "embedding", "table: expected (V, C), got ", table.describe());
  check(table.dtype() == DType::F32 || table.dtype() == DType::BF16 || table.dtype() == DType::F16, ErrorCode::Type, "embedding",
        "table: expected float32, bfloat16 or float16, got ", table.describe());
  check(out == DType::F32 || out == DType::BF16, ErrorCode::Type, "embedding", "output: expected float32 or bfloat16, got ", name_of(out));
  detail::check_index(ids, table.size(0), "embedding", what);
  Tensor y = detail::picked(ctx, table, ids, out);
  if (recording(ctx, "embedding", table)) {
    detail::check_f32(y, "embedding", "output with gradients");
    detail::record_picked(ctx, "embedding", y, table, ids, padding);
  }
  return y;
}

/// y[i] = x[index[i]]; rows may repeat.
/// Shapes: x (...,C) f32|bf16 as (N,C), n indices -> y (n,C).
/// Errors: Error(Limit) for an index outside [0, N), Error(Type).
inline Tensor gather_rows(Context& ctx, const Tensor& x, std::span<const int64_t> index) {
  detail::check_f32_or_bf16(x, "gather_rows", "x");
  detail::check_index(index, detail::matrix_of(x, "gather_rows", "x").N, "gather_rows", "row");
  Tensor y = detail::picked(ctx, x, index, x.dtype());
  if (recording(ctx, "gather_rows", x)) detail::record_picked(ctx, "gather_rows", y, x, index);
  return y;
}

/// y[index[i]] = x[i]; rows that no index names are zero.
/// Shapes: x (...,C) f32|bf16 as (n,C), n different indices -> y (rows,C).
/// Errors: Error(Limit) for an index outside [0, rows) or named twice, Error(Shape), Error(Type).
inline Tensor scatter_rows(Context& ctx, const Tensor& x, std::span<const int64_t> index, int64_t rows) {
  detail::check_f32_or_bf16(x, "scatter_rows", "x");
  const auto [N, C] = detail::matrix_of(x, "scatter_rows", "x");
  check(static_cast<int64_t>(index.size()) == N, ErrorCode::Shape, "scatter_rows", "index: expected ", N, " rows, got ", index.size());
  check(rows >= 0, ErrorCode::Shape, "scatter_rows", "rows: expected 0 or more, got ", rows);
  detail::check_index(index, rows, "scatter_rows", "row");
  std::vector<int64_t> from(static_cast<size_t>(rows), -1);  // the row of x that comes there
  for (int64_t i = 0; i < N; ++i) {
    int64_t& to = from[static_cast<size_t>(index[static_cast<size_t>(i)])];
    check(to < 0, ErrorCode::Limit, "scatter_rows", "row: expected each once, got ", index[static_cast<size_t>(i)], " twice");
    to = i;
  }
  Tensor y = detail::picked_or_zero(ctx, x, from);
  if (recording(ctx, "scatter_rows", x))
    ctx.recorder()->record("scatter_rows", {y}, {x},
                           [shape = x.shape(), index = std::vector<int64_t>(index.begin(), index.end())](
                               Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             return {detail::picked(c, dy[0], index, DType::F32).view(shape)};
                           });
  return y;
}

}  // namespace tenon::ops
