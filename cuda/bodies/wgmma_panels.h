// What the tiles of wgmma products are filled with, and what becomes of their sums. A block has two warpgroups, each with 64 rows of a tile of
// 128; both read the same columns. Slices of k are copied two steps ahead into four stages:
//
//   step s:   products of slice s (tensor cores, until step s + 1)  |  copies of slice s + 2, where slice s - 2 lay
//
// Sums go through shared memory at the end, so that outputs are written 16 bytes beside each other.
#pragma once

#include "bodies/epilogue.h"
#include "bodies/mma_tile.h"
#include "bodies/tile_order.h"
#include "bodies/wgmma.h"

namespace tenon::cuda {

constexpr int kWgmmaThreads = 2 * kWarpgroup, kWgmmaRows = 128, kWgmmaStages = 4;

/// 128 bytes of `kLines` lines of a matrix, as a thread copies them: 16 bytes of every 32nd line. Lines from kLines / 2 on may lie elsewhere.
template <int kLines>
struct PanelCopy {
  static constexpr int kEach = kLines * 8 / kWgmmaThreads;
  const char* p;     // of the thread's first line
  int64_t jump;      // bytes that lines from kLines / 2 on lie further than their number says
  uint32_t there;    // bit i: line t / 8 + 32 i exists

  /// line_of(i): which line of the matrix line i of the tile is, -1 for none.
  template <class LineOf>
  TENON_BODY void begin(int t, const Lines& m, LineOf&& line_of) {
    there = 0;
    TENON_UNROLL
    for (int i = 0; i < kEach; ++i) there |= line_of(t / 8 + 32 * i) >= 0 ? 1u << i : 0u;
    const int64_t first = line_of(t / 8), half = line_of(kLines / 2 + t / 8);
    p = m.p + (first < 0 ? 0 : first) * m.stride + t % 8 * 16;
    jump = half < 0 || first < 0 ? 0 : (half - first - kLines / 2) * m.stride;
  }
  /// Bytes `at` to at + 128 of the lines into one panel.
  template <class Block>
  TENON_BODY void fetch(Block& block, int t, char* to, const Lines& m, int64_t at) const {
    const int64_t left = m.width - at - t % 8 * 16;
    TENON_UNROLL
    for (int i = 0; i < kEach; ++i) {
      const bool has = left > 0 && (there >> i & 1);
      const char* from = p + at + 32 * i * m.stride + (i >= kEach / 2 ? jump : 0);
      fetch16(block, to + in_panels(kLines, t / 8 + 32 * i, t % 8 * 16), has ? from : m.p, has ? left : 0, m.wide);
    }
  }
};

/// Lines that are k: 64 from line `first` on of `count`, kBytes of each from byte `at` on, into panels.
template <int kBytes, class Block>
TENON_BODY void fetch_across(Block& block, int t, char* to, const Lines& m, int64_t first, int64_t count, int64_t at) {
  constexpr int kChunks = kBytes / 16, kLines = 64;
  const int byte = t % kChunks * 16;
  const int64_t left = m.width - at - byte;
  TENON_UNROLL
  for (int i = 0; i < kLines * kChunks / kWgmmaThreads; ++i) {
    const int k = t / kChunks + i * (kWgmmaThreads / kChunks);
    const bool has = left > 0 && first + k < count;
    fetch16(block, to + in_panels(kLines, k, byte), has ? m.p + (first + k) * m.stride + at + byte : m.p, has ? left : 0, m.wide);
  }
}

/// A step: multiply(stage) asks for a slice's products and commits them, load(t, stage, step) asks for a slice's copies. Whoever calls it waits
/// for the products of the step before.
template <class Block, class Load, class Multiply>
TENON_BODY void wgmma_step(Block& block, int64_t s, int64_t steps, Load&& load, Multiply&& multiply) {
  block.template wait_for_wgmma<1>();  // this slice is there, and all are done with slice s - 2
  multiply(static_cast<int>(s % kWgmmaStages));
  const int64_t next = s + 2;
  if (next < steps) block.own([&](int t) { load(t, static_cast<int>(next % kWgmmaStages), next); });
  block.commit();
}
template <class Block, class Load>
TENON_BODY void wgmma_begin(Block& block, int64_t steps, Load&& load) {
  TENON_UNROLL
  for (int s = 0; s < 2; ++s) {
    if (s < steps) block.own([&](int t) { load(t, s, s); });
    block.commit();
  }
}

/// Floats from one line of sums in shared memory to the next: rows of fragments meet all banks.
constexpr int sums_stride(int columns) { return columns + 8; }

/// The block's sums (128, 8 J) into shared memory, when no product reads it any more.
template <int J>
TENON_BODY void keep_sums(int t, float* to, const float (&c)[J][4]) {
  TENON_UNROLL
  for (int j = 0; j < J; ++j)
    TENON_UNROLL
    for (int half = 0; half < 2; ++half) {
      const float pair[2] = {c[j][2 * half], c[j][2 * half + 1]};
      store(to + (t / kWarp * 16 + row_of_sum(t, 2 * half)) * sums_stride(8 * J) + 8 * j + column_of_sum(t, 0), pair);
    }
}

/// What finish8() makes of a tile's sums (rows, kColumns) from column n0 on; gated: the second half of the columns is what gates multiply.
template <int kColumns>
TENON_BODY void finish_sums(int t, const GroupedProduct& c, const float* sums, const RowTile& tile, int64_t n0) {
  const int width = c.gated ? kColumns / 2 : kColumns, chunks = width / 8;
  for (int i = t; i < tile.rows * chunks; i += kWgmmaThreads) {
    const int row = i / chunks, column = i % chunks * 8;
    if (n0 + column >= c.N) continue;
    const float* from = sums + row * sums_stride(kColumns) + column;
    float sum[8], up[8];
    load8_of(sum, from, 8);
    if (c.gated) load8_of(up, from + kColumns / 2, 8);
    c.finish8(tile.begin + row, n0 + column, sum, up);
  }
}

}  // namespace tenon::cuda
