// Reading packed weights (N,K), eight neighbours of a row at a time. How each format lies on a device:
//
//   float32, bfloat16    the plain matrix
//   int8                 the plain matrix; scales (N) apart
//   int4, fp8            codes, rows of whole 16 bytes | scales (N,G) float32 | int4: zero points (N,G) bytes      G = ceil(K / group)
//                        int4: columns 2i and 2i + 1 are the low and the high half of byte i
#pragma once

#include "block.h"

namespace tenon::cuda {

/// Where the parts of an int4 or fp8 weight lie.
struct GroupedLayout {
  int64_t N, K, group, G, row_bytes;
  bool int4;
  TENON_HOST_BODY GroupedLayout(WeightFormat format, int64_t rows, int64_t columns, int64_t of_group)
      : N(rows), K(columns), group(of_group), G((columns + of_group - 1) / of_group), int4(format == WeightFormat::Int4) {
    const int64_t bytes = int4 ? (columns + 1) / 2 : columns;
    row_bytes = (bytes + 15) / 16 * 16;
  }
  TENON_HOST_BODY int64_t scales_at() const { return N * row_bytes; }
  TENON_HOST_BODY int64_t zeros_at() const { return scales_at() + N * G * 4; }
  TENON_HOST_BODY int64_t bytes() const { return zeros_at() + (int4 ? N * G : 0); }
};

/// A nibble as 16 + its value: its four bits become the fraction's highest. One instruction where a conversion would be a slow one.
TENON_BODY float nibble_above_16(uint32_t word, int i) {
  const uint32_t bits = (i < 5 ? word << (19 - 4 * i) : word >> (4 * i - 19)) & 0x00780000u;
  return bits_to_float(bits | 0x41800000u);
}

/// v = w[n, k .. k + 8], 0 beyond K. Each format's reader is made of the weight's address once.
template <class E>
struct PlainWeight {
  const E* p;
  int64_t N, K;
  static constexpr bool kPlain = true;
  using Element = E;
  TENON_BODY PlainWeight(const void* w, const float*, int64_t rows, int64_t columns, int64_t) : p(static_cast<const E*>(w)), N(rows), K(columns) {}
  TENON_BODY void load8(float (&v)[8], int64_t n, int64_t k) const {
    TENON_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = k + i < K ? to_float(p[n * K + k + i]) : 0.0f;
  }
};

struct Int4Weight {
  GroupedLayout at;
  const uint8_t* p;
  TENON_BODY Int4Weight(const void* w, const float*, int64_t rows, int64_t columns, int64_t group)
      : at(WeightFormat::Int4, rows, columns, group), p(static_cast<const uint8_t*>(w)) {}
  TENON_BODY float scale(int64_t n, int64_t g) const { return reinterpret_cast<const float*>(p + at.scales_at())[n * at.G + g]; }
  TENON_BODY float zero(int64_t n, int64_t g) const { return static_cast<float>(p[at.zeros_at() + n * at.G + g]); }
  /// k is a multiple of 8, and so is a group: eight columns have one scale.
  TENON_BODY void load8(float (&v)[8], int64_t n, int64_t k) const {
    const int64_t g = k / at.group;
    const uint32_t word = *reinterpret_cast<const uint32_t*>(p + n * at.row_bytes + k / 2);
    const float s = scale(n, g), zero_above_16 = 16 + zero(n, g);
    TENON_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = k + i < at.K ? (nibble_above_16(word, i) - zero_above_16) * s : 0.0f;
  }
};

struct Fp8Weight {
  GroupedLayout at;
  const uint8_t* p;
  TENON_BODY Fp8Weight(const void* w, const float*, int64_t rows, int64_t columns, int64_t group)
      : at(WeightFormat::Fp8, rows, columns, group), p(static_cast<const uint8_t*>(w)) {}
  TENON_BODY float scale(int64_t n, int64_t g) const { return reinterpret_cast<const float*>(p + at.scales_at())[n * at.G + g]; }
  TENON_BODY void load8(float (&v)[8], int64_t n, int64_t k) const {
    const Pack<uint8_t, 8> codes = *reinterpret_cast<const Pack<uint8_t, 8>*>(p + n * at.row_bytes + k);
    const float s = scale(n, k / at.group);
    TENON_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = k + i < at.K ? e4m3_to_float(codes.e[i]) * s : 0.0f;
  }
};

}  // namespace tenon::cuda
