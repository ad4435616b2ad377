// The gradients of attention on Hopper's tensor cores, as attention_backward_mma.h has them: two warpgroups have 128 rows and walk over tiles of 64
// columns, of which three are in shared memory: one whose last product may still run, one that is computed with, one that is on its way.
//
//   queries' gradient:  rows are queries, columns keys      S = Q K^T, dP = dO V^T                   dQ += dS K
//   keys' gradients:    rows are keys, columns queries      S^T = K Q^T, dP^T = V dO^T               dV += P^T dO, dK += dS^T Q
//
// The first products have both factors in shared memory, k along the head's width; the others have P or dS in registers and the tile across k.
// dP runs beside the exponentials, the last product beside the barrier and the first of the next tile.
#pragma once

#include "bodies/attention_backward_mma.h"
#include "bodies/attention_wgmma.h"

namespace tenon::cuda {

/// What both kernels have in common. kD: D and Dv, or more. No biases, dropout, softcap or pages; rows as AttentionWgmmaBody wants them.
template <class E, int kD>
struct AttentionWgmmaGrad {
  static constexpr bool kHopper = true;
  static constexpr int kRows = 128, kColumns = 64, kStages = 3, kThreads = 2 * kWarpgroup;
  static constexpr size_t kTileRows = panel_tile_bytes(kRows, 2 * kD), kTileColumns = panel_tile_bytes(kColumns, 2 * kD);
  AttentionCall c;
  AttentionGrad g;
  const E* d_out;      // (Nq, H, Dv)
  const float* delta;  // (H, Nq)
  int64_t tiles;

  static TENON_BODY int row_of(int t, int half) { return t / kWarp * 16 + t % kWarp / 4 + 8 * half; }
  static TENON_BODY int clamped(int64_t n) { return n < 0 ? 0 : static_cast<int>(n); }

  TENON_BODY KeyRows<false> queries(const Head& head, int64_t t) const {
    return {static_cast<const char*>(c.q) + 2 * ((head.q_row + t) * c.ld_q + head.h * c.D), nullptr, 0, 0, static_cast<int>(2 * c.ld_q)};
  }
  TENON_BODY KeyRows<false> d_outs(const Head& head, int64_t t) const {
    const E* first = d_out + ((head.q_row + t) * c.H + head.h) * c.Dv;
    return {reinterpret_cast<const char*>(first), nullptr, 0, 0, static_cast<int>(2 * c.H * c.Dv)};
  }
  TENON_BODY KeyRows<false> keys(const Head& head, int64_t s) const {
    return {static_cast<const char*>(c.k) + 2 * ((head.k_row + s) * c.ld_k + head.kv_head * c.D), nullptr, 0, 0, static_cast<int>(2 * c.ld_k)};
  }
  TENON_BODY KeyRows<false> values(const Head& head, int64_t s) const {
    return {static_cast<const char*>(c.v) + 2 * ((head.k_row + s) * c.ld_v + head.kv_head * c.Dv), nullptr, 0, 0, static_cast<int>(2 * c.ld_v)};
  }
  /// Lines of the columns' tiles, and of the rows'.
  template <int kLines, class Block>
  static TENON_BODY void fill(Block& block, int t, char* tile, int64_t width, const KeyRows<false>& from, int first, int count) {
    fill_panels<kLines, 2 * kD, true>(block, t, tile, static_cast<int>(2 * width), count - first, [&](int line) { return from.row(first + line); });
  }

  /// sums = rows times columns, both along the head's width.
  template <class Block, class Sums>
  static TENON_BODY void ask_scores(Block& block, Sums& sums, uint32_t rows, uint32_t columns) {
    TENON_UNROLL
    for (int d = 0; d < kD; d += 16)
      block.template wgmma<E, kColumns>(sums, [&](int t) { return along_k(rows, kRows, t / kWarpgroup * 64, 2 * d); },
                                        [&](int) { return along_k(columns, kColumns, 0, 2 * d); }, d > 0);
    block.wgmma_commit();
  }
  /// sums = or += factor (in registers) times columns.
  template <class Block, class Sums, class Factor>
  static TENON_BODY void ask_sums(Block& block, Sums& sums, Factor& factor, uint32_t columns, bool add) {
    TENON_UNROLL
    for (int j = 0; j < kColumns / 16; ++j)
      block.template wgmma<E, kD, true>(sums, [&](int t) { return factor(t)[j]; }, [&](int) { return across_k(columns, kColumns, 16 * j, 0); },
                                        j > 0 || add);
    block.wgmma_commit();
  }
  static TENON_BODY void round(uint32_t (&to)[kColumns / 16][4], const float (&from)[kColumns / 8][4]) {
    TENON_UNROLL
    for (int j = 0; j < kColumns / 16; ++j)
      TENON_UNROLL
      for (int r = 0; r < 4; ++r) to[j][r] = pair_of<E>(from[2 * j + r / 2][r % 2 * 2], from[2 * j + r / 2][r % 2 * 2 + 1]);
  }
  /// Scores of columns from `begin` on that the row does not see, or that does not see it.
  template <class Held>
  static TENON_BODY void mask(int t, Held& mine, int begin) {
    TENON_UNROLL
    for (int j = 0; j < kColumns / 8; ++j)
      TENON_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int column = begin + 8 * j + column_of_sum(t, e);
        if (column < mine.first[e / 2] || column >= mine.end[e / 2]) mine.s[j][e] = -INFINITY;
      }
  }
  /// to[row, d] += sums, rows below `rows` only.
  static TENON_BODY void write(int t, const float (&sums)[kD / 8][4], float* to, int64_t ld, int64_t rows, int64_t width) {
    TENON_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int row = row_of(t, half);
      if (row >= rows) continue;
      float* line = to + row * ld;
      TENON_UNROLL
      for (int j = 0; j < kD / 8; ++j)
        TENON_UNROLL
        for (int e = 0; e < 2; ++e)
          if (const int d = 8 * j + column_of_sum(t, e); d < width) line[d] += sums[j][2 * half + e];
    }
  }
};

/// Block index: (b * H + h) * tiles + tile of queries, the last one first.
template <class E, int kD>
struct AttentionWgmmaQueryGradBody : AttentionWgmmaGrad<E, kD> {
  using Grad = AttentionWgmmaGrad<E, kD>;
  using Grad::c, Grad::g, Grad::tiles, Grad::kRows, Grad::kColumns, Grad::kStages, Grad::kTileRows, Grad::kTileColumns;
  static constexpr bool kHopper = true;
  static constexpr int kThreads = Grad::kThreads;
  static constexpr size_t kShared = 2 * kTileRows + 2 * kStages * kTileColumns + kAtomBytes;
  struct Held {
    float s[kColumns / 8][4], dp[kColumns / 8][4], dq[kD / 8][4], lse[2], delta[2];
    uint32_t ds[kColumns / 16][4];
    int first[2], end[2];  // of the keys that the thread's rows see, from the block's first on
  };
  TENON_HOST_BODY explicit AttentionWgmmaQueryGradBody(const Grad& of) : Grad(of) {}

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t t0 = (tiles - 1 - block.index % tiles) * kRows;
    const Head head(c, block.index / tiles / c.H, block.index / tiles % c.H);
    if (t0 >= head.T) return;
    const int rows = head.T - t0 < kRows ? static_cast<int>(head.T - t0) : kRows;
    const int64_t begin = head.first(c, t0);
    const int count = Grad::clamped(head.seen(c, t0 + rows - 1) - begin), steps = (count + kColumns - 1) / kColumns;
    const int all_first = static_cast<int>(head.first(c, t0 + rows - 1) - begin), all_end = Grad::clamped(head.seen(c, t0) - begin);

    char *q = aligned_to_atoms(block), *d_out = q + kTileRows, *k = d_out + kTileRows, *v = k + kStages * kTileColumns;
    const KeyRows<false> keys = Grad::keys(head, begin), values = Grad::values(head, begin);
    const auto load = [&](int t, int i) {
      Grad::template fill<kColumns>(block, t, k + i % kStages * kTileColumns, c.D, keys, i * kColumns, count);
      Grad::template fill<kColumns>(block, t, v + i % kStages * kTileColumns, c.Dv, values, i * kColumns, count);
    };
    Lanes<Held, Block> held(block);
    const auto s = [&](int t) -> auto& { return held[t].s; };
    const auto dp = [&](int t) -> auto& { return held[t].dp; };
    const auto dq = [&](int t) -> auto& { return held[t].dq; };
    const auto ds = [&](int t) -> auto& { return held[t].ds; };
    const uint32_t at_q = block.shared_address(q), at_d_out = block.shared_address(d_out);
    const uint32_t at_k = block.shared_address(k), at_v = block.shared_address(v);

    block.own([&](int t) {
      Held& mine = held[t];
      TENON_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int row = Grad::row_of(t, half);
        const bool there = row < rows;
        const int64_t at = head.h * c.Nq + head.q_row + t0 + row;
        const float lse = there ? c.lse[at] : -INFINITY;
        mine.lse[half] = lse == -INFINITY ? INFINITY : lse * kLog2E;  // then all weights are 0
        mine.delta[half] = there ? Grad::delta[at] : 0.0f;
        mine.first[half] = there ? static_cast<int>(head.first(c, t0 + row) - begin) : 0;
        mine.end[half] = there ? Grad::clamped(head.seen(c, t0 + row) - begin) : 0;
      }
      Grad::template fill<kRows>(block, t, q, c.D, Grad::queries(head, t0), 0, rows);
      Grad::template fill<kRows>(block, t, d_out, c.Dv, Grad::d_outs(head, t0), 0, rows);
      if (steps > 0) load(t, 0);
    });
    block.commit();
    for (int i = 0; i < steps; ++i) {
      const auto tile = static_cast<uint32_t>(i % kStages * kTileColumns);
      block.template wait_for_wgmma<0>();
      block.wgmma_fence(s, dp);
      Grad::ask_scores(block, s, at_q, at_k + tile);
      Grad::ask_scores(block, dp, at_d_out, at_v + tile);
      block.own([&](int t) {
        if (i + 1 < steps) load(t, i + 1);
      });
      block.commit();
      block.template wgmma_wait<1>(s, ds, dq);
      const bool all_seen = i * kColumns >= all_first && (i + 1) * kColumns <= all_end;
      block.own([&](int t) { weigh(t, held[t], i * kColumns, all_seen); });
      block.template wgmma_wait<0>(dp, dq);
      block.own([&](int t) {
        Held& mine = held[t];
        TENON_UNROLL
        for (int j = 0; j < kColumns / 8; ++j)
          TENON_UNROLL
          for (int e = 0; e < 4; ++e) mine.dp[j][e] = mine.s[j][e] * (mine.dp[j][e] - mine.delta[e / 2]) * c.scale;
        Grad::round(mine.ds, mine.dp);
      });
      block.wgmma_fence(dq, ds);
      Grad::ask_sums(block, dq, ds, at_k + tile, i > 0);
    }
    block.template wait_for_wgmma<0>();
    block.template wgmma_wait<0>(dq, ds);
    if (steps == 0) return;
    block.own([&](int t) { Grad::write(t, held[t].dq, g.dq + (head.q_row + t0) * c.ld_q + head.h * c.D, c.ld_q, rows, c.D); });
  }

 private:
  TENON_BODY void weigh(int t, Held& mine, int s0, bool all_seen) const {
    if (!all_seen) Grad::mask(t, mine, s0);
    const float factor = c.scale * kLog2E;
    TENON_UNROLL
    for (int j = 0; j < kColumns / 8; ++j)
      TENON_UNROLL
      for (int e = 0; e < 4; ++e) mine.s[j][e] = exp2_of(fmaf(mine.s[j][e], factor, -mine.lse[e / 2]));
  }
};

/// Block index: (b * Hkv + hkv) * tiles + i: tiles i, i + tiles, ... of keys; all query heads of the key head, one after another.
template <class E, int kD>
struct AttentionWgmmaKeyGradBody : AttentionWgmmaGrad<E, kD> {
  using Grad = AttentionWgmmaGrad<E, kD>;
  using Grad::c, Grad::g, Grad::tiles, Grad::kRows, Grad::kColumns, Grad::kStages, Grad::kTileRows, Grad::kTileColumns;
  static constexpr bool kHopper = true;
  static constexpr int kThreads = Grad::kThreads;
  static constexpr size_t kShared = 2 * kTileRows + 2 * kStages * kTileColumns + 4 * kColumns * sizeof(float) + kAtomBytes;
  struct Held {
    float s[kColumns / 8][4], dp[kColumns / 8][4], dk[kD / 8][4], dv[kD / 8][4], lse, delta;
    uint32_t p[kColumns / 16][4], ds[kColumns / 16][4];
    int first[2], end[2];  // of the queries that see the thread's keys, from the first that sees one of the block's on
  };
  TENON_HOST_BODY explicit AttentionWgmmaKeyGradBody(const Grad& of) : Grad(of) {}

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t b = block.index / tiles / c.Hkv, first_head = block.index / tiles % c.Hkv * (c.H / c.Hkv);
    const Head head(c, b, first_head);
    for (int64_t s0 = block.index % tiles * kRows; s0 < head.S; s0 += tiles * kRows) keys_of(block, b, head, s0);
  }

 private:
  /// Queries first ... end see key s.
  TENON_BODY int64_t first_query(const Head& head, int64_t s) const {
    const int64_t t = s - (head.S - head.T);
    return c.causal && t > 0 ? t : 0;
  }
  TENON_BODY int64_t end_query(const Head& head, int64_t s) const {
    const int64_t t = s - (head.S - head.T) + c.window;
    return c.window > 0 && t < head.T ? t : head.T;
  }

  template <class Block>
  TENON_BODY void keys_of(Block& block, int64_t b, const Head& head, int64_t s0) const {
    const int rows = head.S - s0 < kRows ? static_cast<int>(head.S - s0) : kRows, heads = static_cast<int>(c.H / c.Hkv);
    const int64_t t0 = first_query(head, s0);
    const int count = Grad::clamped(end_query(head, s0 + rows - 1) - t0), of_head = (count + kColumns - 1) / kColumns, steps = of_head * heads;
    // of these queries all see all keys of the block
    const int all_first = Grad::clamped(first_query(head, s0 + rows - 1) - t0), all_end = rows == kRows ? Grad::clamped(end_query(head, s0) - t0) : 0;

    char *k = aligned_to_atoms(block), *v = k + kTileRows, *q = v + kTileRows, *d_out = q + kStages * kTileColumns;
    float* numbers = reinterpret_cast<float*>(d_out + kStages * kTileColumns);  // lse and delta of two tiles
    const KeyRows<false> queries = Grad::queries(head, t0), d_outs = Grad::d_outs(head, t0);
    Lanes<Held, Block> held(block);
    const auto s = [&](int t) -> auto& { return held[t].s; };
    const auto dp = [&](int t) -> auto& { return held[t].dp; };
    const auto dk = [&](int t) -> auto& { return held[t].dk; };
    const auto dv = [&](int t) -> auto& { return held[t].dv; };
    const auto p = [&](int t) -> auto& { return held[t].p; };
    const auto ds = [&](int t) -> auto& { return held[t].ds; };
    const uint32_t at_k = block.shared_address(k), at_v = block.shared_address(v);
    const uint32_t at_q = block.shared_address(q), at_d_out = block.shared_address(d_out);
    const int bytes_q = static_cast<int>(2 * c.D), bytes_d_out = static_cast<int>(2 * c.Dv);
    // Tile `tile` of head `h`, into place i % kStages.
    const auto load = [&](int t, int i, int h, int tile) {
      KeyRows<false> from_q = queries, from_d_out = d_outs;
      from_q.base += h * bytes_q, from_d_out.base += h * bytes_d_out;
      Grad::template fill<kColumns>(block, t, q + i % kStages * kTileColumns, c.D, from_q, tile * kColumns, count);
      Grad::template fill<kColumns>(block, t, d_out + i % kStages * kTileColumns, c.Dv, from_d_out, tile * kColumns, count);
      const int query = tile * kColumns + t % kColumns;
      const int64_t at = (head.h + h) * c.Nq + head.q_row + t0 + query;
      held[t].lse = query < count ? c.lse[at] : -INFINITY;
      held[t].delta = query < count ? Grad::delta[at] : 0.0f;
    };
    const auto keep_numbers = [&](int t, int i) {
      if (t >= kColumns) return;
      float* to = numbers + i % 2 * 2 * kColumns;
      to[t] = held[t].lse == -INFINITY ? INFINITY : held[t].lse * kLog2E;  // then all weights are 0
      to[kColumns + t] = held[t].delta;
    };

    block.own([&](int t) {
      Held& mine = held[t];
      TENON_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int row = Grad::row_of(t, half);
        mine.first[half] = static_cast<int>(first_query(head, s0 + row) - t0);
        mine.end[half] = row < rows ? Grad::clamped(end_query(head, s0 + row) - t0) : 0;
      }
      Grad::template fill<kRows>(block, t, k, c.D, Grad::keys(head, s0), 0, rows);
      Grad::template fill<kRows>(block, t, v, c.Dv, Grad::values(head, s0), 0, rows);
      if (steps > 0) load(t, 0, 0, 0), keep_numbers(t, 0);
    });
    block.commit();
    int next_head = 0, next_tile = 0, column0 = 0;
    for (int i = 0; i < steps; ++i) {
      const auto place = static_cast<uint32_t>(i % kStages * kTileColumns);
      column0 = next_tile * kColumns;
      if (++next_tile == of_head) next_tile = 0, ++next_head;
      block.template wait_for_wgmma<0>();
      block.wgmma_fence(s, dp);
      Grad::ask_scores(block, s, at_k, at_q + place);
      Grad::ask_scores(block, dp, at_v, at_d_out + place);
      block.own([&](int t) {
        if (i + 1 < steps) load(t, i + 1, next_head, next_tile);
      });
      block.commit();
      block.template wgmma_wait<1>(s, p, ds, dk, dv);
      const bool all_seen = column0 >= all_first && column0 + kColumns <= all_end;
      const float* lse = numbers + i % 2 * 2 * kColumns;
      block.own([&](int t) {
        weigh(t, held[t], lse, column0, all_seen);
        Grad::round(held[t].p, held[t].s);
      });
      block.wgmma_fence(dv, p);
      Grad::ask_sums(block, dv, p, at_d_out + place, i > 0);
      block.template wgmma_wait<1>(dp);
      block.own([&](int t) {
        Held& mine = held[t];
        TENON_UNROLL
        for (int j = 0; j < kColumns / 8; ++j)
          TENON_UNROLL
          for (int e = 0; e < 4; ++e) mine.dp[j][e] = mine.s[j][e] * (mine.dp[j][e] - lse[kColumns + 8 * j + column_of_sum(t, e)]) * c.scale;
        Grad::round(mine.ds, mine.dp);
      });
      block.wgmma_fence(dk, ds);
      Grad::ask_sums(block, dk, ds, at_q + place, i > 0);
      block.own([&](int t) {
        if (i + 1 < steps) keep_numbers(t, i + 1);
      });
    }
    block.template wait_for_wgmma<0>();
    block.template wgmma_wait<0>(dk, dv, p, ds);
    block.own([&](int t) {
      if (steps == 0) return;
      const Head of(c, b, head.h);  // read again, so that less is held through the loop
      const int64_t row = of.k_row + s0, there = of.S - s0;
      Grad::write(t, held[t].dk, g.dk + row * c.ld_k + of.kv_head * c.D, c.ld_k, there, c.D);
      Grad::write(t, held[t].dv, g.dv + row * c.ld_v + of.kv_head * c.Dv, c.ld_v, there, c.Dv);
    });
    block.sync();  // before the next tile's copies
  }

  TENON_BODY void weigh(int t, Held& mine, const float* lse, int column0, bool all_seen) const {
    if (!all_seen) Grad::mask(t, mine, column0);
    const float factor = c.scale * kLog2E;
    TENON_UNROLL
    for (int j = 0; j < kColumns / 8; ++j)
      TENON_UNROLL
      for (int e = 0; e < 4; ++e) mine.s[j][e] = exp2_of(fmaf(mine.s[j][e], factor, -lse[8 * j + column_of_sum(t, e)]));
  }
};

}  // namespace tenon::cuda
