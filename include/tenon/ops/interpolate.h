// A grid of vectors resized, as position embeddings are for another image size.
#pragma once

#include <algorithm>
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

/// Rows that are weighted sums of rows: row i of the result is the sum over K of weight * row index of what it is made from.
struct RowSums {
  int64_t rows = 0, K = 0;
  std::vector<int64_t> index;  // (rows,K), -1 for nothing
  std::vector<float> weight;

  /// The gradient: what row i of the result gets goes to all rows that it was made of.
  RowSums transposed(int64_t from) const {
    std::vector<int64_t> count(static_cast<size_t>(from));
    for (const int64_t i : index) ++count[static_cast<size_t>(i)];
    RowSums t{.rows = from, .K = *std::max_element(count.begin(), count.end()), .index = {}, .weight = {}};
    t.index.assign(static_cast<size_t>(from * t.K), -1);
    t.weight.assign(t.index.size(), 0.0f);
    std::fill(count.begin(), count.end(), 0);
    for (size_t i = 0; i < index.size(); ++i) {
      const auto at = static_cast<size_t>(index[i] * t.K + count[static_cast<size_t>(index[i])]++);
      t.index[at] = static_cast<int64_t>(i) / K, t.weight[at] = weight[i];
    }
    return t;
  }
  /// Shapes: x (...,C) -> as y.
  Tensor apply(Context& ctx, const Tensor& x, const Shape& y_shape) const {
    check_here(ctx, "interpolate_bicubic", x);
    const int64_t C = x.size(-1);
    Tensor y = ctx.empty(y_shape, DType::F32);
    float* to = y.ptr<float>();
    const float* from = x.ptr<float>();
    const Numbers rows_of(ctx, index);
    const OnDevice<float> weights(ctx, weight);
    ctx.over_rows(rows, K * C, [&](int64_t begin, int64_t end) {
      ctx.kernels().combine_rows(to + begin * C, from, rows_of.data() + begin * K, weights.data() + begin * K, end - begin, K, C, false,
                                 DType::F32);
    });
    return y;
  }
};

/// The 16 neighbours of each point of the new grid.
inline RowSums cubic_neighbours(int64_t h, int64_t w, int64_t H, int64_t W) {
  const std::vector<CubicTaps> rows = cubic_taps(h, H), columns = cubic_taps(w, W);
  RowSums sums{.rows = H * W, .K = 16, .index = {}, .weight = {}};
  for (const CubicTaps& r : rows)
    for (const CubicTaps& c : columns)
      for (size_t i = 0; i < 4; ++i)
        for (size_t j = 0; j < 4; ++j) sums.index.push_back(r.at[i] * w + c.at[j]), sums.weight.push_back(r.weight[i] * c.weight[j]);
  return sums;
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
  const detail::RowSums sums = detail::cubic_neighbours(h, w, H, W);
  Tensor y = sums.apply(ctx, grid, {H, W, C});
  if (recording(ctx, "interpolate_bicubic", grid))
    ctx.recorder()->record("interpolate_bicubic", {y}, {grid},
                           [back = sums.transposed(h * w), shape = grid.shape()](Context& c, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             return {back.apply(c, dy[0], shape)};
                           });
  return y;
}

}  // namespace tenon::ops
