// Gradients: their norm, and clipping by norm or value.
#include <algorithm>
#include <cmath>

#include "tenon/train/optim.h"
#include "train/blocks.h"

namespace tenon::train {
namespace {

std::vector<int64_t> sizes_of(const Context& ctx, std::span<const Tensor> gradients) {
  std::vector<int64_t> sizes;
  for (const Tensor& g : gradients) {
    check(!g.defined() || g.device() == ctx.device(), ErrorCode::Device, "clip", "expected gradients on ", ctx.device(), ", got ", g.describe());
    check(!g.defined() || g.dtype() == DType::F32, ErrorCode::Type, "clip", "gradient: expected float32, got ", g.describe());
    sizes.push_back(g.numel());
  }
  return sizes;
}

}  // namespace

double gradient_norm(Context& ctx, std::span<const Tensor> gradients) {
  const std::vector<int64_t> sizes = sizes_of(ctx, gradients);
  std::vector<std::vector<double>> sums;  // of each block, added up in order: the norm does not depend on the threads
  for (const int64_t n : sizes) sums.emplace_back(static_cast<size_t>((n + kBlock - 1) / kBlock));
  over_blocks(ctx, sizes, [&](size_t i, int64_t begin, int64_t end) {
    const float* g = gradients[i].ptr<float>();
    const int64_t block = ctx.device().is_cpu() ? kBlock : end - begin;  // a device's own sum has a fixed order
    for (int64_t at = begin; at < end; at += block)
      sums[i][static_cast<size_t>(at / kBlock)] = ctx.kernels().sum_of_squares(g + at, std::min(block, end - at));
  });
  double total = 0;
  for (const std::vector<double>& of_one : sums)
    for (const double sum : of_one) total += sum;
  return std::sqrt(total);
}

double clip_factor(double norm, double max_norm) { return std::min(1.0, max_norm / (norm + 1e-6)); }

double clip_gradient_norm(Context& ctx, std::span<Tensor> gradients, double max_norm) {
  check(max_norm >= 0, ErrorCode::Limit, "clip", "max_norm: expected 0 or more, got ", max_norm);
  const double norm = gradient_norm(ctx, gradients), factor = std::isnan(norm) ? norm : clip_factor(norm, max_norm);
  if (factor == 1) return norm;
  const std::vector<int64_t> sizes = sizes_of(ctx, gradients);
  over_blocks(ctx, sizes, [&](size_t i, int64_t begin, int64_t end) {
    float* g = Tensor(gradients[i]).ptr<float>() + begin;
    ctx.kernels().axpby(g, g, end - begin, static_cast<float>(factor), 0);
  });
  return norm;
}

void clip_gradient_value(Context& ctx, std::span<Tensor> gradients, double limit) {
  check(limit >= 0, ErrorCode::Limit, "clip", "clip_value: expected 0 or more, got ", limit);
  const auto bound = static_cast<float>(limit);
  over_blocks(ctx, sizes_of(ctx, gradients), [&](size_t i, int64_t begin, int64_t end) {
    float* g = Tensor(gradients[i]).ptr<float>() + begin;
    ctx.kernels().clamp(g, g, end - begin, -bound, bound, DType::F32);
  });
}

}  // namespace tenon::train
