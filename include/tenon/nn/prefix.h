// Keys and values that stand before those of every sequence in every layer: prefix tuning.
#pragma once

#include <utility>
#include <vector>

#include "tenon/ops/columns.h"
#include "tenon/ops/elementwise.h"
#include "tenon/ops/embedding.h"

namespace tenon::nn {

/// n trained rows, the same before each sequence; gradients reach them.
///
///   own  a a b b b    start 0 2 5    ->    P P a a | P P b b b    k_start 0 4 9
class Prefix {
 public:
  /// Shapes: values (n, layers * 2 * width) float32, for each layer its keys, then its values.
  /// Errors: Error(Shape), Error(Type).
  Prefix(Tensor values, const std::vector<int64_t>& start, int64_t layers, int64_t width) : values_(std::move(values)), width_(width) {
    check(values_.rank() == 2 && values_.size(1) == layers * 2 * width, ErrorCode::Shape, "prefix", "expected (n, ", layers, " * 2 * ", width,
          "), got ", values_.describe());
    check(values_.dtype() == DType::F32, ErrorCode::Type, "prefix", "expected float32, got ", name_of(values_.dtype()));
    k_start.push_back(0);
    for (size_t b = 0; b + 1 < start.size(); ++b) {
      for (int64_t i = 0; i < size(); ++i) row_.push_back(i), place_.push_back(k_start.back() + i);
      for (int64_t r = start[b]; r < start[b + 1]; ++r) own_.push_back(k_start.back() + size() + r - start[b]);
      k_start.push_back(k_start.back() + size() + start[b + 1] - start[b]);
    }
  }

  int64_t size() const { return values_.size(0); }
  /// The keys, or the values, of a layer with those before them. Shapes: own (N,width) -> (k_start.back(), width).
  Tensor before(Context& ctx, int64_t layer, bool value, const Tensor& own) const {
    const Tensor rows = ops::cast(ctx, part(ctx, layer, value), own.dtype());
    return ops::add(ctx, ops::scatter_rows(ctx, own, own_, k_start.back()),
                    ops::scatter_rows(ctx, ops::gather_rows(ctx, rows, row_), place_, k_start.back()));
  }
  /// Those before each sequence alone. Shapes: -> (sequences * n, width) float32.
  Tensor alone(Context& ctx, int64_t layer, bool value) const { return ops::gather_rows(ctx, part(ctx, layer, value), row_); }
  /// What is added to the scores of all keys, given that of the sequences' own.
  std::vector<float> key_bias(const std::vector<float>& of_own) const {
    if (of_own.empty()) return {};
    std::vector<float> all(static_cast<size_t>(k_start.back()), 0.0f);
    for (size_t r = 0; r < of_own.size(); ++r) all[static_cast<size_t>(own_[r])] = of_own[r];
    return all;
  }

  std::vector<int64_t> k_start;  // where the keys of each sequence begin

 private:
  Tensor part(Context& ctx, int64_t layer, bool value) const { return ops::columns(ctx, values_, (2 * layer + value) * width_, width_); }

  Tensor values_;
  int64_t width_;
  std::vector<int64_t> own_, row_, place_;  // where own rows go; which row of the prefix goes where
};

}  // namespace tenon::nn
