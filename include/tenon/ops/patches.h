// Images cut into patches.
#pragma once

#include "tenon/ops/checks.h"

namespace tenon::ops {

/// Rows that a matmul with the flattened kernel turns into a convolution with stride p; what is left at the right and at the bottom
/// is not read.
/// Shapes: pixels (B,channels,H,W) f32 -> (B*P, channels*p*p) of type `out` (f32|bf16), P = (H/p) * (W/p).
/// Errors: Error(Shape), Error(Type), also for pixels that want a gradient.
/// Source: torch.nn.functional.unfold(kernel_size=p, stride=p).
inline Tensor unfold_patches(Context& ctx, const Tensor& pixels, int64_t p, DType out) {
  detail::check_f32(pixels, "unfold_patches", "pixels");
  check(pixels.rank() == 4, ErrorCode::Shape, "unfold_patches", "pixels: expected (B, channels, H, W), got ", pixels.shape());
  check(out == DType::F32 || out == DType::BF16, ErrorCode::Type, "unfold_patches", "output: expected float32 or bfloat16, got ",
        name_of(out));
  const int64_t B = pixels.size(0), channels = pixels.size(1), H = pixels.size(2), W = pixels.size(3);
  check(p > 0 && H >= p && W >= p, ErrorCode::Shape, "unfold_patches", "patch size: expected 1 to ", std::min(H, W), " for ",
        pixels.shape(), ", got ", p);
  no_gradient(ctx, "unfold_patches", pixels);
  const int64_t P = (H / p) * (W / p), K = channels * p * p;
  detail::check_here(ctx, "unfold_patches", pixels);
  Tensor y = ctx.empty({B * P, K}, out);
  auto* to = static_cast<char*>(y.address());
  const float* from = pixels.ptr<float>();
  ctx.over_rows(B, P * K, [&](int64_t begin, int64_t end) {
    ctx.kernels().unfold_patches(to + static_cast<size_t>(begin * P * K) * size_of(out), out, from + begin * channels * H * W, end - begin,
                                 channels, H, W, p);
  });
  return y;
}

}  // namespace tenon::ops
