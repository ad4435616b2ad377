// Padded batches without their padding: which of the B*T positions are computed, and how they come back.
#pragma once

#include <cfloat>
#include <span>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/ops/elementwise.h"
#include "tenon/ops/embedding.h"

namespace tenon::nn {

/// The rows of a batch laid out one sequence after another.
///
///   mask 1 1 1 0      sequence 0 -> rows 0 1 2        source = 0 1 2 4 5
///        1 1 0 0      sequence 1 -> rows 3 4          start  = 0 3 5
struct PackedRows {
  int64_t B = 0, T = 0;
  std::vector<int64_t> source;  // row -> position in (B*T)
  std::vector<int64_t> start;   // (B+1)
  std::vector<float> key_bias;  // one per row, or empty: see pack_rows

  int64_t size() const { return static_cast<int64_t>(source.size()); }
  bool dense() const { return size() == B * T; }
  /// The rows of each sequence.
  std::vector<int64_t> counts() const {
    std::vector<int64_t> n;
    for (int64_t b = 0; b < B; ++b) n.push_back(start[b + 1] - start[b]);
    return n;
  }
  /// The row of sequence b's position t. Errors: none; t must be one of its rows.
  int64_t row_of(int64_t b, int64_t t) const {
    int64_t r = start[b];
    while (source[r] != b * T + t) ++r;
    return r;
  }
};

/// Reads a mask's elements as "is this position real". Errors: Error(Shape) if it is not (B,T), Error(Type) for other dtypes.
inline std::vector<uint8_t> read_mask(const Tensor& mask, int64_t B, int64_t T) {
  std::vector<uint8_t> keep(static_cast<size_t>(B * T), 1);
  if (!mask.defined()) return keep;
  check(mask.shape() == Shape{B, T}, ErrorCode::Shape, "attention_mask", "expected ", Shape{B, T}, ", got ", mask.shape());
  const Tensor as_float = mask.to(Device{}).to(DType::F32);
  const float* m = as_float.data<float>();
  for (size_t i = 0; i < keep.size(); ++i) keep[i] = m[i] != 0;
  return keep;
}

/// Chooses the rows. `needed` (B) names for each sequence the position that a pooler reads (position 0 if empty). Where that position
/// is itself padding, the whole sequence is kept and its padded keys get a bias of -FLT_MAX, which is what Transformers computes.
inline PackedRows pack_rows(const Tensor& mask, int64_t B, int64_t T, std::span<const int64_t> needed = {}) {
  const std::vector<uint8_t> keep = read_mask(mask, B, T);
  PackedRows rows{.B = B, .T = T, .source = {}, .start = {0}, .key_bias = {}};
  bool biased = false;
  for (int64_t b = 0; b < B && T > 0; ++b) biased |= !keep[b * T + (needed.empty() ? 0 : needed[b])];
  for (int64_t b = 0; b < B; ++b) {
    const bool whole = T > 0 && !keep[b * T + (needed.empty() ? 0 : needed[b])];
    for (int64_t i = b * T; i < (b + 1) * T; ++i) {
      if (!whole && !keep[i]) continue;
      rows.source.push_back(i);
      if (biased) rows.key_bias.push_back(keep[i] ? 0.0f : -FLT_MAX);
    }
    rows.start.push_back(rows.size());
  }
  return rows;
}

/// The rows from each sequence's first real position to its last, so that distances between them stay; holes among them are hidden by a
/// bias. Sequences named in `whole` (B, may be empty) keep all their rows.
inline PackedRows pack_spans(const Tensor& mask, int64_t B, int64_t T, std::span<const uint8_t> whole = {}) {
  const std::vector<uint8_t> keep = read_mask(mask, B, T);
  PackedRows rows{.B = B, .T = T, .source = {}, .start = {0}, .key_bias = {}};
  bool biased = false;
  for (int64_t b = 0; b < B; ++b) {
    int64_t first = b * T, end = (b + 1) * T;
    if (whole.empty() || !whole[b]) {
      while (first < end && !keep[first]) ++first;
      while (end > first && !keep[end - 1]) --end;
    }
    for (int64_t i = first; i < end; ++i) {
      rows.source.push_back(i);
      rows.key_bias.push_back(keep[i] ? 0.0f : -FLT_MAX);
      biased |= !keep[i];
    }
    rows.start.push_back(rows.size());
  }
  if (!biased) rows.key_bias.clear();
  return rows;
}

/// The packed rows of a (B,T,C) or (B*T,C) tensor. Shapes: -> (rows, C).
inline Tensor select(Context& ctx, const Tensor& x, const PackedRows& rows) {
  const Tensor flat = ops::reshape(ctx, x, {rows.B * rows.T, x.size(-1)});
  return rows.dense() ? flat : ops::gather_rows(ctx, flat, rows.source);
}

/// Packed rows back at their places, float32, zeros where there is padding. Shapes: x (rows, C) -> (B,T,C).
inline Tensor restore(Context& ctx, const Tensor& x, const PackedRows& rows) {
  const Tensor y = ops::cast(ctx, x, DType::F32);
  const Tensor full = rows.dense() ? y : ops::scatter_rows(ctx, y, rows.source, rows.B * rows.T);
  return ops::reshape(ctx, full, {rows.B, rows.T, x.size(-1)});
}

}  // namespace tenon::nn
