// The linear layer: on plain weights with gradients, and on packed weights of any format for inference.
#pragma once

#include <cstring>

#include "tenon/ops/activation.h"
#include "tenon/ops/elementwise.h"
#include "tenon/ops/matmul.h"
#include "tenon/quant/packed_weight.h"

namespace tenon::ops {

namespace detail {

inline void check_linear(const Tensor& x, int64_t N, int64_t K, const Tensor& bias, const Tensor& residual) {
  check_f32_or_bf16(x, "linear", "x");
  check(x.rank() >= 1 && x.size(-1) == K, ErrorCode::Shape, "linear", "x: expected (..., ", K, ") for a weight (", N, ", ", K, "), got ",
        x.shape());
  if (bias.defined()) check_vector(bias, N, "linear", "bias");
  if (!residual.defined()) return;
  check(residual.shape() == with_last(x.shape(), N), ErrorCode::Shape, "linear", "residual: expected ", with_last(x.shape(), N), ", got ",
        residual.shape());
  check(residual.dtype() == x.dtype(), ErrorCode::Type, "linear", "residual: expected ", name_of(x.dtype()), ", got ",
        name_of(residual.dtype()));
}

/// x w^T + bias as float32, the bias laid down first and the product added to it.
inline Tensor linear_f32(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias, bool in_out, int64_t M, int64_t N, int64_t K) {
  Tensor y = ctx.empty(with_last(x.shape(), N), DType::F32);
  if (y.numel() == 0) return y;
  float* to = y.data<float>();
  const bool filled = bias.defined() || K == 0;
  if (filled)
    ctx.over_rows(M, N, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m) {
        if (bias.defined())
          std::memcpy(to + m * N, bias.raw(), static_cast<size_t>(N) * sizeof(float));
        else
          std::memset(to + m * N, 0, static_cast<size_t>(N) * sizeof(float));
      }
    });
  if (K > 0)
    ctx.kernels().matmul({.c = to,
                          .a = x.raw(),
                          .b = w.raw(),
                          .type = x.dtype(),
                          .c_type = DType::F32,
                          .trans_b = !in_out,
                          .accumulate = filled,
                          .M = M,
                          .N = N,
                          .K = K,
                          .threads = ctx.threads()});
  return y;
}

}  // namespace detail

/// y = act(x w^T + bias) + residual on a weight as it lies in the checkpoint. When something wants a gradient, it is recorded as a
/// linear layer, an activation and a sum.
/// Shapes: x (...,K) f32|bf16, w (N,K), or (K,N) if in_out, f32|bf16|f16 (used in x's type), bias (N) f32 or {}, residual (...,N) as x or
/// {} -> (...,N) as x.
/// Errors: Error(Shape), Error(Type), also for a gradient with anything but float32.
/// Source: torch.nn.functional.linear.
inline Tensor linear(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias, Activation act = Activation::None,
                     const Tensor& residual = {}, bool in_out = false) {
  check(w.defined() && w.rank() == 2, ErrorCode::Shape, "linear", "weight: expected a matrix, got ", w.describe());
  const int64_t N = w.size(in_out ? 1 : 0), K = w.size(in_out ? 0 : 1);
  detail::check_linear(x, N, K, bias, residual);
  const int64_t M = detail::matrix_of(x, "linear", "x").N;
  const bool record = recording(ctx, "linear", x, w, bias);
  if (record) {
    detail::check_f32(x, "linear", "x with gradients");
    detail::check_f32(w, "linear", "weight with gradients");
  }
  Tensor y = detail::linear_f32(ctx, x, cast(ctx, w, x.dtype()), bias, in_out, M, N, K);
  if (record)
    ctx.recorder()->record("linear", {y}, {x, w, bias},
                           [=, want_x = ctx.wants(x), want_w = ctx.wants(w), want_b = ctx.wants(bias)](
                               Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             Tensor dx, dw, db;
                             if (want_x) dx = detail::product_of(c, dy[0], w, false, in_out, M, K, N).view(x.shape());
                             if (want_w && in_out) dw = detail::product_of(c, x, dy[0], true, false, K, N, M);
                             if (want_w && !in_out) dw = detail::product_of(c, dy[0], x, true, false, N, K, M);
                             if (want_b) db = detail::column_sums(c, dy[0], M, N);
                             return {dx, dw, db};
                           });
  y = cast(ctx, activation(ctx, y, act), x.dtype());
  return residual.defined() ? add(ctx, y, residual) : y;
}

/// The same in one kernel, on a packed weight.
/// Shapes: x (...,K) f32|bf16, bias (N) f32 or {}, residual (...,N) as x or {} -> (...,N) as x.
/// Errors: Error(Shape), Error(Type), also if an input wants a gradient.
inline Tensor linear(Context& ctx, const Tensor& x, const quant::PackedWeight& w, const Tensor& bias, Activation act = Activation::None,
                     const Tensor& residual = {}) {
  check(w.defined(), ErrorCode::Shape, "linear", "weight: expected a packed weight, got none");
  detail::check_linear(x, w.N, w.K, bias, residual);
  no_gradient(ctx, "linear on a packed weight", x, bias, residual);
  Tensor y = ctx.empty(detail::with_last(x.shape(), w.N), x.dtype());
  if (y.numel() == 0) return y;
  LinearCall call{.y = y.raw(),
                  .x = x.raw(),
                  .w = w.data.raw(),
                  .w_scale = w.scale.defined() ? w.scale.data<float>() : nullptr,
                  .bias = bias.defined() ? bias.data<float>() : nullptr,
                  .residual = residual.raw(),
                  .type = x.dtype(),
                  .format = w.format,
                  .act = act,
                  .M = detail::matrix_of(x, "linear", "x").N,
                  .N = w.N,
                  .K = w.K,
                  .threads = ctx.threads()};
  const Tensor scratch = ctx.empty({static_cast<int64_t>(ctx.kernels().linear_scratch(call))}, DType::U8);
  call.scratch = const_cast<void*>(scratch.raw());
  ctx.kernels().linear(call);
  return y;
}

}  // namespace tenon::ops
