// Softmax and its logarithm over the last dimension.
#pragma once

#include "tenon/ops/checks.h"

namespace tenon::ops {

/// y = exp(x - max) / sum over the last dimension.
/// Shapes: x (...,C) f32 -> y (...,C).
/// Errors: Error(Type).
/// Source: torch.softmax.
inline Tensor softmax(Context& ctx, const Tensor& x) {
  detail::check_f32(x, "softmax", "x");
  const auto [N, C] = detail::matrix_of(x, "softmax", "x");
  detail::check_here(ctx, "softmax", x);
  Tensor y = ctx.empty(x.shape(), DType::F32);
  float* to = y.ptr<float>();
  const float* from = x.ptr<float>();
  ctx.over_rows(N, 4 * C,
                [&, C = C](int64_t begin, int64_t end) { ctx.kernels().softmax(to + begin * C, from + begin * C, end - begin, C); });
  if (recording(ctx, "softmax", x))
    ctx.recorder()->record("softmax", {y}, {x}, [y, N = N, C = C](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      detail::check_here(c, "softmax", y, dy[0]);
      Tensor dx = c.empty(y.shape(), DType::F32);
      float* out = dx.ptr<float>();
      const float *dy0 = dy[0].ptr<float>(), *y0 = y.ptr<float>();
      c.over_rows(N, 2 * C, [&](int64_t begin, int64_t end) {
        c.kernels().softmax_backward(out + begin * C, dy0 + begin * C, y0 + begin * C, end - begin, C);
      });
      return {dx};
    });
  return y;
}

/// y = x - log(sum of exp(x)) over the last dimension.
/// Shapes: x (...,C) f32 -> y (...,C).
/// Errors: Error(Type).
/// Source: torch.log_softmax.
inline Tensor log_softmax(Context& ctx, const Tensor& x) {
  detail::check_f32(x, "log_softmax", "x");
  const auto [N, C] = detail::matrix_of(x, "log_softmax", "x");
  detail::check_here(ctx, "log_softmax", x);
  Tensor y = ctx.empty(x.shape(), DType::F32);
  float* to = y.ptr<float>();
  const float* from = x.ptr<float>();
  ctx.over_rows(N, 4 * C,
                [&, C = C](int64_t begin, int64_t end) { ctx.kernels().log_softmax(to + begin * C, from + begin * C, end - begin, C); });
  if (recording(ctx, "log_softmax", x))
    ctx.recorder()->record("log_softmax", {y}, {x}, [y, N = N, C = C](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      detail::check_here(c, "log_softmax", y, dy[0]);
      Tensor dx = c.empty(y.shape(), DType::F32);
      float* out = dx.ptr<float>();
      const float *dy0 = dy[0].ptr<float>(), *y0 = y.ptr<float>();
      c.over_rows(N, 2 * C, [&](int64_t begin, int64_t end) {
        c.kernels().log_softmax_backward(out + begin * C, dy0 + begin * C, y0 + begin * C, end - begin, C);
      });
      return {dx};
    });
  return y;
}

}  // namespace tenon::ops
