// Products on the units for float32, exact in it: 64 x 64 tiles, 16 of k at a time, each thread with four rows by four columns. For float32
// rows, whose weights may have any format, and whatever the tensor cores' tiles do not take. Bound by arithmetic.
#pragma once

#include "bodies/epilogue.h"

namespace tenon::cuda {

constexpr int kUnitTile = 64, kUnitDepth = 16, kUnitStride = kUnitTile + 4, kUnitThreads = 256;
constexpr size_t kUnitShared = 2 * kUnitDepth * kUnitStride * sizeof(float);

/// a8(v, line, k) and b8 give eight elements along k, zeros beyond the end; out(row, thread's column, sums): the sums of columns column +
/// 16 j of the tile.
template <class Block, class A, class B, class Out>
TENON_BODY void multiply_on_units(Block& block, int64_t depth, A&& a8, B&& b8, Out&& out) {
  struct Sums {
    float s[4][4];
  };
  Lanes<Sums, Block> sums(block);
  float *a = reinterpret_cast<float*>(block.shared), *b = a + kUnitDepth * kUnitStride;  // [k][line]
  block.own([&](int t) { sums[t] = {}; });
  for (int64_t k0 = 0; k0 < depth; k0 += kUnitDepth) {
    block.each([&](int t) {
      const int line = t % 128 / 2, k = t % 2 * 8;
      float v[8];
      if (t < 128) a8(v, line, k0 + k);
      else b8(v, line, k0 + k);
      float* to = (t < 128 ? a : b) + k * kUnitStride + line;
      TENON_UNROLL
      for (int i = 0; i < 8; ++i) to[i * kUnitStride] = v[i];
    });
    block.each([&](int t) {
      Sums& mine = sums[t];
      const int row = t / 16 * 4, column = t % 16;
      TENON_UNROLL
      for (int k = 0; k < kUnitDepth; ++k) {
        float x[4], w[4];
        TENON_UNROLL
        for (int i = 0; i < 4; ++i) x[i] = a[k * kUnitStride + row + i], w[i] = b[k * kUnitStride + column + 16 * i];
        TENON_UNROLL
        for (int i = 0; i < 4; ++i)
          TENON_UNROLL
          for (int j = 0; j < 4; ++j) mine.s[i][j] += x[i] * w[j];
      }
    });
  }
  block.own([&](int t) {
    TENON_UNROLL
    for (int i = 0; i < 4; ++i) out(t / 16 * 4 + i, t % 16, sums[t].s[i]);
  });
}

/// Block index: tile of rows; y: 64 columns of the weight.
template <class W, bool kTransposed>
struct UnitTileBody {
  GroupedProduct c;
  static constexpr int kThreads = kUnitThreads;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const RowTile tile = find_tile(c.groups, kUnitTile, block.index);
    if (tile.rows == 0) return;
    const int columns = c.gated ? kUnitTile / 2 : kUnitTile;
    const int64_t n0 = block.index_y * columns, lines = c.gated ? 2 * c.N : c.N;
    const W w(c.groups.weight(tile.group), c.groups.scales(tile.group), kTransposed ? c.K : lines, kTransposed ? lines : c.K, c.group);
    multiply_on_units(
        block, c.K,
        [&](float(&v)[8], int line, int64_t k) {
          if (line < tile.rows) return c.load8(v, tile.begin + line, k);
          for (float& e : v) e = 0;
        },
        [&](float(&v)[8], int line, int64_t k) {
          const int64_t n = c.weight_row(n0, line, kUnitTile);
          if (n < 0) {
            for (float& e : v) e = 0;
          } else if constexpr (kTransposed) {
            for (int i = 0; i < 8; ++i) v[i] = k + i < c.K ? to_float(w.p[(k + i) * c.N + n]) : 0.0f;
          } else {
            w.load8(v, n, k);
          }
        },
        [&](int row, int column, const float(&s)[4]) {
          if (row >= tile.rows) return;
          TENON_UNROLL
          for (int j = 0; j < 4; ++j) {
            if (c.gated && j >= 2) break;
            const int64_t n = n0 + column + 16 * j;
            if (n < c.N) c.finish(tile.begin + row, n, s[j], c.gated ? s[(j + 2) % 4] : 0.0f);
          }
        });
  }
};

/// dw[g] (N,K) of float32 factors. Block index: g * tiles + tile of N; y: tile of K.
struct UnitGradBody {
  GroupedGradCall c;
  int64_t tiles;
  static constexpr int kThreads = kUnitThreads;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t g = block.index / tiles, n0 = block.index % tiles * kUnitTile, k0 = block.index_y * kUnitTile;
    const int64_t begin = c.start[g], rows = c.start[g + 1] - begin;
    const float *a = static_cast<const float*>(c.a), *b = static_cast<const float*>(c.b);
    float* dw = c.dw[g];
    const auto column = [&](float(&v)[8], const float* from, int64_t width, int64_t at, int64_t m) {
      for (int i = 0; i < 8; ++i) v[i] = at < width && m + i < rows ? from[(begin + m + i) * width + at] : 0.0f;
    };
    multiply_on_units(
        block, rows, [&](float(&v)[8], int line, int64_t m) { column(v, a, c.N, n0 + line, m); },
        [&](float(&v)[8], int line, int64_t m) { column(v, b, c.K, k0 + line, m); },
        [&](int row, int col, const float(&s)[4]) {
          for (int j = 0; j < 4; ++j) {
            const int64_t n = n0 + row, k = k0 + col + 16 * j;
            if (n < c.N && k < c.K) dw[n * c.K + k] = s[j] + (c.accumulate ? dw[n * c.K + k] : 0.0f);
          }
        });
  }
};

}  // namespace tenon::cuda
