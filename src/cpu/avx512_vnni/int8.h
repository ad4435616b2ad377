// The packed int8 weight, the quantised rows and how they lie in memory; shared by the files of this folder.
//
// A weight (N,K) is cut into panels of 48 output columns (the last one of 16 or 32). Inside a panel four consecutive k of one column
// lie together, the unit of vpdpbusd:
//
//     k 0..3 of column 0 | k 0..3 of column 1 | ... | k 0..3 of column 47
//     k 4..7 of column 0 | ...
//
// Bytes are unsigned, q + 128, because the instruction multiplies unsigned by signed bytes and the rows should be the signed side (so
// that they load as broadcasts). x . (q + 128) is too large by 128 * sum(x), which quantize_row remembers as the row's offset.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tenon/core/kernels.h"

namespace tenon::avx512_vnni {

constexpr int kPanel = 48;    // columns: 3 registers, so that 8 rows x 3 accumulators + 3 weights + 1 broadcast fit into 32
constexpr int kLanes = 16;    // columns of a register
constexpr int kRowBlock = 8;  // rows of a register tile
constexpr int kDepth = 16;    // K is padded to this many

constexpr int64_t round_up(int64_t v, int64_t multiple) { return (v + multiple - 1) / multiple * multiple; }
constexpr int64_t padded_k(int64_t K) { return round_up(K, kDepth); }
constexpr int64_t padded_n(int64_t N) { return round_up(N, kLanes); }
/// Bytes between quantised rows: an odd number of cache lines, or eight rows of K = 4096 would share one set of the first cache.
constexpr int64_t row_stride(int64_t K) { return ((K + 63) / 64 | 1) * 64; }

struct QuantRows {
  int8_t* q = nullptr;        // (M, row_stride), zero beyond K
  float* scale = nullptr;     // (M)
  int32_t* offset = nullptr;  // (M) 128 * sum of the row
};
size_t quant_rows_bytes(int64_t M, int64_t K);
QuantRows quant_rows_at(void* scratch, int64_t M, int64_t K);
void quantize_rows(const QuantRows& rows, const void* x, DType type, int64_t begin, int64_t end, int64_t K);

size_t packed_bytes(int64_t N, int64_t K);
void pack(void* packed, float* scale, const void* w, DType w_type, int64_t N, int64_t K, int threads);
void unpack(float* w, const void* packed, const float* scale, int64_t N, int64_t K);
void linear(const LinearCall& call);

}  // namespace tenon::avx512_vnni
