// The linear layer on a weight that is made when it is needed and never trained: a quantised one under adapters.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "tenon/ops/linear.h"

namespace tenon::ops {

/// Makes a weight (N,K) as float32.
using MakeWeight = std::function<Tensor(Context&)>;

/// y = act(x w^T + bias) + residual. The weight is made once for y and again for the gradient of x: in between nothing holds it. Products
/// as in linear().
/// Shapes: x (...,K) f32, bias (N) f32 or {}, residual (...,N) f32 or {} -> (...,N) f32; without gradients x may be bf16.
/// Errors: Error(Shape), Error(Type).
/// Source: Dettmers et al. 2023, "QLoRA".
inline Tensor frozen_linear(Context& ctx, const Tensor& x, MakeWeight make, int64_t N, int64_t K, const Tensor& bias,
                            Activation act = Activation::None, const Tensor& residual = {}) {
  detail::check_linear(x, N, K, bias, residual);
  const int64_t M = detail::matrix_of(x, "linear", "x").N;
  const detail::FactorType type = detail::factor_type(ctx, x);
  const bool together = residual.defined() && act == Activation::None && x.dtype() == DType::F32;
  const Tensor added = together ? residual : Tensor();
  using detail::Fp8Role;
  Tensor y = detail::linear_f32(ctx, detail::factor_of(ctx, x, type, Fp8Role::Rows, M, K, true, false),
                                detail::factor_of(ctx, make(ctx), type, Fp8Role::Weight, N, K, true, false), bias, added, false,
                                detail::with_last(x.shape(), N), M, N, K);
  if (recording(ctx, "linear", x, bias, added))
    ctx.recorder()->record("linear", {y}, {x, bias, added},
                           [make = std::move(make), shape = x.shape(), want_x = ctx.wants(x), want_bias = ctx.wants(bias),
                            want_added = ctx.wants(added), type, M, N, K](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             std::vector<Tensor> d(3);
                             if (want_x) {
                               d[0] = c.empty(shape, DType::F32);
                               const detail::Factor rounded = detail::factor_of(c, dy[0], type, Fp8Role::Rows, M, N, true, false),
                                                    w = detail::factor_of(c, make(c), type, Fp8Role::Weight, N, K, false, true);
                               detail::multiply(c, d[0].ptr<float>(), rounded, w, false, false, M, K, N, false);
                             }
                             if (want_bias) d[1] = detail::column_sums(c, dy[0], M, N);
                             if (want_added) d[2] = dy[0];
                             return d;
                           });
  y = cast(ctx, activation(ctx, y, act), x.dtype());
  return residual.defined() && !together ? add(ctx, y, residual) : y;
}

}  // namespace tenon::ops
