// Products of 16 bits on Hopper's tensor cores: tiles of 128 rows by 256 columns, 64 of k at a time. Bound by arithmetic; for groups of many rows.
#pragma once

#include "bodies/wgmma_panels.h"

namespace tenon::cuda {

/// The sums of two warpgroups (128, 256), added up over slices of 64 of k in shared memory.
template <class E, class Block, bool kAcrossA, bool kAcrossB>
struct WgmmaSums {
  static constexpr int kColumns = 256, kDepth = 64;
  static constexpr size_t kBytesA = kWgmmaRows * kDepth * 2, kBytesB = kColumns * kDepth * 2;
  static constexpr size_t kShared = kWgmmaStages * (kBytesA + kBytesB) + kAtomBytes;
  static_assert(kWgmmaRows * sums_stride(kColumns) * sizeof(float) <= kShared - kAtomBytes);
  struct Held {
    float c[kColumns / 8][4];
  };
  Block& block;
  Lanes<Held, Block> sums;
  char* shared;

  TENON_BODY explicit WgmmaSums(Block& b) : block(b), sums(b), shared(aligned_to_atoms(b)) {
    block.own([&](int t) { sums[t] = {}; });
  }
  TENON_BODY char* a(int stage) const { return shared + stage * kBytesA; }
  TENON_BODY char* b(int stage) const { return shared + kWgmmaStages * kBytesA + stage * kBytesB; }

  /// load(t, stage, step) as in wgmma_step(); then the sums lie in shared memory.
  template <class Load>
  TENON_BODY const float* multiply(int64_t steps, Load&& load) {
    wgmma_begin(block, steps, load);
    const auto held = [&](int t) -> auto& { return sums[t].c; };
    block.wgmma_fence(held);
    for (int64_t s = 0; s < steps; ++s) {
      wgmma_step(block, s, steps, load, [&](int stage) {
        const uint32_t from_a = block.shared_address(a(stage)), from_b = block.shared_address(b(stage));
        block.wgmma_fence();
        TENON_UNROLL
        for (int k = 0; k < kDepth; k += 16)
          block.template wgmma<E, kColumns, kAcrossB, kAcrossA>(held, [&](int t) { return factor_a(from_a, t / kWarpgroup * 64, k); },
                                                                [&](int) { return factor_b(from_b, k); }, true);
        block.wgmma_commit();
      });
      block.template wgmma_wait<1>();
    }
    block.template wgmma_wait<0>(held);
    block.sync();
    float* to = reinterpret_cast<float*>(shared);
    block.each([&](int t) { keep_sums(t, to, sums[t].c); });
    return to;
  }

 private:
  static TENON_BODY uint64_t factor_a(uint32_t tile, int row, int k) {
    if constexpr (kAcrossA) return across_k(tile, kDepth, k, row);
    else return along_k(tile, kWgmmaRows, row, 2 * k);
  }
  static TENON_BODY uint64_t factor_b(uint32_t tile, int k) {
    if constexpr (kAcrossB) return across_k(tile, kDepth, k, 0);
    else return along_k(tile, kColumns, 0, 2 * k);
  }
};

/// Block index: a tile in the order's order. Weights and rows are of E; weights (K,N) if transposed.
template <class E, bool kTransposed>
struct WgmmaTileBody {
  GroupedProduct c;
  TileOrder order;
  template <class Block>
  using Sums = WgmmaSums<E, Block, false, kTransposed>;
  static constexpr bool kHopper = true;
  static constexpr int kThreads = kWgmmaThreads, kRows = kWgmmaRows, kColumns = 256, kDepth = 64;
  static constexpr size_t kShared = kWgmmaStages * (kRows + kColumns) * kDepth * 2 + kAtomBytes;

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const RowTile tile = find_tile_among_many(c.groups, kRows, order.row(block.index));
    if (tile.rows == 0) return;
    const int64_t n0 = order.column(block.index) * (c.gated ? kColumns / 2 : kColumns), lines = c.gated ? 2 * c.N : c.N;
    const Lines x(static_cast<const E*>(c.x) + tile.begin * c.K, c.K * 2, c.K * 2);
    const Lines w(c.groups.weight(tile.group), (kTransposed ? lines : c.K) * 2, (kTransposed ? lines : c.K) * 2);
    struct Mine {
      PanelCopy<kRows> x;
      PanelCopy<kColumns> w;
    };
    Lanes<Mine, Block> mine(block);
    block.own([&](int t) {
      mine[t].x.begin(t, x, [&](int line) { return line < tile.rows ? int64_t{line} : int64_t{-1}; });
      if constexpr (!kTransposed) mine[t].w.begin(t, w, [&](int line) { return c.weight_row(n0, line, kColumns); });
    });
    Sums<Block> sums(block);
    const float* y = sums.multiply((c.K + kDepth - 1) / kDepth, [&](int t, int stage, int64_t step) {
      mine[t].x.fetch(block, t, sums.a(stage), x, step * kDepth * 2);
      if constexpr (kTransposed) fetch_across<kColumns * 2>(block, t, sums.b(stage), w, step * kDepth, c.K, n0 * 2);
      else mine[t].w.fetch(block, t, sums.b(stage), w, step * kDepth * 2);
    });
    block.own([&](int t) { finish_sums<kColumns>(t, c, y, tile, n0); });
  }
};

/// dw[g] (N,K) of factors of 16 bits. Block index: g * rows * columns + a tile of 128 of N by 256 of K; those of a group follow each other.
template <class E>
struct WgmmaGradBody {
  GroupedGradCall c;
  int64_t rows, columns;  // tiles
  static constexpr bool kHopper = true;
  static constexpr int kThreads = kWgmmaThreads, kRows = kWgmmaRows, kColumns = 256, kDepth = 64;
  static constexpr size_t kShared = kWgmmaStages * (kRows + kColumns) * kDepth * 2 + kAtomBytes;

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t g = block.index / (rows * columns), n0 = block.index % rows * kRows, k0 = block.index / rows % columns * kColumns;
    const int64_t begin = c.start[g], M = c.start[g + 1] - begin;
    const Lines a(static_cast<const E*>(c.a) + begin * c.N, c.N * 2, c.N * 2), b(static_cast<const E*>(c.b) + begin * c.K, c.K * 2, c.K * 2);
    WgmmaSums<E, Block, true, true> sums(block);
    const float* d = sums.multiply((M + kDepth - 1) / kDepth, [&](int t, int stage, int64_t step) {
      fetch_across<kRows * 2>(block, t, sums.a(stage), a, step * kDepth, M, n0 * 2);
      fetch_across<kColumns * 2>(block, t, sums.b(stage), b, step * kDepth, M, k0 * 2);
    });
    float* dw = c.dw[g];
    block.own([&](int t) {
      for (int i = t; i < kRows * kColumns / 8; i += kThreads) {
        const int64_t n = n0 + i / (kColumns / 8), k = k0 + i % (kColumns / 8) * 8;
        if (n >= c.N || k >= c.K) continue;
        float v[8], more[8];
        load8_of(v, d + i / (kColumns / 8) * sums_stride(kColumns) + i % (kColumns / 8) * 8, 8);
        if (c.accumulate) {
          load8_of(more, dw + n * c.K + k, c.K - k);
          TENON_UNROLL
          for (int e = 0; e < 8; ++e) v[e] += more[e];
        }
        store8_of(dw + n * c.K + k, v, c.K - k);
      }
    });
  }
};

}  // namespace tenon::cuda
