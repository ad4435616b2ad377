// Products of few rows, bound by the bytes of the weights: a warp has four columns of the weight and all of k, each lane 16 bytes of each
// column at a time, which stay codes until they are in registers. At most four rows of a group meet a weight that was loaded once.
//
//   column n     | lane 0: 16 bytes | lane 1 | ... | lane 31 | lane 0 | ...      -> sums of 32 lanes, added at the end
#pragma once

#include "bodies/epilogue.h"
#include "bodies/weights.h"

namespace tenon::cuda {

constexpr int kFewThreads = 128, kFewRows = 4, kColumnsOfWarp = 4;
constexpr int kFewColumns = kFewThreads / kWarp * kColumnsOfWarp;  // of a block

struct alignas(16) Bytes16 {
  uint32_t word[4];
};

/// What 16 bytes of a row mean: sum of (x value) over them = scale * (sum of x unpacked - offset * sum of x).
template <class W>
struct Sixteen;
template <>
struct Sixteen<Int4Weight> {
  static constexpr int kElements = 32;
  static TENON_BODY const uint8_t* at(const Int4Weight& w, int64_t n, int64_t k) { return w.p + n * w.at.row_bytes + k / 2; }
  static TENON_BODY void unpack8(float (&v)[8], const Bytes16& b, int i) {
    TENON_UNROLL
    for (int j = 0; j < 8; ++j) v[j] = nibble_above_16(b.word[i], j);
  }
  static TENON_BODY float scale(const Int4Weight& w, int64_t n, int64_t k) { return w.scale(n, k / w.at.group); }
  static TENON_BODY float offset(const Int4Weight& w, int64_t n, int64_t k) { return 16 + w.zero(n, k / w.at.group); }
};
template <>
struct Sixteen<Fp8Weight> {
  static constexpr int kElements = 16;
  static TENON_BODY const uint8_t* at(const Fp8Weight& w, int64_t n, int64_t k) { return w.p + n * w.at.row_bytes + k; }
  static TENON_BODY void unpack8(float (&v)[8], const Bytes16& b, int i) {
    TENON_UNROLL
    for (int j = 0; j < 8; ++j) v[j] = e4m3_to_float(static_cast<uint8_t>(b.word[2 * i + j / 4] >> (j % 4 * 8)));
  }
  static TENON_BODY float scale(const Fp8Weight& w, int64_t n, int64_t k) { return w.scale(n, k / w.at.group); }
  static TENON_BODY float offset(const Fp8Weight&, int64_t, int64_t) { return 0; }
};
template <>
struct Sixteen<PlainWeight<bfloat16>> {
  static constexpr int kElements = 8;
  static TENON_BODY const bfloat16* at(const PlainWeight<bfloat16>& w, int64_t n, int64_t k) { return w.p + n * w.K + k; }
  static TENON_BODY void unpack8(float (&v)[8], const Bytes16& b, int) {
    TENON_UNROLL
    for (int j = 0; j < 8; ++j) v[j] = bits_to_float(j % 2 ? b.word[j / 2] & 0xffff0000u : b.word[j / 2] << 16);
  }
  static TENON_BODY float scale(const PlainWeight<bfloat16>&, int64_t, int64_t) { return 1; }
  static TENON_BODY float offset(const PlainWeight<bfloat16>&, int64_t, int64_t) { return 0; }
};

/// Block index: up to kRows rows of a group; y: 16 columns of the weight (gated: 8, of each warp two gates and what they multiply).
/// Rows of the weight begin at multiples of 16 bytes.
template <class W, int kRows>
struct FewRowsBody {
  GroupedProduct c;
  static constexpr int kThreads = kFewThreads;
  struct Sums {
    float s[kRows][kColumnsOfWarp];
  };

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const RowTile tile = find_tile(c.groups, kRows, block.index);
    if (tile.rows == 0) return;
    const int columns = c.gated ? kFewColumns / 2 : kFewColumns;
    const int64_t n0 = block.index_y * columns;
    const W w(c.groups.weight(tile.group), nullptr, c.gated ? 2 * c.N : c.N, c.K, c.group);
    Lanes<Sums, Block> sums(block);
    block.own([&](int t) { sums_of(t, sums[t].s, w, tile, n0); });
    TENON_UNROLL
    for (int r = 0; r < kRows; ++r)
      TENON_UNROLL
      for (int j = 0; j < kColumnsOfWarp; ++j) block.warp_sum([&](int t) -> float& { return sums[t].s[r][j]; });
    block.own([&](int t) {
      TENON_UNROLL
      for (int r = 0; r < kRows; ++r)
        TENON_UNROLL
        for (int j = 0; j < kColumnsOfWarp; ++j) {
          if (t % kWarp != r * kColumnsOfWarp + j || r >= tile.rows || (c.gated && j >= 2)) continue;
          const int64_t n = n0 + t / kWarp * (c.gated ? 2 : 4) + j;
          if (n < c.N) c.finish(tile.begin + r, n, sums[t].s[r][j], sums[t].s[r][(j + 2) % 4]);
        }
    });
  }

 private:
  TENON_BODY void sums_of(int t, float (&sums)[kRows][kColumnsOfWarp], const W& w, const RowTile& tile, int64_t n0) const {
    using In = Sixteen<W>;
    int64_t row[kColumnsOfWarp];
    TENON_UNROLL
    for (int j = 0; j < kColumnsOfWarp; ++j) {
      row[j] = c.weight_row(n0, t / kWarp * kColumnsOfWarp + j, kColumnsOfWarp);
      TENON_UNROLL
      for (int r = 0; r < kRows; ++r) sums[r][j] = 0;
    }
    for (int64_t k = t % kWarp * In::kElements; k < c.K; k += kWarp * In::kElements) {
      Bytes16 bytes[kColumnsOfWarp];
      TENON_UNROLL
      for (int j = 0; j < kColumnsOfWarp; ++j)  // all asked for before any is used
        bytes[j] = row[j] < 0 ? Bytes16{} : *reinterpret_cast<const Bytes16*>(In::at(w, row[j], k));
      float part[kRows][kColumnsOfWarp] = {}, total[kRows] = {};
      TENON_UNROLL
      for (int i = 0; i < In::kElements / 8; ++i) {
        float x[kRows][8];
        TENON_UNROLL
        for (int r = 0; r < kRows; ++r) {
          if (r < tile.rows) c.load8(x[r], tile.begin + r, k + 8 * i);
          else
            for (float& e : x[r]) e = 0;
          TENON_UNROLL
          for (int e = 0; e < 8; ++e) total[r] += x[r][e];
        }
        TENON_UNROLL
        for (int j = 0; j < kColumnsOfWarp; ++j) {
          float v[8];
          In::unpack8(v, bytes[j], i);
          TENON_UNROLL
          for (int r = 0; r < kRows; ++r)
            TENON_UNROLL
            for (int e = 0; e < 8; ++e) part[r][j] += x[r][e] * v[e];
        }
      }
      TENON_UNROLL
      for (int j = 0; j < kColumnsOfWarp; ++j) {
        if (row[j] < 0) continue;
        const float scale = In::scale(w, row[j], k), offset = In::offset(w, row[j], k);
        TENON_UNROLL
        for (int r = 0; r < kRows; ++r) sums[r][j] += scale * (part[r][j] - offset * total[r]);
      }
    }
  }
};

/// The same for rows and weights of int8: whole numbers, four products to an instruction. K is a multiple of 16.
TENON_BODY int dot_of_4(uint32_t a, uint32_t b, int sum) {
#ifdef __CUDA_ARCH__
  return __dp4a(static_cast<int>(a), static_cast<int>(b), sum);
#else
  for (int i = 0; i < 32; i += 8) sum += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  return sum;
#endif
}

template <int kRows>
struct FewInt8RowsBody {
  GroupedProduct c;  // x: int8
  static constexpr int kThreads = kFewThreads;
  struct Sums {
    int s[kRows][kColumnsOfWarp];
  };
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const RowTile tile = find_tile(c.groups, kRows, block.index);
    if (tile.rows == 0) return;
    const int64_t n0 = block.index_y * (c.gated ? kFewColumns / 2 : kFewColumns);
    const auto *x = static_cast<const int8_t*>(c.x), *w = static_cast<const int8_t*>(c.groups.weight(tile.group));
    const float* w_scale = c.groups.scales(tile.group);
    Lanes<Sums, Block> sums(block);
    block.own([&](int t) {
      Sums& mine = sums[t];
      mine = {};
      for (int64_t k = t % kWarp * 16; k < c.K; k += kWarp * 16) {
        Bytes16 rows[kRows];
        TENON_UNROLL
        for (int r = 0; r < kRows; ++r)
          rows[r] = r < tile.rows ? *reinterpret_cast<const Bytes16*>(x + (tile.begin + r) * c.K + k) : Bytes16{};
        TENON_UNROLL
        for (int j = 0; j < kColumnsOfWarp; ++j) {
          const int64_t row = c.weight_row(n0, t / kWarp * kColumnsOfWarp + j, kColumnsOfWarp);
          const Bytes16 column = row < 0 ? Bytes16{} : *reinterpret_cast<const Bytes16*>(w + row * c.K + k);
          TENON_UNROLL
          for (int r = 0; r < kRows; ++r)
            TENON_UNROLL
            for (int i = 0; i < 4; ++i) mine.s[r][j] = dot_of_4(rows[r].word[i], column.word[i], mine.s[r][j]);
        }
      }
    });
    TENON_UNROLL
    for (int r = 0; r < kRows; ++r)
      TENON_UNROLL
      for (int j = 0; j < kColumnsOfWarp; ++j) block.warp_sum([&](int t) -> int& { return sums[t].s[r][j]; });
    block.own([&](int t) {
      TENON_UNROLL
      for (int r = 0; r < kRows; ++r)
        TENON_UNROLL
        for (int j = 0; j < kColumnsOfWarp; ++j) {
          if (t % kWarp != r * kColumnsOfWarp + j || r >= tile.rows || (c.gated && j >= 2)) continue;
          const int64_t n = n0 + t / kWarp * (c.gated ? 2 : 4) + j, m = tile.begin + r;
          if (n >= c.N) continue;
          const float up = c.gated ? static_cast<float>(sums[t].s[r][(j + 2) % 4]) * (c.x_scale[m] * w_scale[c.N + n]) : 0.0f;
          c.finish(m, n, static_cast<float>(sums[t].s[r][j]) * (c.x_scale[m] * w_scale[n]), up);
        }
    });
  }
};

}  // namespace tenon::cuda
