// Attention on tensor cores for elements of 16 bits: a block has 64 rows of one key head and walks over tiles of 64 (or 32) keys. A row is a query of
// one of the heads that share the key head, so that memory delivers a key once for all of them:
//
//   row r = query r / G of the sequence and head r % G of the G heads            warp w has rows 16 w .. 16 w + 16
//
//   copies of V run while S = Q K^T is computed, those of the next K during the softmax and O += P V. P never leaves the registers: the
//   sums of S of two neighbouring tiles of 8 keys are the fragment of P for these 16 keys.
//
// Wide values (latent attention: keys of 576, values of 512) are split over blocks, 128 columns to each; every one computes S.
// With few queries (decoding) the keys of a sequence are split over blocks, whose parts a second kernel joins. Bound by arithmetic with many
// queries, by the bytes of keys and values with few. Source: Dao 2023, "FlashAttention-2"; Dao et al. 2023, "Flash-Decoding".
#pragma once

#include "bodies/attention.h"
#include "bodies/mma_rows.h"

namespace tenon::cuda {

constexpr int kMmaQueries = 64, kMmaAttentionThreads = 128;

TENON_BODY float exp_of(float x) {
#ifdef __CUDA_ARCH__
  return __expf(x);
#else
  return expf(x);
#endif
}

/// The parts of a split: row (split, n, h) has Dv sums, the largest score and the sum of weights.
struct AttentionParts {
  float *sums = nullptr, *largest = nullptr, *weight = nullptr;
  int64_t splits = 1;
  TENON_BODY int64_t at(const AttentionCall& c, int64_t split, int64_t n, int64_t h) const { return (split * c.Nq + n) * c.H + h; }
};

/// The rows of a tile: which query and head each is.
struct QueryRows {
  int64_t begin, count, heads, first_head;
  TENON_BODY bool there(int row) const { return begin + row < count; }
  TENON_BODY int64_t query(int row) const { return (begin + row) / heads; }
  TENON_BODY int64_t head(int row) const { return first_head + (begin + row) % heads; }
};

/// Keys or values as rows of 16-byte pieces.
template <class E>
struct CachedRows {
  const AttentionCall& c;
  const Head& head;
  const void* all;
  int64_t ld, width, offset, scale_offset;
  TENON_BODY const E* row(int64_t s) const {
    if (!c.pages) return static_cast<const E*>(all) + (head.k_row + s) * ld + head.kv_head * width;
    const char* page = static_cast<const char*>(c.pages[head.page + s / c.page_rows]) + offset;
    return reinterpret_cast<const E*>(page) + s % c.page_rows * ld + head.kv_head * width;
  }
  /// Eight elements from d on of row s; 0 beyond `last` and the width.
  template <class Block>
  TENON_BODY void load8(Block& block, char* to, int64_t s, int64_t last, int64_t d) const {
    if (c.codes == CacheCodes::None) {
      const E* from = s < last ? row(s) + d : nullptr;
      const bool there = from && d + 8 <= width;
      if (there && reinterpret_cast<uintptr_t>(from) % 16 == 0) return block.copy_later(to, from, 16);
      for (int i = 0; i < 8; ++i) reinterpret_cast<E*>(to)[i] = from && d + i < width ? from[i] : Rounded<E>::from(0.0f);
      return;
    }
    for (int i = 0; i < 8; ++i) {
      const bool there = s < last && d + i < width;
      reinterpret_cast<E*>(to)[i] = Rounded<E>::from(there ? cached<E>(c, head, all, s, d + i, ld, width, offset, scale_offset) : 0.0f);
    }
  }
};

/// kD: D or more. Block index: ((b * Hkv + key head) * tiles + tile of rows) * splits + split; y: kDv columns of the values.
template <class E, int kD, int kDv, int kKeys>
struct AttentionMmaBody {
  AttentionCall c;
  int64_t tiles;
  AttentionParts parts;
  static constexpr int kThreads = kMmaAttentionThreads, kStride = 2 * kD + 16, kStrideV = 2 * kDv + 16;
  static constexpr size_t kShared = (kMmaQueries + kKeys) * static_cast<size_t>(kStride) + kKeys * static_cast<size_t>(kStrideV);

  /// c of S (16 rows by kKeys) and O (16 by kDv), and of the thread's rows (its first, and that + 8) the largest score and its share of
  /// the sum of weights.
  struct Held {
    float s[kKeys / 8][4], o[kDv / 8][4], most[2], m[2], l[2];
    uint32_t a[4], b[4];
  };

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t split = block.index % parts.splits, of_head = block.index / parts.splits / tiles, G = c.H / c.Hkv;
    const Head head(c, of_head / c.Hkv, of_head % c.Hkv * G);
    const QueryRows rows{block.index / parts.splits % tiles * kMmaQueries, head.T * G, G, head.h};
    if (!rows.there(0)) return;
    const int64_t t_first = rows.query(0), t_last = rows.there(kMmaQueries - 1) ? rows.query(kMmaQueries - 1) : head.T - 1;
    int64_t begin = head.first(c, t_first), last = head.seen(c, t_last);
    if (parts.splits > 1 && last > begin) {
      const int64_t share = ((last - begin + parts.splits - 1) / parts.splits + kKeys - 1) / kKeys * kKeys;
      begin += split * share;
      last = begin + share < last ? begin + share : last;
    }

    char *q = block.shared, *k = q + kMmaQueries * kStride, *v = k + kKeys * kStride;
    const CachedRows<E> keys{c, head, c.k, c.ld_k, c.D, c.k_offset, c.k_scale_offset};
    const CachedRows<E> values{c, head, c.v, c.ld_v, c.Dv, c.v_offset, c.v_scale_offset};
    const int64_t d0 = block.index_y * kDv;
    const auto load = [&](auto width, const CachedRows<E>& from, char* to, int64_t s0, int64_t first) {
      constexpr int W = decltype(width)::value, kStrideW = 2 * W + 16;
      block.own([&](int t) {
        for (int i = t; i < kKeys * (W / 8); i += kThreads)
          from.load8(block, to + i / (W / 8) * kStrideW + i % (W / 8) * 16, s0 + i / (W / 8), last, first + i % (W / 8) * 8);
      });
    };
    const auto load_keys = [&](int64_t s0) { load(Width<kD>{}, keys, k, s0, 0); };
    Lanes<Held, Block> held(block);
    block.own([&](int t) {
      held[t] = {};
      held[t].m[0] = held[t].m[1] = -INFINITY;
      for (int i = t; i < kMmaQueries * (kD / 8); i += kThreads) load_query(block, q, i / (kD / 8), i % (kD / 8) * 8, rows, head);
    });
    if (begin < last) load_keys(begin);
    block.commit();
    for (int64_t s0 = begin; s0 < last; s0 += kKeys) {
      load(Width<kDv>{}, values, v, s0, d0);
      block.commit();
      block.template wait<1>();
      multiply_rows<E, kD, kKeys>(block, held, [&](int t) { return held[t].s; }, q, k);
      block.sync();
      if (s0 + kKeys < last) load_keys(s0 + kKeys);
      block.commit();
      weigh(block, held, rows, head, s0, t_first, t_last);
      block.template wait<1>();
      add_rows<E, kDv, kKeys>(block, held, [&](int t) { return held[t].o; }, [&](int t) { return held[t].s; }, v);
      block.sync();
    }
    for (int i = 0; i < 2; ++i) block.template warp_sum<4>([&](int t) -> float& { return held[t].l[i]; });
    block.own([&](int t) { write(t, held[t], rows, head, split, d0); });
  }

 private:
  static TENON_BODY int row_of(int t, int half) { return t / kWarp * 16 + t % kWarp / 4 + 8 * half; }

  template <class Block>
  TENON_BODY void load_query(Block& block, char* q, int row, int d, const QueryRows& rows, const Head& head) const {
    E* to = reinterpret_cast<E*>(q + row * kStride + d * 2);
    const E* from = rows.there(row) ? static_cast<const E*>(c.q) + (head.q_row + rows.query(row)) * c.ld_q + rows.head(row) * c.D + d : nullptr;
    if (from && d + 8 <= c.D && reinterpret_cast<uintptr_t>(from) % 16 == 0) return block.copy_later(to, from, 16);
    for (int i = 0; i < 8; ++i) to[i] = from && d + i < c.D ? from[i] : Rounded<E>::from(0.0f);
  }

  /// s becomes the weights exp(score - m), and what was summed before is brought to the new largest scores m.
  template <class Block, class HeldLanes>
  TENON_BODY void weigh(Block& block, HeldLanes& held, const QueryRows& rows, const Head& head, int64_t s0, int64_t t_first, int64_t t_last) const {
    // all rows see all keys of the tile, and nothing is added to scores
    const bool plain = !c.key_bias && !c.distance_bias && !(c.softcap > 0) && rows.there(kMmaQueries - 1) && s0 + kKeys <= head.seen(c, t_first) &&
                       s0 >= head.first(c, t_last);
    block.own([&](int t) {
      Held& mine = held[t];
      TENON_UNROLL
      for (int half = 0; half < 2; ++half) mine.most[half] = mine.m[half];
      TENON_UNROLL
      for (int j = 0; j < kKeys / 8; ++j)
        TENON_UNROLL
        for (int e = 0; e < 4; ++e) {
          float& score = mine.s[j][e];
          if (plain) {
            score *= c.scale;
          } else {
            const int row = row_of(t, e / 2);
            Head of_row = head;
            of_row.h = rows.head(row);
            score = rows.there(row) ? score_of(c, of_row, rows.query(row), s0 + 8 * j + column_of_sum(t, e), score) : -INFINITY;
          }
          mine.most[e / 2] = fmaxf(mine.most[e / 2], score);
        }
    });
    for (int half = 0; half < 2; ++half) block.template warp_max<4>([&](int t) -> float& { return held[t].most[half]; });
    block.own([&](int t) {
      Held& mine = held[t];
      TENON_UNROLL
      for (int half = 0; half < 2; ++half) {
        const float most = mine.most[half], alpha = most == -INFINITY ? 1.0f : exp_of(mine.m[half] - most);
        mine.m[half] = most, mine.l[half] *= alpha;
        TENON_UNROLL
        for (int j = 0; j < kDv / 8; ++j) mine.o[j][2 * half] *= alpha, mine.o[j][2 * half + 1] *= alpha;
      }
      TENON_UNROLL
      for (int j = 0; j < kKeys / 8; ++j)
        TENON_UNROLL
        for (int e = 0; e < 4; ++e) {
          float& s = mine.s[j][e];
          s = s == -INFINITY ? 0.0f : exp_of(s - mine.m[e / 2]);
          mine.l[e / 2] += s;
          if (c.dropout.below == 0 || s == 0) continue;
          const int row = row_of(t, e / 2);
          Head of_row = head;
          of_row.h = rows.head(row);
          s *= kept(c, of_row, rows.query(row), s0 + 8 * j + column_of_sum(t, e));
        }
    });
  }

  TENON_BODY void write(int t, const Held& mine, const QueryRows& rows, const Head& head, int64_t split, int64_t d0) const {
    TENON_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int row = row_of(t, half);
      if (!rows.there(row)) continue;
      const int64_t n = head.q_row + rows.query(row), h = rows.head(row);
      const float l = mine.l[half], factor = parts.splits > 1 ? 1.0f : l > 0 ? 1 / l : 0.0f;
      TENON_UNROLL
      for (int j = 0; j < kDv / 8; ++j)
        TENON_UNROLL
        for (int e = 0; e < 2; ++e) {
          const int64_t d = d0 + 8 * j + column_of_sum(t, e);
          if (d >= c.Dv) continue;
          const float o = mine.o[j][2 * half + e] * factor;
          if (parts.splits > 1) parts.sums[parts.at(c, split, n, h) * c.Dv + d] = o;
          else static_cast<E*>(c.out)[n * c.ld_out + h * c.Dv + d] = Rounded<E>::from(o);
        }
      if (t % 4 != 0 || d0 > 0) continue;
      if (parts.splits > 1) parts.largest[parts.at(c, split, n, h)] = mine.m[half], parts.weight[parts.at(c, split, n, h)] = l;
      else if (c.lse) c.lse[h * c.Nq + n] = l > 0 ? mine.m[half] + logf(l) : -INFINITY;
    }
  }
};

/// Joins the parts: block index: row n of q * H + h.
template <class E>
struct JoinPartsBody {
  AttentionCall c;
  AttentionParts parts;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t n = block.index / c.H, h = block.index % c.H;
    float most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < parts.splits; ++i) most = fmaxf(most, parts.largest[parts.at(c, i, n, h)]);
    for (int64_t i = 0; i < parts.splits && most > -INFINITY; ++i)
      sum += parts.weight[parts.at(c, i, n, h)] * expf(parts.largest[parts.at(c, i, n, h)] - most);
    block.each([&](int t) {
      for (int64_t d = t; d < c.Dv; d += block.threads) {
        float o = 0;
        for (int64_t i = 0; i < parts.splits && most > -INFINITY; ++i)
          o += parts.sums[parts.at(c, i, n, h) * c.Dv + d] * expf(parts.largest[parts.at(c, i, n, h)] - most);
        static_cast<E*>(c.out)[n * c.ld_out + h * c.Dv + d] = Rounded<E>::from(sum > 0 ? o / sum : 0.0f);
      }
      if (t == 0 && c.lse) c.lse[h * c.Nq + n] = sum > 0 ? most + logf(sum) : -INFINITY;
    });
  }
};

}  // namespace tenon::cuda
