// Layer normalisation.
#pragma once

#include "tenon/ops/checks.h"

namespace tenon::ops {

/// y = (x - mean) / sqrt(var + eps) * w + b over the last dimension.
/// Shapes: x (...,C) f32|bf16, w, b (C) f32 -> y (...,C).
/// Units: eps >= 0 is added to the variance.
/// Errors: Error(Shape) if w or b is not (C), Error(Type).
/// Source: torch.nn.functional.layer_norm.
inline Tensor layer_norm(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& b, float eps) {
  detail::check_f32_or_bf16(x, "layer_norm", "x");
  const auto [N, C] = detail::matrix_of(x, "layer_norm", "x");
  detail::check_vector(w, C, "layer_norm", "weight");
  detail::check_vector(b, C, "layer_norm", "bias");
  detail::check_here(ctx, "layer_norm", x, w, b);
  const bool record = recording(ctx, "layer_norm", x, w, b);
  Tensor y = ctx.empty(x.shape(), x.dtype());
  Tensor mean, rstd;
  if (record) {
    detail::check_f32(x, "layer_norm", "x with gradients");
    mean = ctx.empty({N}, DType::F32), rstd = ctx.empty({N}, DType::F32);
  }
  float *mean0 = record ? mean.ptr<float>() : nullptr, *rstd0 = record ? rstd.ptr<float>() : nullptr;
  const auto* from = static_cast<const char*>(x.address());
  auto* to = static_cast<char*>(y.address());
  const size_t row = static_cast<size_t>(C) * size_of(x.dtype());
  ctx.over_rows(N, 2 * C, [&, C = C](int64_t begin, int64_t end) {
    ctx.kernels().layer_norm(to + begin * row, from + begin * row, w.ptr<float>(), b.ptr<float>(), mean0 ? mean0 + begin : nullptr,
                             rstd0 ? rstd0 + begin : nullptr, end - begin, C, eps, x.dtype());
  });
  if (record)
    ctx.recorder()->record(
        "layer_norm", {y}, {x, w, b}, [x, w, mean, rstd, N = N, C = C](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
          detail::check_here(c, "layer_norm", x, dy[0]);
          Tensor dx = c.empty(x.shape(), DType::F32);
          float* out = dx.ptr<float>();
          const float *dy0 = dy[0].ptr<float>(), *x0 = x.ptr<float>(), *m = mean.ptr<float>(), *r = rstd.ptr<float>();
          const Tensor dwb = detail::sum_in_blocks(c, N, 2, C, [&](float* sum, int64_t begin, int64_t end) {
            c.kernels().layer_norm_backward(out + begin * C, sum, sum + C, dy0 + begin * C, x0 + begin * C, w.ptr<float>(), m + begin,
                                            r + begin, end - begin, C);
          });
          return {dx, dwb.rows(0, 1).view({C}), dwb.rows(1, 2).view({C})};
        });
  return y;
}

}  // namespace tenon::ops
