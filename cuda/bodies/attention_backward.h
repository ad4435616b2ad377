// The gradients of attention, without sums whose order could change: queries gather over keys, keys over queries.
//
// With p = exp(score - lse) and delta = do . o: dscore = p (mask do v^T - delta), dq = scale dscore k, dk = scale dscore^T q,
// dv = (mask p)^T do.
#pragma once

#include "bodies/attention.h"
#include "bodies/epilogue.h"

namespace tenon::cuda {

/// What both kernels compute for a tile of queries and a tile of keys.
struct GradientTiles {
  float *q, *d_out, *k, *v, *p, *dp, *lse, *delta;

  static int64_t floats(int64_t D, int64_t Dv) {
    return (kQueries + kKeys) * ((D | 1) + (Dv | 1)) + 2 * kQueries * (kKeys | 1) + 2 * kQueries;
  }
  TENON_BODY GradientTiles(float* at, int64_t D, int64_t Dv) {
    q = at, d_out = q + kQueries * odd(D), k = d_out + kQueries * odd(Dv), v = k + kKeys * odd(D), p = v + kKeys * odd(Dv);
    dp = p + kQueries * odd(kKeys), lse = dp + kQueries * odd(kKeys), delta = lse + kQueries;
  }

  template <class Block>
  TENON_BODY void load_queries(Block& block, const AttentionCall& c, const AttentionGrad& g, const Head& head, int64_t begin) const {
    const int64_t rows = head.T - begin < kQueries ? head.T - begin : kQueries;
    load_tile(block, q, kQueries, rows, c.D, [&](int64_t r, int64_t d) {
      return load_as(c.type, c.q, (head.q_row + begin + r) * c.ld_q + head.h * c.D + d);
    });
    load_tile(block, d_out, kQueries, rows, c.Dv,
              [&](int64_t r, int64_t d) { return g.d_out[(head.q_row + begin + r) * c.ld_out + head.h * c.Dv + d]; });
    block.each([&](int t) {
      if (t >= kQueries) return;
      float sum = 0;
      if (t < rows)
        for (int64_t d = 0; d < c.Dv; ++d)
          sum += d_out[t * odd(c.Dv) + d] * load_as(c.type, c.out, (head.q_row + begin + t) * c.ld_out + head.h * c.Dv + d);
      delta[t] = sum, lse[t] = t < rows ? c.lse[head.h * c.Nq + head.q_row + begin + t] : -INFINITY;
    });
  }

  template <class Block>
  TENON_BODY void load_keys(Block& block, const AttentionCall& c, const Head& head, int64_t s0) const {
    const int64_t keys = head.S - s0 < kKeys ? head.S - s0 : kKeys;
    load_tile(block, k, kKeys, keys, c.D,
              [&](int64_t s, int64_t d) { return load_as(c.type, c.k, (head.k_row + s0 + s) * c.ld_k + head.kv_head * c.D + d); });
    load_tile(block, v, kKeys, keys, c.Dv,
              [&](int64_t s, int64_t d) { return load_as(c.type, c.v, (head.k_row + s0 + s) * c.ld_v + head.kv_head * c.Dv + d); });
  }

  /// p becomes mask * p, dp becomes scale * dscore; 0 where a query does not see a key.
  template <class Block>
  TENON_BODY void gradients(Block& block, const AttentionCall& c, const Head& head, int64_t begin, int64_t s0) const {
    multiply_tiles(block, p, q, k, c.D);
    multiply_tiles(block, dp, d_out, v, c.Dv);
    block.each([&](int t) {
      for (int i = t; i < kQueries * kKeys; i += block.threads) {
        const int r = i / kKeys, s = i % kKeys, at = r * static_cast<int>(odd(kKeys)) + s;
        const float score = lse[r] == -INFINITY ? -INFINITY : score_of(c, head, begin + r, s0 + s, p[at]);
        const float weight = score == -INFINITY ? 0.0f : expf(score - lse[r]);
        const float mask = weight == 0 ? 0.0f : kept(c, head, begin + r, s0 + s);
        dp[at] = weight * (mask * dp[at] - delta[r]) * c.scale;
        p[at] = mask * weight;
      }
    });
  }
};

/// Block index: (b * H + h) * tiles + tile of queries.
struct AttentionQueryGradBody {
  AttentionCall c;
  AttentionGrad g;
  int64_t tiles;
  static size_t shared_bytes(int64_t D, int64_t Dv) { return static_cast<size_t>(GradientTiles::floats(D, Dv) + kQueries * D) * sizeof(float); }
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t begin = block.index % tiles * kQueries;
    const Head head(c, block.index / tiles / c.H, block.index / tiles % c.H);
    if (begin >= head.T) return;
    const int64_t rows = head.T - begin < kQueries ? head.T - begin : kQueries;
    float* dq = reinterpret_cast<float*>(block.shared);
    const GradientTiles tile(dq + kQueries * c.D, c.D, c.Dv);
    tile.load_queries(block, c, g, head, begin);
    block.each([&](int t) {
      for (int64_t i = t; i < kQueries * c.D; i += block.threads) dq[i] = 0;
    });
    const int64_t last = head.seen(c, begin + rows - 1);
    for (int64_t s0 = head.first(c, begin); s0 < last; s0 += kKeys) {
      tile.load_keys(block, c, head, s0);
      tile.gradients(block, c, head, begin, s0);
      block.each([&](int t) {
        for (int64_t i = t; i < kQueries * c.D; i += block.threads) {
          const int64_t r = i / c.D, d = i % c.D;
          float sum = dq[i];
          for (int s = 0; s < kKeys; ++s) sum += tile.dp[r * odd(kKeys) + s] * tile.k[s * odd(c.D) + d];
          dq[i] = sum;
        }
      });
    }
    block.each([&](int t) {
      for (int64_t i = t; i < rows * c.D; i += block.threads)
        g.dq[(head.q_row + begin + i / c.D) * c.ld_q + head.h * c.D + i % c.D] += dq[i];
    });
  }
};

/// Block index: (b * Hkv + hkv) * tiles + i: tiles i, i + tiles, ... of keys; all query heads of the key head, one after another.
struct AttentionKeyGradBody {
  AttentionCall c;
  AttentionGrad g;
  int64_t tiles;
  static size_t shared_bytes(int64_t D, int64_t Dv) {
    return static_cast<size_t>(GradientTiles::floats(D, Dv) + kKeys * (D + Dv)) * sizeof(float);
  }
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t b = block.index / tiles / c.Hkv, first_head = block.index / tiles % c.Hkv * (c.H / c.Hkv);
    const Head head(c, b, first_head);
    for (int64_t s0 = block.index % tiles * kKeys; s0 < head.S; s0 += tiles * kKeys) keys_of(block, b, head, s0);
  }

 private:
  template <class Block>
  TENON_BODY void keys_of(Block& block, int64_t b, const Head& of_keys, int64_t s0) const {
    const int64_t keys = of_keys.S - s0 < kKeys ? of_keys.S - s0 : kKeys;
    float *dk = reinterpret_cast<float*>(block.shared), *dv = dk + kKeys * c.D;
    const GradientTiles tile(dv + kKeys * c.Dv, c.D, c.Dv);
    tile.load_keys(block, c, of_keys, s0);
    block.each([&](int t) {
      for (int64_t i = t; i < kKeys * (c.D + c.Dv); i += block.threads) dk[i] = 0;
    });
    for (int64_t h = of_keys.h; h < of_keys.h + c.H / c.Hkv; ++h) {
      const Head head(c, b, h);
      for (int64_t begin = 0; begin < head.T; begin += kQueries) {
        const int64_t end = begin + kQueries < head.T ? begin + kQueries : head.T;
        if (head.seen(c, end - 1) <= s0 || head.first(c, begin) >= s0 + keys) continue;  // no query of the tile sees a key of it
        tile.load_queries(block, c, g, head, begin);
        tile.gradients(block, c, head, begin, s0);
        block.each([&](int t) {
          for (int64_t i = t; i < kKeys * c.D; i += block.threads) {
            float sum = dk[i];
            for (int r = 0; r < kQueries; ++r) sum += tile.dp[r * odd(kKeys) + i / c.D] * tile.q[r * odd(c.D) + i % c.D];
            dk[i] = sum;
          }
          for (int64_t i = t; i < kKeys * c.Dv; i += block.threads) {
            float sum = dv[i];
            for (int r = 0; r < kQueries; ++r) sum += tile.p[r * odd(kKeys) + i / c.Dv] * tile.d_out[r * odd(c.Dv) + i % c.Dv];
            dv[i] = sum;
          }
        });
      }
    }
    block.each([&](int t) {
      for (int64_t i = t; i < keys * c.D; i += block.threads)
        g.dk[(of_keys.k_row + s0 + i / c.D) * c.ld_k + of_keys.kv_head * c.D + i % c.D] += dk[i];
      for (int64_t i = t; i < keys * c.Dv; i += block.threads)
        g.dv[(of_keys.k_row + s0 + i / c.Dv) * c.ld_v + of_keys.kv_head * c.Dv + i % c.Dv] += dv[i];
    });
  }
};

/// The gradient of the distance bias. Block index: b * H + h: it walks over all tiles, so that each distance has its sum from one block in
/// one order. Of a tile, a thread sums a diagonal: the pairs of one distance.
struct AttentionDistanceGradBody {
  AttentionCall c;
  AttentionGrad g;
  static size_t shared_bytes(int64_t D, int64_t Dv) { return static_cast<size_t>(GradientTiles::floats(D, Dv)) * sizeof(float); }
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const Head head(c, block.index / c.H, block.index % c.H);
    float* const sums = g.d_distance + block.index * c.ld_distance;
    const GradientTiles tile(reinterpret_cast<float*>(block.shared), c.D, c.Dv);
    for (int64_t begin = 0; begin < head.T; begin += kQueries) {
      const int64_t rows = head.T - begin < kQueries ? head.T - begin : kQueries;
      tile.load_queries(block, c, g, head, begin);
      for (int64_t s0 = head.first(c, begin); s0 < head.seen(c, begin + rows - 1); s0 += kKeys) {
        tile.load_keys(block, c, head, s0);
        tile.gradients(block, c, head, begin, s0);
        // Diagonal i has the pairs with s - r = i - (kQueries - 1).
        const int64_t first = s0 - begin - (head.S - head.T) + c.distance_zero - (kQueries - 1);
        block.each([&](int t) {
          for (int i = t; i < kQueries + kKeys - 1; i += block.threads) {
            float sum = 0;
            for (int r = 0; r < kQueries; ++r) {
              const int s = r + i - (kQueries - 1);
              if (s >= 0 && s < kKeys) sum += tile.dp[r * odd(kKeys) + s];
            }
            if (first + i >= 0 && first + i < c.ld_distance) sums[first + i] += sum / c.scale;
          }
        });
      }
    }
  }
};

}  // namespace tenon::cuda
