// The probabilities of attention, written out for those who look into a model: a block has one query of one head.
#pragma once

#include "block.h"

namespace tenon::cuda {

template <class E>
struct AttentionProbsBody {
  AttentionCall c;
  float* probs;
  const int64_t *query, *key;
  int64_t T, S;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t n = block.index, h = block.index_y;
    int64_t b = 0, end = c.B;  // the last sequence that begins at n or before; empty ones begin where the next does
    while (end - b > 1) {
      const int64_t middle = (b + end) / 2;
      if (c.q_start[middle] <= n) b = middle;
      else end = middle;
    }
    const int64_t k_row = c.k_start[b], keys = c.k_start[b + 1] - k_row, t = n - c.q_start[b] + keys - (c.q_start[b + 1] - c.q_start[b]);
    const int64_t seen = !c.causal ? keys : t + 1 < 0 ? 0 : t + 1 < keys ? t + 1 : keys;
    const int64_t first = c.window > 0 && t + 1 - c.window > 0 ? t + 1 - c.window : 0;
    const E* q = static_cast<const E*>(c.q) + n * c.ld_q + h * c.D;
    const E* k = static_cast<const E*>(c.k) + k_row * c.ld_k + h / (c.H / c.Hkv) * c.D;
    float* to = probs + ((query[n] / T * c.H + h) * T + query[n] % T) * S;
    Lanes<float, Block> part(block);
    block.each([&](int lane) {
      float largest = -INFINITY;
      for (int64_t s = lane; s < keys; s += block.threads) {
        float score = -INFINITY;
        if (s >= first && s < seen) {
          float sum = 0;
          for (int64_t d = 0; d < c.D; ++d) sum += to_float(q[d]) * to_float(k[s * c.ld_k + d]);
          score = sum * c.scale;
          if (c.softcap > 0) score = c.softcap * tanhf(score / c.softcap);
          if (c.distance_bias) score += c.distance_bias[h * c.ld_distance + s - t + c.distance_zero];
          if (c.key_bias) score += c.key_bias[k_row + s];
        }
        to[key[k_row + s]] = score;
        largest = fmaxf(largest, score);
      }
      part[lane] = largest;
    });
    const float largest = block.max(part);
    block.each([&](int lane) {
      float sum = 0;
      for (int64_t s = lane; s < keys; s += block.threads) {
        float& p = to[key[k_row + s]];
        p = largest > -INFINITY ? expf(p - largest) : 0.0f;
        sum += p;
      }
      part[lane] = sum;
    });
    const float sum = block.sum(part), inverse = sum > 0 ? 1 / sum : 0.0f;
    block.each([&](int lane) {
      for (int64_t s = lane; s < keys; s += block.threads) to[key[k_row + s]] *= inverse;
    });
  }
};

}  // namespace tenon::cuda
