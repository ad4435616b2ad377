// Kernels of training: dropout, the steps of optimisers, sums of squares.
#pragma once

#include "block.h"

namespace tenon::cuda {

/// Block `counter` of the Philox 4x32-10 stream; the same numbers as tenon::Random.
/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
TENON_BODY void philox(uint32_t (&c)[4], uint64_t seed, uint64_t stream, uint64_t counter) {
  c[0] = static_cast<uint32_t>(counter), c[1] = static_cast<uint32_t>(counter >> 32);
  c[2] = static_cast<uint32_t>(stream), c[3] = static_cast<uint32_t>(stream >> 32);
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    const uint64_t a = uint64_t{0xD2511F53u} * c[0], b = uint64_t{0xCD9E8D57u} * c[2];
    const uint32_t c1 = c[1], c3 = c[3];
    c[0] = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0, c[1] = static_cast<uint32_t>(b);
    c[2] = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1, c[3] = static_cast<uint32_t>(a);
  }
}

/// Item i is what lies of [begin, begin + n) in the eight numbers of one Philox block, the i-th from begin on.
template <class E>
struct DropoutBody {
  E* y;
  const E* x;
  Dropout d;
  int64_t begin, n;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t group = begin / 8 + i;
    uint32_t words[4];
    philox(words, d.seed, d.stream, d.first + static_cast<uint64_t>(group));
    for (int j = 0; j < 8; ++j) {
      const int64_t at = group * 8 + j - begin;
      if (at < 0 || at >= n) continue;
      const uint32_t half = j % 2 ? words[j / 2] >> 16 : words[j / 2] & 0xffff;
      y[at] = Rounded<E>::from(half < d.below ? 0.0f : to_float(x[at]) * d.scale);
    }
  }
};

template <int V>
struct AdamWBody {
  AdamWCall c;
  TENON_BODY void operator()(int64_t i) const {
    over_pack<V>(i, c.n, [&](auto width, int64_t at) {
      constexpr int W = decltype(width)::value;
      float p[W], m[W], v[W], g[W], largest[W] = {};
      load(p, c.p + at), load(m, c.m + at), load(v, c.v + at), load(g, c.g + at);
      if (c.vmax) load(largest, c.vmax + at);
      for (int j = 0; j < W; ++j) {
        float d = g[j] * c.grad_scale;
        if (c.decay_gradient) d += c.weight_decay * p[j];
        else p[j] -= c.lr * c.weight_decay * p[j];
        m[j] = c.beta1 * m[j] + (1 - c.beta1) * d;
        v[j] = c.beta2 * v[j] + (1 - c.beta2) * d * d;
        largest[j] = largest[j] > v[j] ? largest[j] : v[j];  // v itself without vmax: it is no less than 0
        p[j] -= c.lr * (m[j] / c.correction1) / (sqrtf(largest[j] / c.correction2) + c.eps);
      }
      store(c.p + at, p), store(c.m + at, m), store(c.v + at, v);
      if (c.vmax) store(c.vmax + at, largest);
    });
  }
};

template <int V>
struct SgdBody {
  SgdCall c;
  TENON_BODY void operator()(int64_t i) const {
    over_pack<V>(i, c.n, [&](auto width, int64_t at) {
      constexpr int W = decltype(width)::value;
      float p[W], m[W] = {}, g[W];
      load(p, c.p + at), load(g, c.g + at);
      if (c.m && !c.first) load(m, c.m + at);
      for (int j = 0; j < W; ++j) {
        float d = g[j] * c.grad_scale + c.weight_decay * p[j];
        if (c.m) {
          m[j] = c.first ? d : c.momentum * m[j] + (1 - c.dampening) * d;
          d = c.nesterov ? d + c.momentum * m[j] : m[j];
        }
        p[j] -= c.lr * d;
      }
      store(c.p + at, p);
      if (c.m) store(c.m + at, m);
    });
  }
};

template <int V>
struct LionBody {
  LionCall c;
  TENON_BODY void operator()(int64_t i) const {
    over_pack<V>(i, c.n, [&](auto width, int64_t at) {
      constexpr int W = decltype(width)::value;
      float p[W], m[W], g[W];
      load(p, c.p + at), load(m, c.m + at), load(g, c.g + at);
      for (int j = 0; j < W; ++j) {
        const float d = g[j] * c.grad_scale, direction = c.beta1 * m[j] + (1 - c.beta1) * d;
        const float sign = direction > 0 ? 1.0f : direction < 0 ? -1.0f : 0.0f;
        p[j] -= c.lr * (sign + c.weight_decay * p[j]);
        m[j] = c.beta2 * m[j] + (1 - c.beta2) * d;
      }
      store(c.p + at, p), store(c.m + at, m);
    });
  }
};

/// partial[block] = the block's share of the sum of x^2. Run again with x = partial, squares false and one block it gives the whole,
/// always in the same order.
template <class X>
struct SumBody {
  double* partial;
  const X* x;
  int64_t n, blocks;
  bool squares;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    Lanes<double, Block> part(block);
    block.each([&](int t) {
      double sum = 0;
      for (int64_t i = block.index * block.threads + t; i < n; i += blocks * block.threads) {
        const double v = static_cast<double>(x[i]);
        sum += squares ? v * v : v;
      }
      part[t] = sum;
    });
    const double sum = block.sum(part);
    block.each([&](int t) {
      if (t == 0) partial[block.index] = sum;
    });
  }
};

}  // namespace tenon::cuda
