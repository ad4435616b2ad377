// Rows that meet different weights, and rows put together from what several experts made of them.
#pragma once

#include <vector>

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
    std::vector<int64_t> index(static_cast<size_t>(N));
    std::iota(index.begin(), index.end(), int64_t{0});
    Tensor y = c.empty(from.shape(), from.dtype());
    auto* to = static_cast<char*>(y.raw());
    const size_t row = static_cast<size_t>(C) * size_of(from.dtype());
    c.over_rows(N, C, [&](int64_t begin, int64_t end) {
      c.kernels().combine_rows(to + begin * row, from.raw(), index.data() + begin, factor.data<float>() + begin, end - begin, 1, C, false,
                               from.dtype());
    });
    return y;
  };
  Tensor y = run(ctx, x, s);
  if (recording(ctx, "scale_rows", x, s))
    ctx.recorder()->record("scale_rows", {y}, {x, s}, [x, s, run, N, C](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      Tensor ds = c.empty({N, 1}, DType::F32);
      const float *d = dy[0].data<float>(), *from = x.data<float>();
      for (int64_t n = 0; n < N; ++n) {
        double dot = 0;
        for (int64_t i = 0; i < C; ++i) dot += static_cast<double>(d[n * C + i]) * from[n * C + i];
        ds.data<float>()[n] = static_cast<float>(dot);
      }
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
    for (const int64_t e : r.expert)
      if (e >= 0) ++start[static_cast<size_t>(e) + 1];
    for (int64_t e = 0; e < r.E; ++e) start[static_cast<size_t>(e) + 1] += start[static_cast<size_t>(e)];
    token.resize(static_cast<size_t>(start.back()));
    std::vector<int64_t> next(start.begin(), start.end() - 1);
    for (size_t p = 0; p < r.expert.size(); ++p)
      if (const int64_t e = r.expert[p]; e >= 0) {
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
    check(w.defined() && w.N == first.N && w.K == first.K && w.format == first.format && w.group == first.group && w.int8_rows == first.int8_rows,
          ErrorCode::Shape, "grouped_linear", "weight ", g,
          ": expected the shape and format of the first");
    if (start[g] < start[g + 1])
      blocks.push_back({start[g], start[g + 1], w.data.raw(), w.scale.defined() ? w.scale.data<float>() : nullptr});
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
  LinearCall call{.y = y.raw(),
                  .x = rows.raw(),
                  .type = x.dtype(),
                  .format = first.format,
                  .act = act,
                  .M = x.size(0),
                  .N = first.N,
                  .K = first.K,
                  .group = first.group,
                  .int8_rows = first.int8_rows,
                  .threads = ctx.threads(),
                  .blocks = blocks.data(),
                  .num_blocks = static_cast<int64_t>(blocks.size())};
  const Tensor scratch = ctx.empty({static_cast<int64_t>(ctx.kernels().linear_scratch(call))}, DType::U8);
  call.scratch = const_cast<void*>(scratch.raw());
  ctx.kernels().linear(call);
  return y;
}

/// y[n] = sum over its places of weight * z[row] + residual[n]. Inference only.
/// Shapes: z (M,C) f32|bf16, residual (N,C) as z or {} -> (N,C).
/// Errors: Error(Shape), Error(Type), also if a gradient is wanted.
inline Tensor combine_experts(Context& ctx, const Tensor& z, const ExpertRows& rows, const Routing& r, const Tensor& residual) {
  no_gradient(ctx, "combine_experts", z, residual);
  detail::check_f32_or_bf16(z, "combine_experts", "z");
  check(z.rank() == 2 && z.size(0) == static_cast<int64_t>(rows.token.size()), ErrorCode::Shape, "combine_experts", "z: expected ",
        rows.token.size(), " rows, got ", z.shape());
  const int64_t C = z.size(1);
  Tensor y = residual.defined() ? residual.clone() : ctx.empty({r.N, C}, z.dtype());
  check(y.shape() == Shape{r.N, C} && y.dtype() == z.dtype(), ErrorCode::Shape, "combine_experts", "residual: expected ", Shape{r.N, C}, " ",
        name_of(z.dtype()), ", got ", residual.describe());
  auto* to = static_cast<char*>(y.raw());
  const size_t row = static_cast<size_t>(C) * size_of(z.dtype());
  const float* w = r.weight.data<float>();
  ctx.over_rows(r.N, r.K * C, [&](int64_t begin, int64_t end) {
    ctx.kernels().combine_rows(to + begin * row, z.raw(), rows.row.data() + begin * r.K, w + begin * r.K, end - begin, r.K, C,
                               residual.defined(), z.dtype());
  });
  return y;
}

/// The same with gradients, from one tensor for each expert (undefined for one without tokens).
/// Shapes: z[e] (loads[e], C) f32 -> (N,C) f32.
/// Errors: Error(Shape), Error(Type).
inline Tensor combine_experts(Context& ctx, const std::vector<Tensor>& z, const ExpertRows& rows, const Routing& r, int64_t C) {
  Tensor y = ctx.zeros({r.N, C}, DType::F32);
  const auto place = [](const Routing& routing, size_t p) {
    return std::pair{static_cast<int64_t>(p) / routing.K, routing.expert[p]};
  };
  float* to = y.data<float>();
  for (size_t p = 0; p < r.expert.size(); ++p) {
    const auto [n, e] = place(r, p);
    if (e < 0) continue;
    const Tensor& part = z[static_cast<size_t>(e)];
    detail::check_f32(part, "combine_experts", "z");
    check(part.rank() == 2 && part.size(1) == C, ErrorCode::Shape, "combine_experts", "z: expected (tokens, ", C, "), got ", part.shape());
    ctx.kernels().axpby(to + n * C, part.data<float>() + (rows.row[p] - rows.start[static_cast<size_t>(e)]) * C, C,
                        r.weight.data<float>()[p], 1);
  }
  std::vector<Tensor> inputs;
  for (const Tensor& t : z)
    if (t.defined()) inputs.push_back(t);
  bool record = ctx.wants(r.weight);
  for (const Tensor& t : inputs) record |= ctx.wants(t);
  if (!record) return y;
  inputs.push_back(r.weight);
  ctx.recorder()->record("combine_experts", {y}, inputs, [z, rows, r, C, place](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
    std::vector<Tensor> dz(z.size());
    for (size_t e = 0; e < z.size(); ++e)
      if (z[e].defined()) dz[e] = c.zeros(z[e].shape(), DType::F32);
    Tensor dw = c.zeros(r.weight.shape(), DType::F32);
    const float* d = dy[0].data<float>();
    for (size_t p = 0; p < r.expert.size(); ++p) {
      const auto [n, e] = place(r, p);
      if (e < 0) continue;
      const int64_t at = (rows.row[p] - rows.start[static_cast<size_t>(e)]) * C;
      c.kernels().axpby(dz[static_cast<size_t>(e)].data<float>() + at, d + n * C, C, r.weight.data<float>()[p], 1);
      const float* part = z[static_cast<size_t>(e)].data<float>() + at;
      double dot = 0;
      for (int64_t i = 0; i < C; ++i) dot += static_cast<double>(part[i]) * d[n * C + i];
      dw.data<float>()[p] = static_cast<float>(dot);
    }
    std::vector<Tensor> grads;
    for (Tensor& t : dz)
      if (t.defined()) grads.push_back(std::move(t));
    grads.push_back(dw);
    return grads;
  });
  return y;
}

}  // namespace tenon::ops
