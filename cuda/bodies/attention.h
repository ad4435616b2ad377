// Attention, forward and backward, on the units for float32: every option there is, for any head width.
//
//   a block has 16 queries of one head (backward for keys: 32 keys of one key head) and walks over tiles of 32 keys:
//
//            keys s ->                      m = largest score so far, l = sum of exp(score - m), O = sum of exp(score - m) v
//     q    [ S = q k^T ]  tile by tile      a new tile with a larger m multiplies l and O by exp(m_old - m_new)
//     |
//
// Source: Dao 2023, "FlashAttention-2".
#pragma once

#include "bodies/training.h"

namespace tenon::cuda {

/// One head of one sequence: where its rows begin, and which keys a query sees. As in the ref kernel.
struct Head {
  int64_t h, q_row, k_row, T, S, kv_head, page;
  TENON_BODY Head(const AttentionCall& c, int64_t b, int64_t head)
      : h(head),
        q_row(c.q_start[b]),
        k_row(c.k_start[b]),
        T(c.q_start[b + 1] - c.q_start[b]),
        S(c.k_start[b + 1] - c.k_start[b]),
        kv_head(head / (c.H / c.Hkv)),
        page(c.pages ? c.page_start[b] : 0) {}
  TENON_BODY int64_t seen(const AttentionCall& c, int64_t t) const {
    const int64_t n = t + S - T + 1;
    return !c.causal || n > S ? S : n < 0 ? 0 : n;
  }
  TENON_BODY int64_t first(const AttentionCall& c, int64_t t) const {
    const int64_t n = t + S - T + 1 - c.window;
    return c.window > 0 && n > 0 ? n : 0;
  }
};

/// Element d of row s of the keys (or values: ld_v, v_offset, Dv, v_scale_offset) of a head.
template <class E>
TENON_BODY float cached(const AttentionCall& c, const Head& head, const void* all, int64_t s, int64_t d, int64_t ld, int64_t width,
                        int64_t offset, int64_t scale_offset) {
  if (!c.pages) return to_float(static_cast<const E*>(all)[(head.k_row + s) * ld + head.kv_head * width + d]);
  const char* page = static_cast<const char*>(c.pages[head.page + s / c.page_rows]);
  const int64_t row = s % c.page_rows, at = row * ld + head.kv_head * width + d;
  if (c.codes == CacheCodes::None) return to_float(reinterpret_cast<const E*>(page + offset)[at]);
  const float code = c.codes == CacheCodes::Int8 ? static_cast<float>(reinterpret_cast<const int8_t*>(page + offset)[at])
                                                 : f8e4m3_to_float(reinterpret_cast<const uint8_t*>(page + offset)[at]);
  return code * reinterpret_cast<const float*>(page + scale_offset)[row * c.Hkv + head.kv_head];
}

/// A product of query t and key s as a score; -inf where t does not see s.
TENON_BODY float score_of(const AttentionCall& c, const Head& head, int64_t t, int64_t s, float product) {
  if (t >= head.T || s >= head.seen(c, t) || s < head.first(c, t)) return -INFINITY;
  float score = product * c.scale;
  if (c.softcap > 0) score = c.softcap * tanhf(score / c.softcap);
  if (c.distance_bias) score += c.distance_bias[head.h * c.ld_distance + s - (t + head.S - head.T) + c.distance_zero];
  return c.key_bias ? score + c.key_bias[head.k_row + s] : score;
}

/// What dropout multiplies the weight of key s with: 0 or its scale.
TENON_BODY float kept(const AttentionCall& c, const Head& head, int64_t t, int64_t s) {
  if (c.dropout.below == 0) return 1;
  const auto number = static_cast<uint64_t>((head.h * c.Nq + head.q_row + t) * c.ld_dropout + s);
  uint32_t words[4];
  philox(words, c.dropout.seed, c.dropout.stream, c.dropout.first + number / 8);
  const uint32_t word = words[number / 2 % 4];
  return (number % 2 ? word >> 16 : word & 0xffff) < c.dropout.below ? 0.0f : c.dropout.scale;
}

constexpr int kAttentionThreads = 128, kQueries = 16, kKeys = 32;

/// Rows in shared memory are an odd number of words apart, so that a warp that reads a column meets 32 banks.
TENON_BODY int64_t odd(int64_t width) { return width | 1; }

/// rows x width elements into shared memory, zeros behind the last row.
template <class Block, class Element>
TENON_BODY void load_tile(Block& block, float* to, int64_t tile, int64_t rows, int64_t width, Element&& element) {
  block.each([&](int t) {
    for (int64_t i = t; i < tile * width; i += block.threads) {
      const int64_t row = i / width, d = i % width;
      to[row * odd(width) + d] = row < rows ? element(row, d) : 0.0f;
    }
  });
}

/// to[i][j] = a_i . b_j for tiles of kQueries and kKeys rows.
template <class Block>
TENON_BODY void multiply_tiles(Block& block, float* to, const float* a, const float* b, int64_t width) {
  block.each([&](int t) {
    for (int i = t; i < kQueries * kKeys; i += block.threads) {
      const float *x = a + i / kKeys * odd(width), *y = b + i % kKeys * odd(width);
      float sum = 0;
      for (int64_t d = 0; d < width; ++d) sum += x[d] * y[d];
      to[i / kKeys * odd(kKeys) + i % kKeys] = sum;
    }
  });
}

/// Block index: (b * H + h) * tiles + tile of queries.
template <class E>
struct AttentionBody {
  AttentionCall c;
  int64_t tiles;

  static size_t shared_bytes(int64_t D, int64_t Dv) {
    const int64_t wide = D > Dv ? D : Dv;
    return static_cast<size_t>(kQueries * (D | 1) + kKeys * (wide | 1) + kQueries * Dv + kQueries * (kKeys | 1) + 3 * kQueries) * sizeof(float);
  }

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t begin = block.index % tiles * kQueries;
    const Head head(c, block.index / tiles / c.H, block.index / tiles % c.H);
    if (begin >= head.T) return;
    const int64_t rows = head.T - begin < kQueries ? head.T - begin : kQueries, wide = c.D > c.Dv ? c.D : c.Dv;
    float* q = reinterpret_cast<float*>(block.shared);
    float *kv = q + kQueries * odd(c.D), *o = kv + kKeys * odd(wide), *p = o + kQueries * c.Dv, *m = p + kQueries * odd(kKeys);
    float *l = m + kQueries, *alpha = l + kQueries;

    load_tile(block, q, kQueries, rows, c.D, [&](int64_t r, int64_t d) {
      return to_float(static_cast<const E*>(c.q)[(head.q_row + begin + r) * c.ld_q + head.h * c.D + d]);
    });
    block.each([&](int t) {
      for (int64_t i = t; i < kQueries * c.Dv; i += block.threads) o[i] = 0;
      if (t < kQueries) m[t] = -INFINITY, l[t] = 0;
    });
    const int64_t last = head.seen(c, begin + rows - 1);
    for (int64_t s0 = head.first(c, begin); s0 < last; s0 += kKeys) {
      const int64_t keys = last - s0 < kKeys ? last - s0 : kKeys;
      load_tile(block, kv, kKeys, keys, c.D,
                [&](int64_t s, int64_t d) { return cached<E>(c, head, c.k, s0 + s, d, c.ld_k, c.D, c.k_offset, c.k_scale_offset); });
      multiply_tiles(block, p, q, kv, c.D);
      block.each([&](int t) {
        if (t >= kQueries) return;
        float* row = p + t * odd(kKeys);
        float largest = m[t];
        for (int s = 0; s < kKeys; ++s) largest = fmaxf(largest, row[s] = score_of(c, head, begin + t, s0 + s, row[s]));
        alpha[t] = largest == -INFINITY ? 1.0f : expf(m[t] - largest);
        float sum = 0;
        for (int s = 0; s < kKeys; ++s) {
          const float weight = row[s] == -INFINITY ? 0.0f : expf(row[s] - largest);
          sum += weight;
          row[s] = weight == 0 ? 0.0f : weight * kept(c, head, begin + t, s0 + s);
        }
        m[t] = largest, l[t] = l[t] * alpha[t] + sum;
      });
      load_tile(block, kv, kKeys, keys, c.Dv,
                [&](int64_t s, int64_t d) { return cached<E>(c, head, c.v, s0 + s, d, c.ld_v, c.Dv, c.v_offset, c.v_scale_offset); });
      block.each([&](int t) {
        for (int64_t i = t; i < kQueries * c.Dv; i += block.threads) {
          const int64_t r = i / c.Dv, d = i % c.Dv;
          float sum = o[i] * alpha[r];
          for (int s = 0; s < kKeys; ++s) sum += p[r * odd(kKeys) + s] * kv[s * odd(c.Dv) + d];
          o[i] = sum;
        }
      });
    }
    block.each([&](int t) {
      for (int64_t i = t; i < rows * c.Dv; i += block.threads) {
        const int64_t r = i / c.Dv, d = i % c.Dv;
        static_cast<E*>(c.out)[(head.q_row + begin + r) * c.ld_out + head.h * c.Dv + d] = Rounded<E>::from(l[r] > 0 ? o[i] / l[r] : 0.0f);
      }
      if (t < rows && c.lse) c.lse[head.h * c.Nq + head.q_row + begin + t] = l[t] > 0 ? m[t] + logf(l[t]) : -INFINITY;
    });
  }
};

}  // namespace tenon::cuda
