// Root-mean-square normalisation.
#pragma once

#include "tenon/ops/checks.h"

namespace tenon::ops {

/// y = x / sqrt(mean(x^2) + eps) * w over the last dimension of w: a row of x may hold several normalised parts (the heads of q).
/// Shapes: x (..., n*C) f32|bf16, w (C) f32 -> y like x.
/// Units: eps >= 0 is added to the mean square.
/// Errors: Error(Shape) if C does not divide a row, Error(Type).
/// Source: Zhang and Sennrich 2019, "Root mean square layer normalization"; LlamaRMSNorm of Transformers.
inline Tensor rms_norm(Context& ctx, const Tensor& x, const Tensor& w, float eps) {
  detail::check_f32_or_bf16(x, "rms_norm", "x");
  check(w.defined() && w.rank() == 1 && w.dtype() == DType::F32 && w.numel() > 0, ErrorCode::Shape, "rms_norm",
        "weight: expected a float32 vector, got ", w.describe());
  const int64_t C = w.numel();
  check(x.rank() >= 1 && x.size(-1) % C == 0, ErrorCode::Shape, "rms_norm", "x: expected rows of a multiple of ", C, ", got ", x.shape());
  const int64_t N = x.numel() / C;
  detail::check_here(ctx, "rms_norm", x, w);
  const bool record = recording(ctx, "rms_norm", x, w);
  Tensor y = ctx.empty(x.shape(), x.dtype()), rstd;
  if (record) {
    detail::check_f32(x, "rms_norm", "x with gradients");
    rstd = ctx.empty({N}, DType::F32);
  }
  float* rstd0 = record ? rstd.ptr<float>() : nullptr;
  const auto* from = static_cast<const char*>(x.address());
  auto* to = static_cast<char*>(y.address());
  const size_t row = static_cast<size_t>(C) * size_of(x.dtype());
  ctx.over_rows(N, 2 * C, [&](int64_t begin, int64_t end) {
    ctx.kernels().rms_norm(to + begin * row, from + begin * row, w.ptr<float>(), rstd0 ? rstd0 + begin : nullptr, end - begin, C, eps,
                           x.dtype());
  });
  if (record)
    ctx.recorder()->record("rms_norm", {y}, {x, w}, [x, w, rstd, N, C](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      detail::check_here(c, "rms_norm", x, dy[0]);
      Tensor dx = c.empty(x.shape(), DType::F32);
      float* out = dx.ptr<float>();
      const float *dy0 = dy[0].ptr<float>(), *x0 = x.ptr<float>(), *r = rstd.ptr<float>();
      const Tensor dw = detail::sum_in_blocks(c, N, 1, C, [&](float* sum, int64_t begin, int64_t end) {
        c.kernels().rms_norm_backward(out + begin * C, sum, dy0 + begin * C, x0 + begin * C, w.ptr<float>(), r + begin, end - begin, C);
      });
      return {dx, dw.view({C})};
    });
  return y;
}

}  // namespace tenon::ops
