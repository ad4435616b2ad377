// The gradients of attention on tensor cores, for elements of 16 bits. A block has 64 rows, a warp 16 of them, and walks over tiles of columns:
//
//   queries' gradient:  rows are queries, columns keys      S = Q K^T, dP = dO V^T                   dQ += dS K
//   keys' gradients:    rows are keys, columns queries      S^T = K Q^T, dP^T = V dO^T               dK += dS^T Q, dV += P^T dO
//
// with P = exp(scale S - lse) and dS = scale P (dP - delta), delta = dO . O, as in attention_backward.h. P and dS never leave the registers: the
// sums of two neighbouring tiles of 8 columns are a fragment of the next product. Each element of a result is summed by one block in one order.
// Source: Dao 2023, "FlashAttention-2".
#pragma once

#include "bodies/attention_mma.h"

namespace tenon::cuda {

/// d_out (Nq * H, Dv) rounded, and delta (H, Nq) of what was rounded. A warp to each row of each head.
template <class E>
struct AttentionDeltaBody {
  AttentionCall c;
  AttentionGrad g;
  E* d_out;
  float* delta;
  static constexpr int kThreads = 128, kWarps = kThreads / kWarp;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    Lanes<float, Block> sum(block);
    const auto item = [&](int t) { return block.index * kWarps + t / kWarp; };
    block.own([&](int t) {
      sum[t] = 0;
      const int64_t i = item(t), n = i / c.H, h = i % c.H, at = n * c.ld_out + h * c.Dv;
      if (n >= c.Nq) return;
      for (int64_t d = t % kWarp; d < c.Dv; d += kWarp) {
        const E rounded = Rounded<E>::from(g.d_out[at + d]);
        d_out[i * c.Dv + d] = rounded;
        sum[t] += to_float(rounded) * to_float(static_cast<const E*>(c.out)[at + d]);
      }
    });
    block.template warp_sum<kWarp>([&](int t) -> float& { return sum[t]; });
    block.own([&](int t) {
      const int64_t i = item(t);
      if (t % kWarp == 0 && i < c.Nq * c.H) delta[i % c.H * c.Nq + i / c.H] = sum[t];
    });
  }
};

/// What both kernels have in common.
template <class E, int kD, int kDv, int kColumns>
struct AttentionGradTiles {
  static constexpr int kRows = 64, kThreads = 128, kStride = 2 * kD + 16, kStrideV = 2 * kDv + 16;
  AttentionCall c;
  AttentionGrad g;
  const E* d_out;
  const float* delta;
  int64_t tiles;

  static TENON_BODY int row_of(int t, int half) { return t / kWarp * 16 + t % kWarp / 4 + 8 * half; }

  /// Rows of `width` elements as lines of kWidth; row(i) is null where there is none.
  template <int kWidth, class Block, class Row>
  static TENON_BODY void load(Block& block, char* to, int rows, int64_t width, Row&& row) {
    block.own([&](int t) {
      for (int i = t; i < rows * (kWidth / 8); i += kThreads) {
        const int r = i / (kWidth / 8), d = i % (kWidth / 8) * 8;
        const E* from = row(r);
        char* at = to + r * (2 * kWidth + 16) + 2 * d;
        if (from && d + 8 <= width && reinterpret_cast<uintptr_t>(from + d) % 16 == 0) {
          block.copy_later(at, from + d, 16);
          continue;
        }
        for (int e = 0; e < 8; ++e) reinterpret_cast<E*>(at)[e] = from && d + e < width ? from[d + e] : Rounded<E>::from(0.0f);
      }
    });
  }
  template <class Block>
  TENON_BODY void load_queries(Block& block, char* to, int rows, const Head& head, int64_t begin) const {
    load<kD>(block, to, rows, c.D, [&](int r) {
      return begin + r < head.T ? static_cast<const E*>(c.q) + (head.q_row + begin + r) * c.ld_q + head.h * c.D : nullptr;
    });
  }
  template <class Block>
  TENON_BODY void load_d_out(Block& block, char* to, int rows, const Head& head, int64_t begin) const {
    load<kDv>(block, to, rows, c.Dv, [&](int r) { return begin + r < head.T ? d_out + ((head.q_row + begin + r) * c.H + head.h) * c.Dv : nullptr; });
  }
  template <class Block>
  TENON_BODY void load_keys(Block& block, char* to, int rows, const Head& head, int64_t s0) const {
    load<kD>(block, to, rows, c.D, [&](int r) {
      return s0 + r < head.S ? static_cast<const E*>(c.k) + (head.k_row + s0 + r) * c.ld_k + head.kv_head * c.D : nullptr;
    });
  }
  template <class Block>
  TENON_BODY void load_values(Block& block, char* to, int rows, const Head& head, int64_t s0) const {
    load<kDv>(block, to, rows, c.Dv, [&](int r) {
      return s0 + r < head.S ? static_cast<const E*>(c.v) + (head.k_row + s0 + r) * c.ld_v + head.kv_head * c.Dv : nullptr;
    });
  }

  /// True if all `queries` from `begin` on see all `keys` from s0 on and nothing is added to scores.
  TENON_BODY bool plain(const Head& head, int64_t begin, int queries, int64_t s0, int keys) const {
    return !c.key_bias && !c.distance_bias && begin + queries <= head.T && s0 + keys <= head.seen(c, begin) && s0 >= head.first(c, begin + queries - 1);
  }
  /// p becomes mask * P, dp becomes dS, of query t and key s.
  TENON_BODY void weigh(float& p, float& dp, const Head& head, bool is_plain, int64_t t, int64_t s, float lse, float of_delta) const {
    const float score = is_plain ? p * c.scale : lse == -INFINITY ? -INFINITY : score_of(c, head, t, s, p);
    const float weight = score == -INFINITY ? 0.0f : exp_of(score - lse), mask = weight == 0 ? 0.0f : kept(c, head, t, s);
    dp = weight * (mask * dp - of_delta) * c.scale;
    p = mask * weight;
  }
  /// to[row, d] += sums, rows below `rows` only.
  template <int kWidth>
  static TENON_BODY void write(int t, const float (&sums)[kWidth / 8][4], float* to, int64_t ld, int64_t rows, int64_t width) {
    TENON_UNROLL
    for (int j = 0; j < kWidth / 8; ++j)
      TENON_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int64_t row = row_of(t, e / 2), d = 8 * j + column_of_sum(t, e);
        if (row < rows && d < width) to[row * ld + d] += sums[j][e];
      }
  }
};

/// Block index: (b * H + h) * tiles + tile of queries.
template <class E, int kD, int kDv, int kColumns>
struct AttentionMmaQueryGradBody : AttentionGradTiles<E, kD, kDv, kColumns> {
  using Tiles = AttentionGradTiles<E, kD, kDv, kColumns>;
  using Tiles::c, Tiles::g, Tiles::tiles, Tiles::kRows;
  static constexpr int kThreads = Tiles::kThreads;
  static constexpr size_t kShared = (kRows + kColumns) * static_cast<size_t>(Tiles::kStride + Tiles::kStrideV);
  struct Held {
    float s[kColumns / 8][4], dp[kColumns / 8][4], dq[kD / 8][4], lse[2], delta[2];
    uint32_t a[4], b[4];
  };
  TENON_HOST_BODY explicit AttentionMmaQueryGradBody(const Tiles& of) : Tiles(of) {}

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t begin = block.index % tiles * kRows;
    const Head head(c, block.index / tiles / c.H, block.index / tiles % c.H);
    if (begin >= head.T) return;
    const int64_t rows = head.T - begin < kRows ? head.T - begin : kRows;
    char *q = block.shared, *d_out = q + kRows * Tiles::kStride, *k = d_out + kRows * Tiles::kStrideV, *v = k + kColumns * Tiles::kStride;
    Lanes<Held, Block> held(block);
    block.own([&](int t) {
      held[t] = {};
      for (int half = 0; half < 2; ++half) {
        const int row = Tiles::row_of(t, half);
        const int64_t at = head.h * c.Nq + head.q_row + begin + row;
        held[t].lse[half] = row < rows ? c.lse[at] : -INFINITY;
        held[t].delta[half] = row < rows ? Tiles::delta[at] : 0.0f;
      }
    });
    Tiles::load_queries(block, q, kRows, head, begin);
    Tiles::load_d_out(block, d_out, kRows, head, begin);
    const int64_t last = head.seen(c, begin + rows - 1);
    for (int64_t s0 = head.first(c, begin); s0 < last; s0 += kColumns) {
      Tiles::load_keys(block, k, kColumns, head, s0);
      block.commit();
      Tiles::load_values(block, v, kColumns, head, s0);
      block.commit();
      block.template wait<1>();
      multiply_rows<E, kD, kColumns>(block, held, [&](int t) { return held[t].s; }, q, k);
      block.template wait<0>();
      multiply_rows<E, kDv, kColumns>(block, held, [&](int t) { return held[t].dp; }, d_out, v);
      const bool plain = Tiles::plain(head, begin, kRows, s0, kColumns);
      block.own([&](int t) {
        Held& mine = held[t];
        TENON_UNROLL
        for (int j = 0; j < kColumns / 8; ++j)
          TENON_UNROLL
          for (int e = 0; e < 4; ++e)
            Tiles::weigh(mine.s[j][e], mine.dp[j][e], head, plain, begin + Tiles::row_of(t, e / 2), s0 + 8 * j + column_of_sum(t, e), mine.lse[e / 2],
                         mine.delta[e / 2]);
      });
      add_rows<E, kD, kColumns>(block, held, [&](int t) { return held[t].dq; }, [&](int t) { return held[t].dp; }, k);
      block.sync();
    }
    block.own([&](int t) {
      Tiles::template write<kD>(t, held[t].dq, g.dq + (head.q_row + begin) * c.ld_q + head.h * c.D, c.ld_q, rows, c.D);
    });
  }
};

/// Block index: (b * Hkv + hkv) * tiles + i: tiles i, i + tiles, ... of keys; all query heads of the key head, one after another.
template <class E, int kD, int kDv, int kColumns>
struct AttentionMmaKeyGradBody : AttentionGradTiles<E, kD, kDv, kColumns> {
  using Tiles = AttentionGradTiles<E, kD, kDv, kColumns>;
  using Tiles::c, Tiles::g, Tiles::tiles, Tiles::kRows;
  static constexpr int kThreads = Tiles::kThreads;
  static constexpr size_t kShared = (kRows + kColumns) * static_cast<size_t>(Tiles::kStride + Tiles::kStrideV) + 2 * kColumns * sizeof(float);
  struct Held {
    float s[kColumns / 8][4], dp[kColumns / 8][4], dk[kD / 8][4], dv[kDv / 8][4];
    uint32_t a[4], b[4];
  };
  TENON_HOST_BODY explicit AttentionMmaKeyGradBody(const Tiles& of) : Tiles(of) {}

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t b = block.index / tiles / c.Hkv, first_head = block.index / tiles % c.Hkv * (c.H / c.Hkv);
    const Head head(c, b, first_head);
    for (int64_t s0 = block.index % tiles * kRows; s0 < head.S; s0 += tiles * kRows) keys_of(block, b, head, s0);
  }

 private:
  template <class Block>
  TENON_BODY void keys_of(Block& block, int64_t b, const Head& of_keys, int64_t s0) const {
    const int64_t keys = of_keys.S - s0 < kRows ? of_keys.S - s0 : kRows;
    char *k = block.shared, *v = k + kRows * Tiles::kStride, *q = v + kRows * Tiles::kStrideV, *d_out = q + kColumns * Tiles::kStride;
    float *lse = reinterpret_cast<float*>(d_out + kColumns * Tiles::kStrideV), *delta = lse + kColumns;
    Lanes<Held, Block> held(block);
    block.own([&](int t) { held[t] = {}; });
    Tiles::load_keys(block, k, kRows, of_keys, s0);
    Tiles::load_values(block, v, kRows, of_keys, s0);
    for (int64_t h = of_keys.h; h < of_keys.h + c.H / c.Hkv; ++h) {
      const Head head(c, b, h);
      for (int64_t begin = 0; begin < head.T; begin += kColumns) {
        const int64_t end = begin + kColumns < head.T ? begin + kColumns : head.T;
        if (head.seen(c, end - 1) <= s0 || head.first(c, begin) >= s0 + keys) continue;  // no query of the tile sees a key of it
        Tiles::load_queries(block, q, kColumns, head, begin);
        block.own([&](int t) {
          if (t >= kColumns) return;
          const int64_t at = h * c.Nq + head.q_row + begin + t;
          lse[t] = begin + t < end ? c.lse[at] : -INFINITY;
          delta[t] = begin + t < end ? Tiles::delta[at] : 0.0f;
        });
        block.commit();
        Tiles::load_d_out(block, d_out, kColumns, head, begin);
        block.commit();
        block.template wait<1>();
        multiply_rows<E, kD, kColumns>(block, held, [&](int t) { return held[t].s; }, k, q);
        block.template wait<0>();
        multiply_rows<E, kDv, kColumns>(block, held, [&](int t) { return held[t].dp; }, v, d_out);
        const bool plain = Tiles::plain(head, begin, kColumns, s0, kRows);
        block.own([&](int t) {
          Held& mine = held[t];
          TENON_UNROLL
          for (int j = 0; j < kColumns / 8; ++j)
            TENON_UNROLL
            for (int e = 0; e < 4; ++e) {
              const int column = 8 * j + column_of_sum(t, e);
              Tiles::weigh(mine.s[j][e], mine.dp[j][e], head, plain, begin + column, s0 + Tiles::row_of(t, e / 2), lse[column], delta[column]);
            }
        });
        add_rows<E, kDv, kColumns>(block, held, [&](int t) { return held[t].dv; }, [&](int t) { return held[t].s; }, d_out);
        add_rows<E, kD, kColumns>(block, held, [&](int t) { return held[t].dk; }, [&](int t) { return held[t].dp; }, q);
        block.sync();
      }
    }
    block.own([&](int t) {
      Tiles::template write<kD>(t, held[t].dk, g.dk + (of_keys.k_row + s0) * c.ld_k + of_keys.kv_head * c.D, c.ld_k, keys, c.D);
      Tiles::template write<kDv>(t, held[t].dv, g.dv + (of_keys.k_row + s0) * c.ld_v + of_keys.kv_head * c.Dv, c.ld_v, keys, c.Dv);
    });
    block.commit();
    block.template wait<0>();  // where no query saw these keys their copies may still run, into what the next tile fills
  }
};

}  // namespace tenon::cuda
