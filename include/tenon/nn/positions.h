// Where a token stands: sinusoids that are added to embeddings, and biases that depend on the distance of two tokens.
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/nn/module.h"
#include "tenon/ops/elementwise.h"
#include "tenon/ops/embedding.h"

namespace tenon::nn {

/// Sines in the first half of the columns, cosines in the second; column j of a half turns by 10000^(-j / steps) a position.
/// A negative position gives zeros.
/// Shapes: n positions -> y (n, width) float32 in memory of the host, width even. Units: `steps` is half the width (Marian) or one less (M2M100).
/// Source: Vaswani et al. 2017, section 3.5; MarianSinusoidalPositionalEmbedding, M2M100SinusoidalPositionalEmbedding of Transformers.
inline void write_sinusoids(Context& host, std::span<const int64_t> positions, int64_t width, double steps, float* y) {
  const int64_t half = width / 2;
  std::vector<float> turn(static_cast<size_t>(half));
  for (int64_t j = 0; j < half; ++j)
    turn[static_cast<size_t>(j)] = static_cast<float>(std::exp(-static_cast<double>(j) * std::log(10000.0) / steps));
  host.over_rows(static_cast<int64_t>(positions.size()), 40 * width, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t position = positions[static_cast<size_t>(i)];
      for (int64_t j = 0; j < half; ++j) {
        const float angle = static_cast<float>(position) * turn[static_cast<size_t>(j)];
        y[i * width + j] = position < 0 ? 0 : std::sin(angle);
        y[i * width + half + j] = position < 0 ? 0 : std::cos(angle);
      }
    }
  });
}
/// The same as a tensor where the Context computes. Shapes: -> (n, width) float32.
inline Tensor sinusoids(Context& ctx, std::span<const int64_t> positions, int64_t width, double steps) {
  HostContext host(ctx);
  Tensor y = host->empty({static_cast<int64_t>(positions.size()), width}, DType::F32);
  write_sinusoids(*host, positions, width, steps, y.data<float>());
  return y.to(ctx.device());
}

/// T5's relative positions: the distance from a query to a key falls into a bucket, and each head has one number for it. Half of the
/// buckets are single distances, the others grow with their logarithm up to max_distance.
/// Source: Raffel et al. 2020, section 2.1; T5Attention._relative_position_bucket of Transformers.
class RelativeBias {
 public:
  RelativeBias() = default;
  /// both_ways: keys after the query have buckets of their own (encoders); else all of them share that of distance 0.
  RelativeBias(int64_t heads, int64_t buckets, int64_t max_distance, bool both_ways)
      : heads_(heads), buckets_(buckets), max_distance_(max_distance), both_ways_(both_ways) {}

  /// The bucket of key place minus query place.
  int64_t bucket(int64_t distance) const {
    const int64_t count = both_ways_ ? buckets_ / 2 : buckets_, exact = count / 2;
    const int64_t first = both_ways_ && distance > 0 ? count : 0;
    const int64_t away = both_ways_ ? std::abs(distance) : std::max<int64_t>(0, -distance);
    if (away < exact) return first + away;
    // In float32 as the reference computes it: a boundary may fall to either side.
    const float share = std::log(static_cast<float>(away) / static_cast<float>(exact)) /
                        static_cast<float>(std::log(static_cast<double>(max_distance_) / static_cast<double>(exact)));
    return first + std::min(count - 1, exact + static_cast<int64_t>(share * static_cast<float>(count - exact)));
  }

  /// The biases of all distances below `reach`, as attention takes them with distance_zero = reach - 1.
  /// Shapes: -> (H, 2 * reach - 1) float32.
  Tensor table(Context& ctx, int64_t reach) const {
    std::vector<int64_t> ids;
    for (int64_t d = 1 - reach; d < reach; ++d) ids.push_back(bucket(d));
    return ops::transpose(ctx, ops::embedding(ctx, weight, ids, DType::F32, "bucket"));
  }
  void visit(const std::string& name, Visitor& v) { v.parameter(name + ".weight", weight, {buckets_, heads_}, {}); }

  Tensor weight;  // (buckets, H)

 private:
  int64_t heads_ = 1, buckets_ = 32, max_distance_ = 128;
  bool both_ways_ = true;
};

}  // namespace tenon::nn
