// A grid of vectors resized, as position embeddings are for another image size.
#pragma once

#include <array>
#include <cmath>

#include "tenon/ops/checks.h"

namespace tenon::ops {

namespace detail {

struct CubicTaps {
  std::array<int64_t, 4> at;  // clamped to the grid
  std::array<float, 4> weight;
};

/// The four neighbours of each of `to` points spread over `from`, pixel centres at (i + 0.5) * from / to.
inline std::vector<CubicTaps> cubic_taps(int64_t from, int64_t to) {
  constexpr float a = -0.75f;
  const auto near = [](float d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };       // distance up to 1
  const auto far = [](float d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };  // distance 1 to 2
  std::vector<CubicTaps> taps(static_cast<size_t>(to));
  const float step = static_cast<float>(from) / static_cast<float>(to);
  for (int64_t i = 0; i < to; ++i) {
    const float x = (static_cast<float>(i) + 0.5f) * step - 0.5f, base = std::floor(x), t = x - base;
    CubicTaps& tap = taps[static_cast<size_t>(i)];
    tap.weight = {far(t + 1), near(t), near(1 - t), far(2 - t)};
    for (int64_t j = 0; j < 4; ++j) tap.at[static_cast<size_t>(j)] = std::clamp<int64_t>(static_cast<int64_t>(base) + j - 1, 0, from - 1);
  }
  return taps;
}

/// Calls body(row of the new grid, row of the old grid, weight) for each of the 16 neighbours of new rows [begin, end) * W.
template <class Body>
void for_cubic_neighbours(const std::vector<CubicTaps>& rows, const std::vector<CubicTaps>& columns, int64_t w, int64_t begin, int64_t end,
                          Body&& body) {
  const int64_t W = static_cast<int64_t>(columns.size());
  for (int64_t y = begin; y < end; ++y)
    for (int64_t x = 0; x < W; ++x)
      for (size_t i = 0; i < 4; ++i)
        for (size_t j = 0; j < 4; ++j) {
          const CubicTaps &r = rows[static_cast<size_t>(y)], &c = columns[static_cast<size_t>(x)];
          body(y * W + x, r.at[i] * w + c.at[j], r.weight[i] * c.weight[j]);
        }
}

}  // namespace detail

/// The grid resized to (H,W) by bicubic interpolation without antialiasing.
/// Shapes: grid (h,w,C) f32 -> (H,W,C).
/// Errors: Error(Shape), Error(Type).
/// Source: torch.nn.functional.interpolate(size=(H, W), mode="bicubic", align_corners=False).
inline Tensor interpolate_bicubic(Context& ctx, const Tensor& grid, int64_t H, int64_t W) {
  detail::check_f32(grid, "interpolate_bicubic", "grid");
  check(grid.rank() == 3 && grid.size(0) > 0 && grid.size(1) > 0, ErrorCode::Shape, "interpolate_bicubic", "grid: expected (h, w, C), got ",
        grid.shape());
  check(H > 0 && W > 0, ErrorCode::Shape, "interpolate_bicubic", "size: expected at least (1, 1), got (", H, ", ", W, ")");
  const int64_t h = grid.size(0), w = grid.size(1), C = grid.size(2);
  const auto rows = detail::cubic_taps(h, H), columns = detail::cubic_taps(w, W);
  Tensor y = ctx.zeros({H, W, C}, DType::F32);
  float* to = y.data<float>();
  const float* from = grid.data<float>();
  ctx.over_rows(H, 16 * W * C, [&](int64_t begin, int64_t end) {
    detail::for_cubic_neighbours(rows, columns, w, begin, end, [&](int64_t out, int64_t in, float weight) {
      ctx.kernels().axpby(to + out * C, from + in * C, C, weight, 1);
    });
  });
  if (recording(ctx, "interpolate_bicubic", grid))
    ctx.recorder()->record("interpolate_bicubic", {y}, {grid},
                           [rows, columns, H, w, C, shape = grid.shape()](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             Tensor d = c.zeros(shape, DType::F32);
                             float* into = d.data<float>();
                             const float* dy0 = dy[0].data<float>();
                             detail::for_cubic_neighbours(rows, columns, w, 0, H, [&](int64_t out, int64_t in, float weight) {
                               c.kernels().axpby(into + in * C, dy0 + out * C, C, weight, 1);
                             });
                             return {d};
                           });
  return y;
}

}  // namespace tenon::ops
