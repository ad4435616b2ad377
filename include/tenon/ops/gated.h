// The gated activation of SwiGLU and its kin.
#pragma once

#include "tenon/ops/checks.h"

namespace tenon::ops {

/// y = act(gate) * up.
/// Shapes: gate, up (...,F) f32|bf16 of one shape and dtype -> the same.
/// Errors: Error(Shape), Error(Type).
/// Source: Shazeer 2020, "GLU variants improve transformer".
inline Tensor gated(Context& ctx, const Tensor& gate, const Tensor& up, Activation act) {
  detail::check_f32_or_bf16(gate, "gated", "gate");
  check(up.defined() && up.shape() == gate.shape() && up.dtype() == gate.dtype(), ErrorCode::Shape, "gated", "up: expected ",
        gate.describe(), ", got ", up.describe());
  const auto [N, F] = detail::matrix_of(gate, "gated", "gate");
  const bool record = recording(ctx, "gated", gate, up);
  if (record) detail::check_f32(gate, "gated", "gate with gradients");
  detail::check_here(ctx, "gated", gate, up);
  Tensor y = ctx.empty(gate.shape(), gate.dtype());
  const size_t row = static_cast<size_t>(F) * size_of(gate.dtype());
  auto* to = static_cast<char*>(y.address());
  const auto *g = static_cast<const char*>(gate.address()), *u = static_cast<const char*>(up.address());
  ctx.over_rows(N, 8 * F, [&, F = F](int64_t begin, int64_t end) {
    ctx.kernels().gated(to + begin * row, g + begin * row, u + begin * row, F, end - begin, F, act, gate.dtype());
  });
  if (record)
    ctx.recorder()->record("gated", {y}, {gate, up}, [gate, up, act](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      detail::check_here(c, "gated", gate, dy[0]);
      Tensor dgate = c.empty(gate.shape(), DType::F32), dup = c.empty(gate.shape(), DType::F32);
      float *dg = dgate.ptr<float>(), *du = dup.ptr<float>();
      const float *d = dy[0].ptr<float>(), *g0 = gate.ptr<float>(), *u0 = up.ptr<float>();
      c.over_rows(gate.numel(), 8, [&](int64_t begin, int64_t end) {
        c.kernels().gated_backward(dg + begin, du + begin, d + begin, g0 + begin, u0 + begin, end - begin, act);
      });
      return {dgate, dup};
    });
  return y;
}

/// The same with gate and up side by side, as one matmul gives them. Inference only.
/// Shapes: x (...,2F) f32|bf16 -> (...,F).
/// Errors: Error(Shape) if the last size is odd, Error(Type), also if a gradient is wanted.
inline Tensor gated_pair(Context& ctx, const Tensor& x, Activation act) {
  detail::check_f32_or_bf16(x, "gated", "x");
  no_gradient(ctx, "gated_pair", x);
  const auto [N, twice] = detail::matrix_of(x, "gated", "x");
  check(twice % 2 == 0, ErrorCode::Shape, "gated", "x: expected an even last size, got ", x.shape());
  detail::check_here(ctx, "gated", x);
  const int64_t F = twice / 2;
  Tensor y = ctx.empty(detail::with_last(x.shape(), F), x.dtype());
  const size_t row = static_cast<size_t>(F) * size_of(x.dtype());
  auto* to = static_cast<char*>(y.address());
  const auto* from = static_cast<const char*>(x.address());
  ctx.over_rows(N, 8 * F, [&](int64_t begin, int64_t end) {
    ctx.kernels().gated(to + begin * row, from + 2 * begin * row, from + (2 * begin + 1) * row, 2 * F, end - begin, F, act, x.dtype());
  });
  return y;
}

}  // namespace tenon::ops
