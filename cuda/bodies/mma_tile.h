// Products on tensor cores: tiles of rows by 128 columns, 64 bytes of k at a time, copied into shared memory three steps ahead of their use.
// Eight warps, two along the rows by four along the columns: a warp has 16 kTall rows by 32 columns of sums in registers. Bound by
// arithmetic where there are many rows, by the weights' bytes where there are few.
#pragma once

#include <type_traits>

#include "bodies/epilogue.h"
#include "bodies/fragments.h"
#include "bodies/weights.h"

namespace tenon::cuda {

constexpr int kMmaThreads = 256, kMmaColumns = 128, kMmaStages = 3, kMmaBytes = 64;
constexpr int kLineStride = kMmaBytes + 16;  // lines 20 words apart: eight of them meet all 32 banks
/// Lines along k that hold `width` elements of 16 bits: likewise.
constexpr int across_stride(int width) { return 2 * width + 16; }

/// 16 bytes of which `bytes` are read, the others 0.
template <class Block>
TENON_BODY void fetch16(Block& block, char* to, const void* from, int64_t bytes, bool wide) {
  if (wide) return block.copy_later(to, from, bytes <= 0 ? 0 : bytes < 16 ? static_cast<int>(bytes) : 16);
  for (int i = 0; i < 16; ++i) to[i] = i < bytes ? static_cast<const char*>(from)[i] : char{0};
}

/// Part of a matrix as a tile: lines of `width` bytes, stride apart. Copies what a step needs of it.
struct Lines {
  const char* p;
  int64_t stride, width;  // bytes
  bool wide;              // every 16 bytes of it begin at a multiple of 16
  TENON_BODY Lines(const void* from, int64_t bytes, int64_t of_line)
      : p(static_cast<const char*>(from)), stride(of_line), width(bytes), wide(reinterpret_cast<uintptr_t>(from) % 16 == 0 && of_line % 16 == 0 && bytes % 16 == 0) {}
  /// Lines beside each other along k: `lines` of 64 bytes from byte `at` on; line_of(i) is -1 where there is none.
  template <class Block, class LineOf>
  TENON_BODY void along(Block& block, int t, char* to, int lines, int64_t at, LineOf&& line_of) const {
    for (int i = t; i < lines * 4; i += kMmaThreads) {
      const int64_t line = line_of(i / 4), from = at + i % 4 * 16;
      const bool there = line >= 0 && from < width;
      fetch16(block, to + i / 4 * kLineStride + i % 4 * 16, there ? p + line * stride + from : p, there ? width - from : 0, wide);
    }
  }
  /// Lines that are k: 32 from line `first` on of `count`, `bytes` of each from byte `at` on.
  template <class Block>
  TENON_BODY void across(Block& block, int t, char* to, int64_t first, int64_t count, int64_t at, int bytes) const {
    for (int i = t; i < 32 * (bytes / 16); i += kMmaThreads) {
      const int k = i / (bytes / 16);
      const int64_t from = at + i % (bytes / 16) * 16;
      const bool there = first + k < count && from < width;
      fetch16(block, to + k * (bytes + 16) + i % (bytes / 16) * 16, there ? p + (first + k) * stride + from : p, there ? width - from : 0, wide);
    }
  }
};

/// The sums of a block, and a step of them over tiles in shared memory.
template <class E, class Block, int kTall, bool kAcrossA, bool kAcrossB>
struct MmaSums {
  using Sum = std::conditional_t<std::is_same_v<E, int8_t>, int, float>;
  struct Held {
    Sum c[kTall][4][4];
  };
  struct A {
    uint32_t r[kTall][4];
  };
  struct B {
    uint32_t r[2][4];
  };
  static constexpr int kRows = 32 * kTall;
  Lanes<Held, Block> sums;
  Lanes<A, Block> a;
  Lanes<B, Block> b;

  TENON_BODY explicit MmaSums(Block& block) : sums(block), a(block), b(block) {
    block.own([&](int t) { sums[t] = {}; });
  }
  static TENON_BODY int row_of(int t) { return t / kWarp % 2 * 16 * kTall; }
  static TENON_BODY int column_of(int t) { return t / kWarp / 2 * 32; }

  TENON_BODY void step(Block& block, const char* a_tile, const char* b_tile) {
    TENON_UNROLL
    for (int k = 0; k < kMmaBytes; k += 32) part(block, a_tile, b_tile, k);
  }
  /// 32 bytes of a step, from byte k on.
  TENON_BODY void part(Block& block, const char* a_tile, const char* b_tile, int k) {
    TENON_UNROLL
    for (int i = 0; i < kTall; ++i)
      block.template load_matrices<kAcrossA>([&](int t) { return a[t].r[i]; },
                                             [&](int t) {
                                               if constexpr (kAcrossA) return address_a_transposed(a_tile, across_stride(kRows), row_of(t) + 16 * i, k / 2, t);
                                               else return address_a(a_tile, kLineStride, row_of(t) + 16 * i, k, t);
                                             });
    TENON_UNROLL
    for (int j = 0; j < 2; ++j)
      block.template load_matrices<kAcrossB>([&](int t) { return b[t].r[j]; },
                                             [&](int t) {
                                               if constexpr (kAcrossB) return address_b_transposed(b_tile, across_stride(kMmaColumns), column_of(t) + 16 * j, k / 2, t);
                                               else return address_b(b_tile, kLineStride, column_of(t) + 16 * j, k, t);
                                             });
    TENON_UNROLL
    for (int i = 0; i < kTall; ++i)
      TENON_UNROLL
      for (int j = 0; j < 4; ++j)
        block.template mma<E>([&](int t) { return sums[t].c[i][j]; }, [&](int t) { return a[t].r[i]; },
                              [&](int t) { return b[t].r[j / 2] + j % 2 * 2; });
  }
};

/// load(t, stage, step) asks for a step's tiles, multiply(stage) uses them.
template <class Block, class Load, class Multiply>
TENON_BODY void pipeline(Block& block, int64_t steps, Load&& load, Multiply&& multiply) {
  for (int s = 0; s < kMmaStages - 1; ++s) {
    if (s < steps) block.own([&](int t) { load(t, s, s); });
    block.commit();
  }
  for (int64_t s = 0; s < steps; ++s) {
    block.template wait<kMmaStages - 2>();
    const int64_t next = s + kMmaStages - 1;
    if (next < steps) block.own([&](int t) { load(t, static_cast<int>(next % kMmaStages), next); });
    block.commit();
    multiply(static_cast<int>(s % kMmaStages));
  }
}

/// Block index: tile of rows; y: 128 columns of the weight. W is PlainWeight<E>, or a format whose elements are made E on the way.
template <class E, class W, int kTall, bool kTransposed>
struct MmaTileBody {
  GroupedProduct c;
  static constexpr int kThreads = kMmaThreads, kRows = 32 * kTall, kDepth = kMmaBytes / static_cast<int>(sizeof(E));
  static constexpr int kBytesA = kRows * kLineStride, kBytesB = kTransposed ? 32 * across_stride(kMmaColumns) : kMmaColumns * kLineStride;
  static constexpr size_t kShared = kMmaStages * static_cast<size_t>(kBytesA + kBytesB);
  static constexpr bool kCopied = requires { W::kPlain; };

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const RowTile tile = find_tile(c.groups, kRows, block.index);
    if (tile.rows == 0) return;
    const int64_t n0 = block.index_y * (c.gated ? kMmaColumns / 2 : kMmaColumns), lines = c.gated ? 2 * c.N : c.N;
    const void* weight = c.groups.weight(tile.group);
    constexpr int64_t kSize = sizeof(E);
    const Lines x(static_cast<const E*>(c.x) + tile.begin * c.K, c.K * kSize, c.K * kSize);
    const Lines w(weight, (kTransposed ? lines : c.K) * kSize, (kTransposed ? lines : c.K) * kSize);
    const W reader(weight, c.groups.scales(tile.group), lines, c.K, c.group);
    char *a = block.shared, *b = a + kMmaStages * kBytesA;

    MmaSums<E, Block, kTall, false, kTransposed> sums(block);
    pipeline(
        block, (c.K + kDepth - 1) / kDepth,
        [&](int t, int stage, int64_t step) {
          const int64_t k = step * kDepth;
          x.along(block, t, a + stage * kBytesA, kRows, k * kSize, [&](int line) { return line < tile.rows ? int64_t{line} : int64_t{-1}; });
          char* to = b + stage * kBytesB;
          if constexpr (kTransposed) w.across(block, t, to, k, c.K, n0 * kSize, kMmaColumns * 2);
          else if constexpr (kCopied) w.along(block, t, to, kMmaColumns, k * kSize, [&](int line) { return c.weight_row(n0, line, 32); });
          else widen(t, to, reader, n0, k);
        },
        [&](int stage) { sums.step(block, a + stage * kBytesA, b + stage * kBytesB); });
    block.own([&](int t) { write(t, sums.sums[t].c, tile, n0); });
  }

 private:
  /// 128 lines of 32 elements, eight to a thread at a time.
  TENON_BODY void widen(int t, char* to, const W& reader, int64_t n0, int64_t k) const {
    if constexpr (!kCopied)
      for (int i = t; i < kMmaColumns * 4; i += kThreads) {
        const int64_t n = c.weight_row(n0, i / 4, 32), at = k + i % 4 * 8;
        float v[8] = {};
        if (n >= 0 && at < c.K) reader.load8(v, n, at);
        store(reinterpret_cast<E*>(to + i / 4 * kLineStride + i % 4 * 16), v);
      }
  }
  template <class Sum>
  TENON_BODY void write(int t, const Sum (&sums)[kTall][4][4], const RowTile& tile, int64_t n0) const {
    const float* w_scale = c.groups.scales(tile.group);
    TENON_UNROLL
    for (int i = 0; i < kTall; ++i)
      TENON_UNROLL
      for (int j = 0; j < 4; ++j)
        TENON_UNROLL
        for (int e = 0; e < 4; ++e) {
          if (c.gated && j >= 2) continue;
          const int row = t / kWarp % 2 * 16 * kTall + 16 * i + row_of_sum(t, e), warp = t / kWarp / 2;
          const int64_t n = n0 + warp * (c.gated ? 16 : 32) + 8 * j + column_of_sum(t, e), m = tile.begin + row;
          if (row >= tile.rows || n >= c.N) continue;
          float sum = static_cast<float>(sums[i][j][e]), up = static_cast<float>(sums[i][(j + 2) % 4][e]);
          if constexpr (sizeof(E) == 1) {
            sum *= c.x_scale[m] * w_scale[n];
            if (c.gated) up *= c.x_scale[m] * w_scale[c.N + n];
          }
          c.finish(m, n, sum, up);
        }
  }
};

/// dw[g] (N,K) of factors of 16 bits. Block index: g * tiles + tile of N; y: tile of K.
template <class E>
struct MmaGradBody {
  GroupedGradCall c;
  int64_t tiles;
  static constexpr int kTall = 4, kThreads = kMmaThreads, kRows = 32 * kTall;
  static constexpr int kBytesA = 32 * across_stride(kRows), kBytesB = 32 * across_stride(kMmaColumns);
  static constexpr size_t kShared = kMmaStages * static_cast<size_t>(kBytesA + kBytesB);

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t g = block.index / tiles, n0 = block.index % tiles * kRows, k0 = block.index_y * kMmaColumns;
    const int64_t begin = c.start[g], rows = c.start[g + 1] - begin;
    const Lines x(static_cast<const E*>(c.a) + begin * c.N, c.N * 2, c.N * 2), y(static_cast<const E*>(c.b) + begin * c.K, c.K * 2, c.K * 2);
    char *a = block.shared, *b = a + kMmaStages * kBytesA;
    MmaSums<E, Block, kTall, true, true> sums(block);
    pipeline(
        block, (rows + 31) / 32,
        [&](int t, int stage, int64_t step) {
          x.across(block, t, a + stage * kBytesA, step * 32, rows, n0 * 2, kRows * 2);
          y.across(block, t, b + stage * kBytesB, step * 32, rows, k0 * 2, kMmaColumns * 2);
        },
        [&](int stage) { sums.step(block, a + stage * kBytesA, b + stage * kBytesB); });
    float* dw = c.dw[g];
    block.own([&](int t) {
      TENON_UNROLL
      for (int i = 0; i < kTall; ++i)
        TENON_UNROLL
        for (int j = 0; j < 4; ++j)
          TENON_UNROLL
          for (int e = 0; e < 4; ++e) {
            const int64_t n = n0 + sums.row_of(t) + 16 * i + row_of_sum(t, e), k = k0 + sums.column_of(t) + 8 * j + column_of_sum(t, e);
            if (n < c.N && k < c.K) dw[n * c.K + k] = sums.sums[t].c[i][j][e] + (c.accumulate ? dw[n * c.K + k] : 0.0f);
          }
    });
  }
};

}  // namespace tenon::cuda
