// Products of e4m3 factors on tensor cores: the tiles of mma_tile.h, whose sums are of one block of k at a time. At its end they are multiplied by
// the scales of their row and column and added to the totals, in float32.
//
//   k   |  block 0  |  block 1  |  block 2  |        total (m,n) = sum over blocks of a_scale (m, block) b_scale (n, block) sum of codes
//
// Tensor cores add fewer bits than float32 has; sums that are short and brought to float32 keep what would be lost.
// Source: DeepSeek-V3 technical report, section 3.3.
#pragma once

#include "bodies/mma_tile.h"

namespace tenon::cuda {

/// The scales of a factor: of row r and element k that of block (r / rows, k / block).
struct Fp8Scales {
  const float* p;
  int64_t rows, block, G;
  TENON_BODY int line(int64_t row) const { return static_cast<int>(row / rows * G); }  // where a row's scales begin
  TENON_BODY bool ends(int64_t k) const { return k % block == 0; }
};

/// Block index: tile of rows; y: 128 columns of the weight. c.x: codes (M,K). Weights are codes whose rows lie w_stride bytes apart; their scales
/// are `w`, or if w.p is null behind the codes of each group's weight, w_scales_at bytes from its beginning.
template <int kTall>
struct Fp8TileBody {
  GroupedProduct c;
  Fp8Scales x, w;
  int64_t w_stride, w_scales_at;
  static constexpr int kThreads = kMmaThreads, kRows = 32 * kTall, kBytesA = kRows * kLineStride, kBytesB = kMmaColumns * kLineStride;
  static constexpr size_t kShared = kMmaStages * static_cast<size_t>(kBytesA + kBytesB);

  struct Totals {
    float c[kTall][4][4];
    int row[2 * kTall], column[8];  // where the scales begin of the rows and columns whose sums the thread has
  };

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const RowTile tile = find_tile(c.groups, kRows, block.index);
    if (tile.rows == 0) return;
    const int64_t n0 = block.index_y * (c.gated ? kMmaColumns / 2 : kMmaColumns);
    const char* weight = static_cast<const char*>(c.groups.weight(tile.group));
    const float* w_scale = w.p ? w.p : reinterpret_cast<const float*>(weight + w_scales_at);
    const Lines from_x(static_cast<const char*>(c.x) + tile.begin * c.K, c.K, c.K), from_w(weight, c.K, w_stride);
    const bool wide_w = reinterpret_cast<uintptr_t>(weight) % 16 == 0 && w_stride % 16 == 0;  // what lies behind K is not read
    char *a = block.shared, *b = a + kMmaStages * kBytesA;

    MmaSums<float8, Block, kTall, false, false> sums(block);
    Lanes<Totals, Block> totals(block);
    block.own([&](int t) { begin(totals[t], t, tile, n0); });
    int64_t step = 0;
    pipeline(
        block, (c.K + kMmaBytes - 1) / kMmaBytes,
        [&](int t, int stage, int64_t at) {
          from_x.along(block, t, a + stage * kBytesA, kRows, at * kMmaBytes, [&](int line) { return line < tile.rows ? int64_t{line} : int64_t{-1}; });
          Lines lines = from_w;
          lines.wide = wide_w;
          lines.along(block, t, b + stage * kBytesB, kMmaColumns, at * kMmaBytes, [&](int line) { return c.weight_row(n0, line, 32); });
        },
        [&](int stage) {
          TENON_UNROLL
          for (int k = 0; k < kMmaBytes; k += 32) {
            const int64_t at = step * kMmaBytes + k, end = at + 32 < c.K ? at + 32 : c.K;
            if (at >= c.K) continue;
            sums.part(block, a + stage * kBytesA, b + stage * kBytesB, k);
            if (x.ends(end) || w.ends(end) || end == c.K)
              block.own([&](int t) { add(totals[t], sums.sums[t].c, at / x.block, w_scale, at / w.block); });
          }
          ++step;
        });
    block.own([&](int t) { write(t, totals[t].c, tile, n0); });
  }

 private:
  TENON_BODY void begin(Totals& mine, int t, const RowTile& tile, int64_t n0) const {
    mine = {};
    TENON_UNROLL
    for (int i = 0; i < 2 * kTall; ++i) {
      const int row = t / kWarp % 2 * 16 * kTall + 8 * i + t % kWarp / 4;
      mine.row[i] = x.line(row < tile.rows ? tile.begin + row : tile.begin);
    }
    TENON_UNROLL
    for (int j = 0; j < 8; ++j) {
      const int64_t n = c.weight_row(n0, t / kWarp / 2 * 32 + j / 2 * 8 + t % 4 * 2 + j % 2, 32);
      mine.column[j] = w.line(n < 0 ? 0 : n);
    }
  }
  template <class Sums>
  TENON_BODY void add(Totals& mine, Sums& sums, int64_t x_block, const float* w_scale, int64_t w_block) const {
    float of_column[8];
    TENON_UNROLL
    for (int j = 0; j < 8; ++j) of_column[j] = w_scale[mine.column[j] + w_block];
    TENON_UNROLL
    for (int i = 0; i < kTall; ++i)
      TENON_UNROLL
      for (int half = 0; half < 2; ++half) {
        const float of_row = x.p[mine.row[2 * i + half] + x_block];
        TENON_UNROLL
        for (int j = 0; j < 4; ++j)
          TENON_UNROLL
          for (int e = 0; e < 2; ++e) {
            float& sum = sums[i][j][2 * half + e];
            mine.c[i][j][2 * half + e] += sum * (of_row * of_column[2 * j + e]);
            sum = 0;
          }
      }
  }
  TENON_BODY void write(int t, const float (&sums)[kTall][4][4], const RowTile& tile, int64_t n0) const {
    TENON_UNROLL
    for (int i = 0; i < kTall; ++i)
      TENON_UNROLL
      for (int j = 0; j < 4; ++j)
        TENON_UNROLL
        for (int e = 0; e < 4; ++e) {
          if (c.gated && j >= 2) continue;
          const int row = t / kWarp % 2 * 16 * kTall + 16 * i + row_of_sum(t, e);
          const int64_t n = n0 + t / kWarp / 2 * (c.gated ? 16 : 32) + 8 * j + column_of_sum(t, e);
          if (row < tile.rows && n < c.N) c.finish(tile.begin + row, n, sums[i][j][e], sums[i][(j + 2) % 4][e]);
        }
  }
};

}  // namespace tenon::cuda
