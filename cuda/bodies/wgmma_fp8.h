// Products of e4m3 factors with scales of blocks on Hopper's tensor cores: tiles of 128 rows by 128 columns, 128 of k at a time, which is a block
// or a part of one. A slice's sums are short, and are multiplied by the scales of their row and column and added to the totals in float32. Slices go
// in pairs with sums of their own, so that the first's are scaled while the tensor cores have the second:
//
//   tensor cores:   first  |  second               (the other warpgroup's)  |  first ...
//   threads:               |  totals += first  |  totals += second          |
//
// No product is under way from one pair to the next: the compiler would make all of them wait for each other (its note C7514).
// Source: DeepSeek-V3 technical report, section 3.3.
#pragma once

#include "bodies/fp8_tile.h"
#include "bodies/wgmma_panels.h"

namespace tenon::cuda {

/// Block index: a tile in the order's order. Everything else as in Fp8TileBody; both factors' blocks are multiples of 128 of k or all of it.
struct WgmmaFp8Body {
  GroupedProduct c;
  Fp8Scales x, w;
  int64_t w_stride, w_scales_at;
  TileOrder order;
  static constexpr bool kHopper = true;
  static constexpr int kThreads = kWgmmaThreads, kRows = kWgmmaRows, kColumns = 128, kDepth = 128;
  static constexpr size_t kBytes = kRows * kDepth, kScales = (kRows + kColumns) * sizeof(float);
  static constexpr size_t kShared = kWgmmaStages * (2 * kBytes + kScales) + kAtomBytes;
  static_assert(kRows * sums_stride(kColumns) * sizeof(float) <= kWgmmaStages * 2 * kBytes && kRows == kColumns);

  struct Held {
    float first[kColumns / 8][4], second[kColumns / 8][4], totals[kColumns / 8][4];
    PanelCopy<kRows> x;
    PanelCopy<kColumns> w;
    const float* scale;  // a thread looks after the scales of a row or of a column
    int each;            // slices that share one
    float next;          // that of the slice whose copies were asked for last
    TENON_BODY float scale_of(int64_t slice) const { return scale ? scale[static_cast<int>(slice) / each] : 0.0f; }
  };

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const RowTile tile = find_tile_among_many(c.groups, kRows, order.row(block.index));
    if (tile.rows == 0) return;
    const int64_t n0 = order.column(block.index) * (c.gated ? kColumns / 2 : kColumns), steps = (c.K + kDepth - 1) / kDepth;
    const char* weight = static_cast<const char*>(c.groups.weight(tile.group));
    const float* w_scale = w.p ? w.p : reinterpret_cast<const float*>(weight + w_scales_at);
    const Lines from_x(static_cast<const char*>(c.x) + tile.begin * c.K, c.K, c.K);
    Lines from_w(weight, c.K, w_stride);
    from_w.wide = reinterpret_cast<uintptr_t>(weight) % 16 == 0 && w_stride % 16 == 0;  // what lies behind K is not read
    char *a = aligned_to_atoms(block), *b = a + kWgmmaStages * kBytes;
    float* scales = reinterpret_cast<float*>(b + kWgmmaStages * kBytes);

    Lanes<Held, Block> held(block);
    block.own([&](int t) {
      Held& mine = held[t];
      clear(mine.first), clear(mine.second), clear(mine.totals);
      const auto row_of = [&](int line) { return line < tile.rows ? int64_t{line} : int64_t{-1}; };
      const auto column_of = [&](int line) { return c.weight_row(n0, line, kColumns); };
      mine.x.begin(t, from_x, row_of), mine.w.begin(t, from_w, column_of);
      const int64_t line = t < kRows ? row_of(t) : column_of(t - kRows);
      const Fp8Scales& of = t < kRows ? x : w;
      const float* base = t < kRows ? x.p : w_scale;
      mine.scale = line < 0 ? nullptr : base + of.line(t < kRows ? tile.begin + line : line);
      mine.each = static_cast<int>((of.block + kDepth - 1) / kDepth < steps ? (of.block + kDepth - 1) / kDepth : steps);
      scales[t] = mine.scale_of(0);
      mine.next = steps > 1 ? mine.scale_of(1) : 0.0f;
    });
    const auto load = [&](int t, int stage, int64_t step) {
      held[t].x.fetch(block, t, a + stage * kBytes, from_x, step * kDepth);
      held[t].w.fetch(block, t, b + stage * kBytes, from_w, step * kDepth);
    };
    const auto first = [&](int t) -> auto& { return held[t].first; };
    const auto second = [&](int t) -> auto& { return held[t].second; };
    const auto step = [&](int64_t s, auto&& sums) {
      wgmma_step(block, s, steps, load, [&](int stage) {
        const uint32_t from_a = block.shared_address(a + stage * kBytes), from_b = block.shared_address(b + stage * kBytes);
        block.wgmma_fence(sums);
        TENON_UNROLL
        for (int k = 0; k < kDepth; k += 32)
          block.template wgmma<float8, kColumns>(sums, [&](int t) { return along_k(from_a, kRows, t / kWarpgroup * 64, k); },
                                                 [&](int) { return along_k(from_b, kColumns, 0, k); }, k > 0);
        block.wgmma_commit();
      });
      block.own([&](int t) {
        scales[(s + 1) % kWgmmaStages * (kRows + kColumns) + t] = held[t].next;  // asked for a step ago
        held[t].next = s + 2 < steps ? held[t].scale_of(s + 2) : 0.0f;
      });
    };
    const auto scaled = [&](int64_t s, auto&& sums) {
      block.own([&](int t) { add(t, held[t].totals, sums(t), scales + s % kWgmmaStages * (kRows + kColumns)); });
    };
    wgmma_begin(block, steps, load);
    int64_t s = 0;
    for (; s + 1 < steps; s += 2) {
      step(s, first), step(s + 1, second);
      block.template wgmma_wait<1>(first);
      scaled(s, first);
      block.template wgmma_wait<0>(second);
      scaled(s + 1, second);
    }
    if (s < steps) {
      step(s, first);
      block.template wgmma_wait<0>(first);
      scaled(s, first);
    }
    block.sync();  // no product reads the tiles any more
    float* y = reinterpret_cast<float*>(a);
    block.each([&](int t) { keep_sums(t, y, held[t].totals); });
    block.own([&](int t) { finish_sums<kColumns>(t, c, y, tile, n0); });
  }

 private:
  static TENON_BODY void clear(float (&c)[kColumns / 8][4]) {
    TENON_UNROLL
    for (int j = 0; j < kColumns / 8; ++j)
      TENON_UNROLL
      for (int i = 0; i < 4; ++i) c[j][i] = 0;
  }

  static TENON_BODY void add(int t, float (&totals)[kColumns / 8][4], const float (&sums)[kColumns / 8][4], const float* scales) {
    float of_row[2];
    TENON_UNROLL
    for (int half = 0; half < 2; ++half) of_row[half] = scales[t / kWarp * 16 + row_of_sum(t, 2 * half)];
    TENON_UNROLL
    for (int j = 0; j < kColumns / 8; ++j) {
      float of_column[2];
      load(of_column, scales + kRows + 8 * j + column_of_sum(t, 0));
      TENON_UNROLL
      for (int i = 0; i < 4; ++i) totals[j][i] += sums[j][i] * (of_row[i / 2] * of_column[i % 2]);
    }
  }
};

}  // namespace tenon::cuda
