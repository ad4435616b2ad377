// Images as rows: patches projected, a class token in front, positions added. ViT and CLIP's vision tower.
#pragma once

#include <string>
#include <vector>

#include "tenon/nn/linear.h"
#include "tenon/nn/packed_rows.h"
#include "tenon/ops/interpolate.h"
#include "tenon/ops/patches.h"

namespace tenon::nn {

/// How a family names the parts of its embeddings, and the shapes of class token and positions on disk.
struct PatchNames {
  const char *class_token, *projection, *positions;
  bool leading_ones;  // ViT stores (1,1,C) and (1,P+1,C), CLIP (C) and (P+1,C)
};

class PatchEmbedding {
 public:
  PatchEmbedding() = default;
  PatchEmbedding(int64_t channels, int64_t image_size, int64_t patch_size, int64_t width, bool bias)
      : channels_(channels), image_(image_size), patch_(patch_size), width_(width), projection_(channels * patch_size * patch_size, width, bias) {
    check(patch_size <= image_size, ErrorCode::Format, "config.json", "patch_size ", patch_size, " is larger than image_size ", image_size);
    projection_.stored_as({width, channels, patch_size, patch_size});
  }

  int64_t grid() const { return image_ / patch_; }
  int64_t positions() const { return grid() * grid() + 1; }

  /// Shapes: pixels (B,channels,H,W) float32 -> (B*(P+1), C) float32, and the rows they are.
  /// Errors: Error(Shape) for other channels, or another size than the checkpoint's unless `interpolate`.
  Tensor forward(Context& ctx, const Tensor& pixels, bool interpolate, DType act, PackedRows& rows) const {
    check(pixels.defined(), ErrorCode::Type, "pixel_values", "expected images, got nothing");
    check(pixels.rank() == 4 && pixels.size(1) == channels_, ErrorCode::Shape, "pixel_values", "expected (batch, ", channels_,
          ", height, width), got ", pixels.shape());
    const int64_t B = pixels.size(0), h = pixels.size(2), w = pixels.size(3);
    check((h == image_ && w == image_) || interpolate, ErrorCode::Shape, "pixel_values", "expected images of ", image_, "x", image_, ", got ", h,
          "x", w, " (interpolate_pos_encoding=True takes other sizes)");
    check(h >= patch_ && w >= patch_, ErrorCode::Shape, "pixel_values", "images of ", h, "x", w, " are smaller than a patch of ", patch_);
    const int64_t gh = h / patch_, gw = w / patch_, T = gh * gw + 1;
    rows = pack_rows({}, B, T);

    const Tensor patches = ops::unfold_patches(ctx, pixels.to(DType::F32), patch_, act);
    const Tensor projected = ops::cast(ctx, projection_.forward(ctx, patches), DType::F32);
    std::vector<int64_t> patch_rows, class_rows;
    for (int64_t b = 0; b < B; ++b) {
      class_rows.push_back(b * T);
      for (int64_t t = 1; t < T; ++t) patch_rows.push_back(b * T + t);
    }
    const std::vector<int64_t> zeros(static_cast<size_t>(B), 0);
    const Tensor token = ops::gather_rows(ctx, ops::reshape(ctx, class_token_, {1, width_}), zeros);
    const Tensor x = ops::add(ctx, ops::scatter_rows(ctx, projected, patch_rows, B * T), ops::scatter_rows(ctx, token, class_rows, B * T));
    std::vector<int64_t> index(static_cast<size_t>(B * T));
    for (int64_t i = 0; i < B * T; ++i) index[i] = i % T;
    return ops::add(ctx, x, ops::gather_rows(ctx, position_rows(ctx, gh, gw), index));
  }

  void visit(const std::string& prefix, const PatchNames& n, Visitor& v) {
    v.parameter(join(prefix, n.class_token), class_token_, n.leading_ones ? Shape{1, 1, width_} : Shape{width_}, {});
    v.linear(join(prefix, n.projection), projection_);
    v.parameter(join(prefix, n.positions), positions_, n.leading_ones ? Shape{1, positions(), width_} : Shape{positions(), width_}, {});
  }

 private:
  /// The positions for a grid of gh x gw patches, resized bicubically from the checkpoint's where it is another. -> (gh*gw+1, C)
  Tensor position_rows(Context& ctx, int64_t gh, int64_t gw) const {
    const int64_t g = grid();
    const Tensor table = ops::reshape(ctx, positions_, {positions(), width_});
    if (gh == g && gw == g) return table;
    std::vector<int64_t> grid_rows(static_cast<size_t>(g * g)), moved(static_cast<size_t>(gh * gw));
    for (int64_t i = 0; i < g * g; ++i) grid_rows[i] = i + 1;
    for (int64_t i = 0; i < gh * gw; ++i) moved[i] = i + 1;
    const std::vector<int64_t> first{0};
    const Tensor cells = ops::reshape(ctx, ops::gather_rows(ctx, table, grid_rows), {g, g, width_});
    const Tensor resized = ops::reshape(ctx, ops::interpolate_bicubic(ctx, cells, gh, gw), {gh * gw, width_});
    return ops::add(ctx, ops::scatter_rows(ctx, resized, moved, gh * gw + 1),
                    ops::scatter_rows(ctx, ops::gather_rows(ctx, table, first), first, gh * gw + 1));
  }

  int64_t channels_ = 3, image_ = 0, patch_ = 1, width_ = 0;
  Linear projection_;
  Tensor class_token_, positions_;
};

}  // namespace tenon::nn
