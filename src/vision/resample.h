// The inner loops of resizing: weights as fixed-point numbers, and one row at a time across or down.
#pragma once

#include <cstdint>
#include <vector>

#include "tenon/vision/resize.h"

namespace tenon::vision::detail {

/// Fractional bits of a weight: 8 bits remain for the pixel and 2 for sums that overshoot.
inline constexpr int kWeightBits = 32 - 8 - 2;
/// Bytes that a row passed to a RowKernel must be readable, and a row written by `across` writable, beyond its end.
inline constexpr int kSlack = 16;

/// For each output position, the run of input positions that it averages and their weights.
/// weights = high * 2^15 + low lets 16-bit multiply-add instructions form the exact 32-bit sums.
struct Taps {
  struct Run {
    int first;       // input position
    int count;       // weights used
    int64_t offset;  // into the three arrays; the next run begins at an even distance, after zeros
  };
  std::vector<Run> runs;
  std::vector<int32_t> weights;
  std::vector<int16_t> low, high;
};

/// The taps that map `in` positions to `out`. Errors: Error(Limit) if `in` is too long for the filter; Error(Memory).
Taps make_taps(int in, int out, Filter filter);

/// One instruction set's loops. Both give the same bytes.
struct RowKernel {
  /// y (W',C) from x (W,C): each output pixel averages neighbours in the row.
  void (*across)(uint8_t* y, const uint8_t* x, const Taps& taps, int channels);
  /// y (bytes) from rows x, x + stride, ...: the weighted sum of run.count rows.
  void (*down)(uint8_t* y, const uint8_t* x, size_t stride, const Taps& taps, const Taps::Run& run, size_t bytes);
};

extern const RowKernel kPortableRows;
/// The fastest that this build has for every machine it runs on.
const RowKernel& row_kernel();

}  // namespace tenon::vision::detail
