// Rows scaled to unit length.
#pragma once

#include "tenon/ops/checks.h"

namespace tenon::ops {

/// y = x / max(|x|, eps) over the last dimension.
/// Shapes: x (...,C) f32 -> y (...,C).
/// Units: eps >= 0; with 0 a zero row becomes NaN, as dividing by its norm does.
/// Errors: Error(Type).
/// Source: torch.nn.functional.normalize; with eps = 0, x / x.norm(dim=-1, keepdim=True) of CLIP.
inline Tensor l2_normalize(Context& ctx, const Tensor& x, float eps = 0) {
  detail::check_f32(x, "l2_normalize", "x");
  const auto [N, C] = detail::matrix_of(x, "l2_normalize", "x");
  detail::check_here(ctx, "l2_normalize", x);
  Tensor y = ctx.empty(x.shape(), DType::F32), norm = ctx.empty({N}, DType::F32);
  float *to = y.ptr<float>(), *lengths = norm.ptr<float>();
  const float* from = x.ptr<float>();
  ctx.over_rows(N, 2 * C, [&, C = C](int64_t begin, int64_t end) {
    ctx.kernels().l2_normalize(to + begin * C, lengths + begin, from + begin * C, end - begin, C, eps);
  });
  if (recording(ctx, "l2_normalize", x))
    ctx.recorder()->record("l2_normalize", {y}, {x},
                           [y, norm, eps, N = N, C = C](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             detail::check_here(c, "l2_normalize", y, dy[0]);
                             Tensor dx = c.empty(y.shape(), DType::F32);
                             float* out = dx.ptr<float>();
                             const float *dy0 = dy[0].ptr<float>(), *y0 = y.ptr<float>(), *length = norm.ptr<float>();
                             c.over_rows(N, 2 * C, [&](int64_t begin, int64_t end) {
                               c.kernels().l2_normalize_backward(out + begin * C, dy0 + begin * C, y0 + begin * C, length + begin, end - begin, C,
                                                                 eps);
                             });
                             return {dx};
                           });
  return y;
}

}  // namespace tenon::ops
