// Attention on Hopper's tensor cores, for elements of 16 bits: a block of two warpgroups has 128 rows (as attention_mma.h has 64: a query of one of
// the heads that share a key head) and walks over tiles of keys. Tiles of keys and values lie in two places each; step i:
//
//   tensor cores     S = Q K_i^T              O += P V_{i-1}
//   threads                       copies of V_i, K_{i+1}      P = exp(S - m), rescaled O             so that the softmax runs beside O += P V
//
// One barrier to a step: behind it the copies of the step before are there, and everybody has left the places that the next copies fill.
// Bound by arithmetic. Source: Shah et al. 2024, "FlashAttention-3" (its pipeline within a warpgroup).
#pragma once

#include "bodies/attention_mma.h"
#include "bodies/wgmma.h"

namespace tenon::cuda {

constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

TENON_BODY float exp2_of(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

/// Rows of keys or values from one on, each at a multiple of 16 bytes: beside each other in memory, or in pages.
template <bool kPages>
struct KeyRows {
  const char* base;          // the head's part of the first row, or of a page's
  const void* const* pages;  // of the sequence
  int first, shift, ld;      // the first row; 2^shift rows to a page; bytes from row to row
  TENON_BODY const char* row(int i) const {
    if constexpr (!kPages) return base + static_cast<int64_t>(i) * ld;
    const int s = first + i;
    return static_cast<const char*>(pages[s >> shift]) + reinterpret_cast<intptr_t>(base) + static_cast<int64_t>(s & ((1 << shift) - 1)) * ld;
  }
};

/// Lines of a tile in panels, of kBytes, by 256 threads; row(line) is where a line's `bytes` (a multiple of 16) are. Lines from `there` on are 0.
/// kLoop: with fewer registers.
template <int kLines, int kBytes, bool kLoop = false, class Block, class Row>
TENON_BODY void fill_panels(Block& block, int t, char* tile, int bytes, int there, Row&& row) {
  static_assert(kLines % 32 == 0 && kBytes % kPanelBytes == 0);
  const auto fill = [&](int first) {
    const int line = first + t / 8;
    const char* from = row(line < there ? line : 0) + t % 8 * 16;
    TENON_UNROLL
    for (int panel = 0; panel < kBytes; panel += kPanelBytes)
      block.copy_later(tile + in_panels(kLines, line, panel + t % 8 * 16), from + panel, line < there && panel + t % 8 * 16 < bytes ? 16 : 0);
  };
  if constexpr (kLoop) {
    TENON_LOOP
    for (int first = 0; first < kLines; first += 32) fill(first);
  } else {
    TENON_UNROLL
    for (int first = 0; first < kLines; first += 32) fill(first);
  }
}

/// kD: D or more, kDv: Dv or more. kExtras: biases, softcap or dropout. Block index: (b * Hkv + key head) * tiles + tile of rows, the last one
/// first: with causal masks it has the most keys.
/// Rows of q, k and v begin at multiples of 16 bytes and are whole multiples of that; scale > 0; no codes.
template <class E, int kD, int kDv, int kKeys, bool kExtras, bool kPages>
struct AttentionWgmmaBody {
  AttentionCall c;
  int64_t tiles;
  int page_shift;
  static constexpr bool kHopper = true;
  static constexpr int kRows = 128, kThreads = 2 * kWarpgroup;
  static constexpr size_t kTileQ = panel_tile_bytes(kRows, 2 * kD), kTileK = panel_tile_bytes(kKeys, 2 * kD);
  static constexpr size_t kTileV = panel_tile_bytes(kKeys, 2 * kDv);
  static constexpr size_t kShared = kTileQ + 2 * (kTileK + kTileV) + kAtomBytes;

  /// S, O and P of a warp's 16 rows; of the thread's rows (its first, and that + 8) the largest score, its share of the sum of weights, and
  /// the keys they see, counted from the block's first.
  struct Held {
    float s[kKeys / 8][4], o[kDv / 8][4], most[2], m[2], l[2], alpha[2];
    uint32_t p[kKeys / 16][4];
    int first[2], end[2];
  };

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t of_head = block.index / tiles, G = c.H / c.Hkv;
    const Head head(c, of_head / c.Hkv, of_head % c.Hkv * G);
    const QueryRows rows{(tiles - 1 - block.index % tiles) * kRows, head.T * G, G, head.h};
    if (!rows.there(0)) return;
    const int64_t t_first = rows.query(0), t_last = rows.there(kRows - 1) ? rows.query(kRows - 1) : head.T - 1;
    const int64_t begin = head.first(c, t_first), last = head.seen(c, t_last);
    const int count = last > begin ? static_cast<int>(last - begin) : 0, steps = (count + kKeys - 1) / kKeys;
    // of these keys all are seen by all rows
    const int64_t from = head.first(c, t_last) - begin, to = head.seen(c, t_first) - begin;
    const int all_first = static_cast<int>(from), all_end = to > 0 ? static_cast<int>(to) : 0;

    char *q = aligned_to_atoms(block), *k = q + kTileQ, *v = k + 2 * kTileK;
    const KeyRows<kPages> keys = rows_of(head, begin, c.k, c.ld_k, c.D, c.k_offset), values = rows_of(head, begin, c.v, c.ld_v, c.Dv, c.v_offset);
    const int bytes_k = static_cast<int>(2 * c.D), bytes_v = static_cast<int>(2 * c.Dv);
    const auto load_keys = [&](int t, int i) {
      const int s0 = i * kKeys;
      fill_panels<kKeys, 2 * kD>(block, t, k + i % 2 * kTileK, bytes_k, count - s0, [&](int line) { return keys.row(s0 + line); });
    };
    const auto load_values = [&](int t, int i) {
      const int s0 = i * kKeys;
      fill_panels<kKeys, 2 * kDv>(block, t, v + i % 2 * kTileV, bytes_v, count - s0, [&](int line) { return values.row(s0 + line); });
    };

    Lanes<Held, Block> held(block);
    const auto s = [&](int t) -> auto& { return held[t].s; };
    const auto o = [&](int t) -> auto& { return held[t].o; };
    const auto p = [&](int t) -> auto& { return held[t].p; };
    const uint32_t at_q = block.shared_address(q), at_k = block.shared_address(k), at_v = block.shared_address(v);
    const auto ask_scores = [&](int i) {
      const uint32_t tile = at_k + static_cast<uint32_t>(i % 2 * kTileK);
      TENON_UNROLL
      for (int d = 0; d < kD; d += 16)
        block.template wgmma<E, kKeys>(s, [&](int t) { return along_k(at_q, kRows, t / kWarpgroup * 64, 2 * d); },
                                       [&](int) { return along_k(tile, kKeys, 0, 2 * d); }, d > 0);
      block.wgmma_commit();
    };
    const auto ask_sums = [&](int i) {
      const uint32_t tile = at_v + static_cast<uint32_t>(i % 2 * kTileV);
      TENON_UNROLL
      for (int j = 0; j < kKeys / 16; ++j)
        block.template wgmma<E, kDv, true>(o, [&](int t) { return held[t].p[j]; }, [&](int) { return across_k(tile, kKeys, 16 * j, 0); }, true);
      block.wgmma_commit();
    };

    block.own([&](int t) {
      Held& mine = held[t];
      TENON_UNROLL
      for (int j = 0; j < kDv / 8; ++j)
        TENON_UNROLL
        for (int e = 0; e < 4; ++e) mine.o[j][e] = 0;
      TENON_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int row = row_of(t, half);
        mine.m[half] = -INFINITY, mine.l[half] = 0;
        const int64_t t_row = rows.there(row) ? rows.query(row) : -1, first = t_row < 0 ? 0 : head.first(c, t_row) - begin;
        const int64_t end = t_row < 0 ? 0 : head.seen(c, t_row) - begin;
        mine.first[half] = static_cast<int>(first), mine.end[half] = end > 0 ? static_cast<int>(end) : 0;
      }
      const int there = rows.there(kRows - 1) ? kRows : static_cast<int>(rows.count - rows.begin);
      fill_panels<kRows, 2 * kD>(block, t, q, bytes_k, there, [&](int row) {
        return reinterpret_cast<const char*>(static_cast<const E*>(c.q) + (head.q_row + rows.query(row)) * c.ld_q + rows.head(row) * c.D);
      });
      if (steps > 0) load_keys(t, 0);
    });
    block.commit();
    const auto load_next = [&](int i) {
      block.own([&](int t) {
        load_values(t, i);
        if (i + 1 < steps) load_keys(t, i + 1);
      });
      block.commit();
    };
    block.template wait_for_wgmma<0>();
    if (steps > 0) {
      block.wgmma_fence(s);
      ask_scores(0);
      load_next(0);
      block.template wgmma_wait<0>(s);
      weigh(block, held, head, rows, begin, 0, all_first == 0 && all_end >= kKeys);
      round(block, held);
      for (int i = 1; i < steps; ++i) {
        block.template wait_for_wgmma<0>();
        block.wgmma_fence(s, o, p);
        ask_scores(i);
        ask_sums(i - 1);
        load_next(i);
        // Extras call functions, which ptxas does not want beside a product.
        if constexpr (kExtras) block.template wgmma_wait<0>(s, o, p);
        else block.template wgmma_wait<1>(s);
        weigh(block, held, head, rows, begin, i * kKeys, i * kKeys >= all_first && (i + 1) * kKeys <= all_end);
        block.template wgmma_wait<0>(o, p);
        block.own([&](int t) {
          Held& mine = held[t];
          TENON_UNROLL
          for (int j = 0; j < kDv / 8; ++j)
            TENON_UNROLL
            for (int e = 0; e < 4; ++e) mine.o[j][e] *= mine.alpha[e / 2];
        });
        round(block, held);
      }
      block.template wait_for_wgmma<0>();
      block.wgmma_fence(o, p);
      ask_sums(steps - 1);
      block.template wgmma_wait<0>(o, p);
    }
    for (int i = 0; i < 2; ++i) block.template warp_sum<4>([&](int t) -> float& { return held[t].l[i]; });
    block.own([&](int t) { write(t, held[t], head, rows); });
  }

 private:
  static TENON_BODY int row_of(int t, int half) { return t / kWarp * 16 + t % kWarp / 4 + 8 * half; }

  TENON_BODY KeyRows<kPages> rows_of(const Head& head, int64_t begin, const void* all, int64_t ld, int64_t width, int64_t offset) const {
    const int line = static_cast<int>(2 * ld);
    if constexpr (kPages)
      return {reinterpret_cast<const char*>(offset + 2 * head.kv_head * width), c.pages + head.page, static_cast<int>(begin), page_shift, line};
    else return {static_cast<const char*>(all) + 2 * ((head.k_row + begin) * ld + head.kv_head * width), nullptr, 0, 0, line};
  }
  /// p = s in pairs.
  template <class Block, class HeldLanes>
  TENON_BODY void round(Block& block, HeldLanes& held) const {
    block.own([&](int t) {
      Held& mine = held[t];
      TENON_UNROLL
      for (int j = 0; j < kKeys / 16; ++j)
        TENON_UNROLL
        for (int r = 0; r < 4; ++r) mine.p[j][r] = pair_of<E>(mine.s[2 * j + r / 2][r % 2 * 2], mine.s[2 * j + r / 2][r % 2 * 2 + 1]);
    });
  }
  /// Scores are kept without their scale, which is multiplied in on the way to 2^x; with extras they are in units of log2 already.
  TENON_BODY float factor() const { return kExtras ? 1.0f : c.scale * kLog2E; }

  /// s, of keys begin + s0 and on, becomes the weights exp(score - m); alpha is what sums of before are multiplied with.
  template <class Block, class HeldLanes>
  TENON_BODY void weigh(Block& block, HeldLanes& held, const Head& head, const QueryRows& rows, int64_t begin, int s0, bool all_seen) const {
    block.own([&](int t) {
      Held& mine = held[t];
      if constexpr (kExtras) add_extras(t, mine, head, rows, begin + s0);
      else if (!all_seen) mask(t, mine, s0);
      TENON_UNROLL
      for (int half = 0; half < 2; ++half) mine.most[half] = mine.m[half];
      TENON_UNROLL
      for (int j = 0; j < kKeys / 8; ++j)
        TENON_UNROLL
        for (int e = 0; e < 4; ++e) mine.most[e / 2] = fmaxf(mine.most[e / 2], mine.s[j][e]);
    });
    for (int half = 0; half < 2; ++half) block.template warp_max<4>([&](int t) -> float& { return held[t].most[half]; });
    block.own([&](int t) {
      Held& mine = held[t];
      float less[2];
      TENON_UNROLL
      for (int half = 0; half < 2; ++half) {
        less[half] = mine.most[half] == -INFINITY ? 0.0f : mine.most[half] * factor();
        mine.alpha[half] = exp2_of(mine.m[half] * factor() - less[half]);
        mine.m[half] = mine.most[half], mine.l[half] *= mine.alpha[half];
      }
      TENON_UNROLL
      for (int j = 0; j < kKeys / 8; ++j)
        TENON_UNROLL
        for (int e = 0; e < 4; ++e) {
          float& weight = mine.s[j][e];
          weight = exp2_of(fmaf(weight, factor(), -less[e / 2]));
          mine.l[e / 2] += weight;
        }
      if (kExtras && c.dropout.below > 0) drop(t, mine, head, rows, begin + s0);
    });
  }

  TENON_BODY void mask(int t, Held& mine, int s0) const {
    TENON_UNROLL
    for (int j = 0; j < kKeys / 8; ++j)
      TENON_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int key = s0 + 8 * j + column_of_sum(t, e);
        if (key < mine.first[e / 2] || key >= mine.end[e / 2]) mine.s[j][e] = -INFINITY;
      }
  }
  TENON_BODY void add_extras(int t, Held& mine, const Head& head, const QueryRows& rows, int64_t s0) const {
    TENON_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int row = row_of(t, half);
      const int64_t query = rows.there(row) ? rows.query(row) : head.T;  // which sees nothing
      Head of_row = head;
      of_row.h = rows.head(row);
      TENON_UNROLL
      for (int j = 0; j < kKeys / 8; ++j)
        TENON_UNROLL
        for (int e = 0; e < 2; ++e) {
          float& score = mine.s[j][2 * half + e];
          score = score_of(c, of_row, query, s0 + 8 * j + column_of_sum(t, e), score) * kLog2E;
        }
    }
  }
  TENON_BODY void drop(int t, Held& mine, const Head& head, const QueryRows& rows, int64_t s0) const {
    TENON_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int row = row_of(t, half);
      const int64_t query = rows.query(row);
      Head of_row = head;
      of_row.h = rows.head(row);
      TENON_UNROLL
      for (int j = 0; j < kKeys / 8; ++j)
        TENON_UNROLL
        for (int e = 0; e < 2; ++e) {
          float& weight = mine.s[j][2 * half + e];
          if (weight != 0) weight *= kept(c, of_row, query, s0 + 8 * j + column_of_sum(t, e));
        }
    }
  }

  TENON_BODY void write(int t, const Held& mine, const Head& head, const QueryRows& rows) const {
    TENON_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int row = row_of(t, half);
      if (!rows.there(row)) continue;
      const int64_t n = head.q_row + rows.query(row), h = rows.head(row);
      const float l = mine.l[half], share = l > 0 ? 1 / l : 0.0f;
      E* to = static_cast<E*>(c.out) + n * c.ld_out + h * c.Dv;
      const bool pairs = reinterpret_cast<uintptr_t>(to) % 4 == 0;
      TENON_UNROLL
      for (int j = 0; j < kDv / 8; ++j) {
        const int d = 8 * j + column_of_sum(t, 0);
        const float o[2] = {mine.o[j][2 * half] * share, mine.o[j][2 * half + 1] * share};
        if (pairs && d + 2 <= c.Dv) *reinterpret_cast<uint32_t*>(to + d) = pair_of<E>(o[0], o[1]);
        else
          for (int e = 0; e < 2; ++e)
            if (d + e < c.Dv) to[d + e] = Rounded<E>::from(o[e]);
      }
      if (t % 4 == 0 && c.lse) c.lse[h * c.Nq + n] = l > 0 ? mine.m[half] * factor() * kLn2 + logf(l) : -INFINITY;
    }
  }
};

}  // namespace tenon::cuda
