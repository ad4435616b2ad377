// What a pass that goes on from past_key_values knows about the columns before its own.
#pragma once

#include <string>
#include <vector>

#include "tenon/models/decoding.h"
#include "tenon/nn/attention_trace.h"
#include "tenon/nn/packed_rows.h"

namespace tenon::models {

/// Which of the T new columns hold tokens. Shapes: mask (B, past + T) or undefined -> (B*T).
/// Errors: Error(Shape); Error(Limit) if the mask hides what the past holds, or shows what it lacks.
inline std::vector<uint8_t> mask_of_new(const Tensor& mask, int64_t B, int64_t T, const PastKeyValues& past, const std::string& where) {
  const int64_t before = past.columns();
  if (!mask.defined() || before == 0) return nn::read_mask(mask, B, T);
  const std::vector<uint8_t> all = nn::read_mask(mask, B, before + T);
  std::vector<uint8_t> keep;
  for (int64_t b = 0; b < B; ++b) {
    const auto row = all.begin() + b * (before + T);
    const std::vector<int64_t>& held = past.places(b);
    const auto shown = [&](int64_t place) { return row[place] != 0; };
    check(std::all_of(held.begin(), held.end(), shown) && std::count(row, row + before, 0) == before - static_cast<int64_t>(held.size()),
          ErrorCode::Limit, where, "attention_mask: row ", b, " differs from the mask that past_key_values were computed with");
    keep.insert(keep.end(), row + before, row + before + T);
  }
  return keep;
}

/// A trace for the attention of packed rows to each other and to the past.
inline nn::AttentionTrace attention_trace(const nn::PackedRows& packed, const PastKeyValues* past = nullptr) {
  const int64_t before = past ? past->columns() : 0;
  nn::AttentionTrace trace{.B = packed.B, .T = packed.T, .S = before + packed.T, .query = packed.source, .key = {}};
  for (int64_t b = 0; b < packed.B; ++b) {
    if (packed.start[b] == packed.start[b + 1]) continue;
    if (past) trace.key.insert(trace.key.end(), past->places(b).begin(), past->places(b).end());
    for (int64_t r = packed.start[b]; r < packed.start[b + 1]; ++r) trace.key.push_back(before + packed.source[r] % packed.T);
  }
  return trace;
}

/// A trace for the attention of packed rows to the sources.
inline nn::AttentionTrace cross_trace(const nn::PackedRows& packed, const nn::PackedRows& source) {
  nn::AttentionTrace trace{.B = packed.B, .T = packed.T, .S = source.T, .query = packed.source, .key = {}};
  for (const int64_t i : source.source) trace.key.push_back(i % source.T);
  return trace;
}

}  // namespace tenon::models
