// Rotary position embedding.
#pragma once

#include "tenon/ops/checks.h"

namespace tenon::ops {

/// Which elements of a row are turned: of each of `heads` parts of equal width, `width` elements from `begin` on, as pairs (i, i + width/2)
/// or, interleaved, (2i, 2i + 1).
struct RopeLayout {
  int64_t heads = 1, begin = 0, width = 0;
  bool interleaved = false;
};

/// Turns each pair (a, b) of a row by the row's angle: (a cos - b sin, b cos + a sin). Elements outside the layout stay.
/// Shapes: x (N, heads*D) f32|bf16, cos, sin (N, width/2) f32 -> like x.
/// Errors: Error(Shape) if the layout does not fit the rows, Error(Type).
/// Source: Su et al. 2021, "RoFormer".
inline Tensor rope(Context& ctx, const Tensor& x, const Tensor& cos, const Tensor& sin, const RopeLayout& layout) {
  detail::check_f32_or_bf16(x, "rope", "x");
  check(x.rank() == 2 && layout.heads > 0 && x.size(1) % layout.heads == 0, ErrorCode::Shape, "rope", "x: expected (N, ", layout.heads,
        " * D), got ", x.shape());
  const int64_t N = x.size(0), D = x.size(1) / layout.heads, half = layout.width / 2;
  check(layout.begin >= 0 && layout.width >= 0 && layout.width % 2 == 0 && layout.begin + layout.width <= D, ErrorCode::Shape, "rope",
        "layout: expected an even number of elements within ", D, ", got ", layout.width, " from ", layout.begin, " on");
  for (const Tensor* t : {&cos, &sin})
    check(t->defined() && t->dtype() == DType::F32 && t->shape() == Shape{N, half}, ErrorCode::Shape, "rope", "cos, sin: expected float32 ",
          Shape{N, half}, ", got ", t->describe());
  const auto turn = [layout, D, half](Context& c, const Tensor& from, const Tensor& co, const Tensor& si) {
    detail::check_here(c, "rope", from, co, si);
    Tensor y = c.empty(from.shape(), from.dtype());
    const int64_t ld = from.size(1);
    const size_t row = static_cast<size_t>(ld) * size_of(from.dtype()), skip = static_cast<size_t>(layout.begin) * size_of(from.dtype());
    auto* to = static_cast<char*>(y.address());
    const auto* x0 = static_cast<const char*>(from.address());
    const float *c0 = co.ptr<float>(), *s0 = si.ptr<float>();
    c.over_rows(from.size(0), 2 * ld, [&](int64_t begin, int64_t end) {
      cuda::copy(to + begin * row, c.device(), x0 + begin * row, c.device(), static_cast<size_t>(end - begin) * row);
      c.kernels().rope(to + begin * row + skip, to + begin * row + skip, c0 + begin * half, s0 + begin * half, end - begin, layout.heads, ld,
                       D, layout.width, layout.interleaved, from.dtype());
    });
    return y;
  };
  const bool record = recording(ctx, "rope", x);
  if (record) detail::check_f32(x, "rope", "x with gradients");
  Tensor y = turn(ctx, x, cos, sin);
  if (record)
    ctx.recorder()->record("rope", {y}, {x}, [turn, cos, sin](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
      Tensor back = c.empty(sin.shape(), DType::F32);  // the angle turned back
      c.kernels().axpby(back.ptr<float>(), sin.ptr<float>(), sin.numel(), -1, 0);
      return {turn(c, dy[0], cos, back)};
    });
  return y;
}

}  // namespace tenon::ops
