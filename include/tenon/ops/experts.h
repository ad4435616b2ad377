// Rows that meet different weights, and rows put together from what several experts made of them.
#pragma once

#include <vector>

#include "tenon/ops/embedding.h"
#include "tenon/ops/linear.h"
#include "tenon/ops/router.h"

namespace tenon::ops {

/// y[n] = s[n] * x[n].
/// Shapes: x (N,C) f32|bf16, s (N,1) f32 -> (N,C).
/// Errors: Error(Shape), Error(Type), also for a gradient of bf16.
inline Tensor scale_rows(Context& ctx, const Tensor& x, const Tensor& s) {
  detail::check_f32_or_bf16(x, "scale_rows", "x");
  detail::check_f32(s, "scale_rows", "s");
  check(x.rank() == 2 && s.shape() == Shape{x.size(0), 1}, ErrorCode::Shape, "scale_rows", "expected (N, C) and (N, 1), got ", x.shape(),
        " and ", s.shape());
  const int64_t N = x.size(0), C = x.size(1);
  const auto run = [N, C](Context& c, const Tensor& from, const Tensor& factor) {
    detail::check_here(c, "scale_rows", from, factor);
    std::vector<int64_t> index(static_cast<size_t>(N));
    std::iota(index.begin(), index.end(), int64_t{0});
    const detail::Numbers numbers(c, index);
    Tensor y = c.empty(from.shape(), from.dtype());
    auto* to = static_cast<char*>(y.address());
    const size_t row = static_cast<size_t>(C) * size_of(from.dtype());
    c.over_rows(N, C, [&](int64_t begin, int64_t end) {
      c.kernels().combine_rows(to + begin * row, from.address(), numbers.data() + begin, factor.ptr<float>() + begin, end - begin, 1, C, false,
                               from.dtype());
    });
    return y;
  };
  Tensor y = run(ctx, x, s);
  if (recording(ctx, "scale_rows", x, s))
    ctx.recorder()->record("scale_rows", {y}, {x, s}, [x, s, run, N, C](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      Tensor ds = c.empty({N, 1}, DType::F32);
      c.kernels().dot_rows(ds.ptr<float>(), dy[0].ptr<float>(), nullptr, x.ptr<float>(), nullptr, N, C);
      return {run(c, dy[0], s), ds};
    });
  return y;
}

/// The rows of a routing by expert: row i is token[i], and place p of a token lies at row[p] (-1: none).
///
///   expert  2 0   token 0        start  0 1 2 4      (experts 0, 1, 2)
///           1 2   token 1        token  0 1 0 1
struct ExpertRows {
  std::vector<int64_t> start, token, row;

  explicit ExpertRows(const Routing& r) : start(static_cast<size_t>(r.E) + 1), row(r.expert.size(), -1) {
    const std::span<const int64_t> expert = r.expert.host();
    for (const int64_t e : expert)
      if (e >= 0) ++start[static_cast<size_t>(e) + 1];
    for (int64_t e = 0; e < r.E; ++e) start[static_cast<size_t>(e) + 1] += start[static_cast<size_t>(e)];
    token.resize(static_cast<size_t>(start.back()));
    std::vector<int64_t> next(start.begin(), start.end() - 1);
    for (size_t p = 0; p < expert.size(); ++p)
      if (const int64_t e = expert[p]; e >= 0) {
        row[p] = next[static_cast<size_t>(e)]++;
        token[static_cast<size_t>(row[p])] = static_cast<int64_t>(p) / r.K;
      }
  }
};

/// y = act(x w_g^T) where row i belongs to group g with start[g] <= i < start[g+1]: one call for all groups, weights streamed one after
/// another. Inference only.
/// Shapes: x (M,K) f32|bf16, packed weights (N,K) of one shape and format, start (groups+1) from 0 to M -> (M,N) as x.
/// Errors: Error(Shape), Error(Type), also if a gradient is wanted.
inline Tensor grouped_linear(Context& ctx, const Tensor& x, std::span<const quant::PackedWeight> weights, std::span<const int64_t> start,
                             Activation act = Activation::None) {
  check(!weights.empty() && start.size() == weights.size() + 1 && start.front() == 0 && start.back() == x.size(0) &&
            std::is_sorted(start.begin(), start.end()),
        ErrorCode::Shape, "grouped_linear", "start: expected ", weights.size() + 1, " rising row numbers from 0 to ", x.size(0));
  const quant::PackedWeight& first = weights.front();
  detail::check_linear(x, first.N, first.K, {}, {});
  no_gradient(ctx, "grouped_linear", x);
  std::vector<LinearBlock> blocks;
  for (size_t g = 0; g < weights.size(); ++g) {
    const quant::PackedWeight& w = weights[g];
    detail::check_here(ctx, "grouped_linear", x, w.data, w.scale);
    check(w.defined() && w.N == first.N && w.K == first.K && w.format == first.format && w.group == first.group && w.int8_rows == first.int8_rows &&
              w.fp8_rows == first.fp8_rows,
          ErrorCode::Shape, "grouped_linear", "weight ", g,
          ": expected the shape and format of the first");
    if (start[g] < start[g + 1])
      blocks.push_back({start[g], start[g + 1], w.data.address(), w.scale.defined() ? w.scale.ptr<float>() : nullptr});
  }
  Tensor y = ctx.empty({x.size(0), first.N}, x.dtype());
  if (y.numel() == 0) return y;
  Tensor rows = x;
  for (size_t g = 0; g < weights.size(); ++g) {
    if (weights[g].order.empty() || start[g] == start[g + 1]) continue;
    if (rows.id() == x.id()) rows = x.clone();
    const Tensor mine = detail::reordered(ctx, x.rows(start[g], start[g + 1]), weights[g].order);
    std::memcpy(rows.rows(start[g], start[g + 1]).raw(), mine.raw(), mine.nbytes());
  }
  LinearCall call{.y = y.address(),
                  .x = std::as_const(rows).address(),
                  .type = x.dtype(),
                  .format = first.format,
                  .act = act,
                  .M = x.size(0),
                  .N = first.N,
                  .K = first.K,
                  .group = first.group,
                  .int8_rows = first.int8_rows,
                  .fp8_rows = first.fp8_rows,
                  .threads = ctx.threads(),
                  .blocks = blocks.data(),
                  .num_blocks = static_cast<int64_t>(blocks.size())};
  const Tensor scratch = ctx.empty({static_cast<int64_t>(ctx.kernels().linear_scratch(call))}, DType::U8);
  call.scratch = const_cast<void*>(scratch.address());
  ctx.kernels().linear(call);
  return y;
}

namespace detail {

inline Tensor combined(Context& ctx, const Tensor& z, const ExpertRows& rows, const Routing& r, const Tensor& residual) {
  check_f32_or_bf16(z, "combine_experts", "z");
  check(z.rank() == 2 && z.size(0) == static_cast<int64_t>(rows.token.size()), ErrorCode::Shape, "combine_experts", "z: expected ",
        rows.token.size(), " rows, got ", z.shape());
  const int64_t C = z.size(1);
  Tensor y = residual.defined() ? residual.clone() : ctx.empty({r.N, C}, z.dtype());
  check(y.shape() == Shape{r.N, C} && y.dtype() == z.dtype(), ErrorCode::Shape, "combine_experts", "residual: expected ", Shape{r.N, C}, " ",
        name_of(z.dtype()), ", got ", residual.describe());
  check_here(ctx, "combine_experts", z, residual, r.weight);
  auto* to = static_cast<char*>(y.address());
  const size_t row = static_cast<size_t>(C) * size_of(z.dtype());
  const float* w = r.weight.ptr<float>();
  const Numbers places(ctx, rows.row);
  ctx.over_rows(r.N, r.K * C, [&](int64_t begin, int64_t end) {
    ctx.kernels().combine_rows(to + begin * row, z.address(), places.data() + begin * r.K, w + begin * r.K, end - begin, r.K, C,
                               residual.defined(), z.dtype());
  });
  return y;
}

}  // namespace detail

/// y[n] = sum over its places of weight * z[row] + residual[n]. Inference only.
/// Shapes: z (M,C) f32|bf16, residual (N,C) as z or {} -> (N,C).
/// Errors: Error(Shape), Error(Type), also if a gradient is wanted.
inline Tensor combine_experts(Context& ctx, const Tensor& z, const ExpertRows& rows, const Routing& r, const Tensor& residual) {
  no_gradient(ctx, "combine_experts", z, residual);
  return detail::combined(ctx, z, rows, r, residual);
}

/// The same with gradients, from one tensor for each expert (undefined for one without tokens).
/// Shapes: z[e] (loads[e], C) f32 -> (N,C) f32.
/// Errors: Error(Shape), Error(Type).
inline Tensor combine_experts(Context& ctx, const std::vector<Tensor>& z, const ExpertRows& rows, const Routing& r, int64_t C) {
  Tensor all = ctx.empty({static_cast<int64_t>(rows.token.size()), C}, DType::F32);  // the experts' rows one after another
  std::vector<Tensor> inputs;
  bool record = ctx.wants(r.weight);
  for (size_t e = 0; e < z.size(); ++e) {
    if (rows.start[e] == rows.start[e + 1]) continue;
    const Tensor& part = z[e];
    detail::check_f32(part, "combine_experts", "z");
    check(part.shape() == Shape{rows.start[e + 1] - rows.start[e], C}, ErrorCode::Shape, "combine_experts", "z: expected ",
          Shape{rows.start[e + 1] - rows.start[e], C}, ", got ", part.shape());
    detail::check_here(ctx, "combine_experts", part, r.weight);
    cuda::copy(all.rows(rows.start[e], rows.start[e + 1]).address(), ctx.device(), part.address(), ctx.device(), part.nbytes());
    inputs.push_back(part);
    record |= ctx.wants(part);
  }
  Tensor y = detail::combined(ctx, all, rows, r, {});
  if (!record) return y;
  inputs.push_back(r.weight);
  ctx.recorder()->record("combine_experts", {y}, std::move(inputs), [all, rows, r, C](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
    detail::check_here(c, "combine_experts", dy[0]);
    std::vector<int64_t> place(rows.token.size()), token(rows.row.size());  // the place of each row, the token of each place
    for (size_t p = 0; p < rows.row.size(); ++p) {
      token[p] = static_cast<int64_t>(p) / r.K;
      if (rows.row[p] >= 0) place[static_cast<size_t>(rows.row[p])] = static_cast<int64_t>(p);
    }
    const Tensor weight = detail::picked_or_zero(c, r.weight.view({r.N * r.K, 1}), place);
    Tensor dz = c.empty(all.shape(), DType::F32), dw = c.empty(r.weight.shape(), DType::F32);
    const detail::Numbers of_row(c, rows.token), row(c, rows.row), of_place(c, token);
    float *to = dz.ptr<float>(), *to_weight = dw.ptr<float>();
    const float *d = dy[0].ptr<float>(), *w = weight.ptr<float>(), *from = all.ptr<float>();
    c.over_rows(dz.size(0), C, [&](int64_t begin, int64_t end) {
      c.kernels().combine_rows(to + begin * C, d, of_row.data() + begin, w + begin, end - begin, 1, C, false, DType::F32);
    });
    c.over_rows(dw.numel(), C, [&](int64_t begin, int64_t end) {
      c.kernels().dot_rows(to_weight + begin, from, row.data() + begin, d, of_place.data() + begin, end - begin, C);
    });
    std::vector<Tensor> grads;
    for (size_t e = 0; e + 1 < rows.start.size(); ++e)
      if (rows.start[e] < rows.start[e + 1]) grads.push_back(dz.rows(rows.start[e], rows.start[e + 1]));
    grads.push_back(dw);
    return grads;
  });
  return y;
}

}  // namespace tenon::ops
