// Choosing tokens: a block has one row of scores and reads it some times over from the second-level cache; bound by those bytes.
//
// Probabilities are whole numbers, 2^40 for the likeliest token: their sums do not depend on the order in which threads add them.
#pragma once

#include "bodies/training.h"

namespace tenon::cuda {

struct ArgmaxBody {
  int64_t* index;
  const float* x;
  int64_t C;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    Lanes<uint64_t, Block> best(block);
    block.each([&](int t) {
      uint64_t most = 0;
      for (int64_t c = t; c < C; c += block.threads) {
        const uint64_t rank = ranked(x[block.index * C + c], c);
        most = rank > most ? rank : most;
      }
      best[t] = most;
    });
    const uint64_t most = block.max(best);
    block.each([&](int t) {
      if (t == 0) index[block.index] = index_of(most);
    });
  }
};

/// What stays of a row: elements whose order is above `least`, and of those that have it all but the first `dropped`.
struct Kept {
  uint32_t least = 0;
  uint64_t dropped = 0;
};

struct SampleBody {
  SampleCall c;
  static constexpr int kBins = 256;
  static size_t shared_bytes(int threads) { return static_cast<size_t>(kBins + 2 + threads) * sizeof(uint64_t); }

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const float* x = c.scores + block.index * c.V;
    Lanes<float, Block> part(block);
    block.each([&](int t) {
      float most = -INFINITY;
      for (int64_t i = t; i < c.V; i += block.threads) most = fmaxf(most, score(x[i]));
      part[t] = most;
    });
    const float top = block.max(part);
    if (top == -INFINITY) {
      block.each([&](int t) {
        if (t == 0) c.token[block.index] = -1;
      });
      return;
    }
    Kept kept;
    if (c.top_k > 0 && c.top_k < c.V) {
      const auto one = [](uint32_t, float) { return uint64_t{1}; };
      kept.least = select(block, x, static_cast<uint64_t>(c.V - c.top_k), one).key;
    }
    if (c.top_p < 1) {
      const auto weight = [&](uint32_t key, float s) { return key < kept.least ? uint64_t{0} : mass(s, top); };
      Lanes<uint64_t, Block> sums(block);
      block.each([&](int t) {
        uint64_t sum = 0;
        for (int64_t i = t; i < c.V; i += block.threads) sum += weight(ordered(score(x[i])), score(x[i]));
        sums[t] = sum;
      });
      const uint64_t total = block.sum(sums);
      uint64_t limit = static_cast<uint64_t>(static_cast<double>(total) * (1 - static_cast<double>(c.top_p)));
      limit = limit < total ? limit : total - 1;  // one stays
      const Selected s = select(block, x, limit, weight);
      const uint64_t each = mass(value_of(s.key), top);
      kept = {s.key, each > 0 ? (limit - s.below) / each : 0};
    }
    draw(block, x, top, kept);
  }

 private:
  struct Selected {
    uint32_t key;
    uint64_t below;
  };

  /// A NaN is left out.
  TENON_BODY float score(float v) const { return v > -INFINITY ? v / c.temperature : -INFINITY; }
  static TENON_BODY uint64_t mass(float s, float top) { return static_cast<uint64_t>(expf(s - top) * 0x1p40f); }
  static TENON_BODY float value_of(uint32_t key) { return bits_to_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

  /// The smallest order whose elements and all smaller ones weigh more than `limit`, which is below the weight of all; and what the
  /// smaller ones weigh. Eight bits at a time, from the highest on.
  template <class Block, class Weight>
  TENON_BODY Selected select(Block& block, const float* x, uint64_t limit, Weight&& weight) const {
    uint64_t *bin = reinterpret_cast<uint64_t*>(block.shared), *found = bin + kBins;
    Selected s{0, 0};
    for (int shift = 24; shift >= 0; shift -= 8) {
      block.each([&](int t) {
        for (int b = t; b < kBins; b += block.threads) bin[b] = 0;
      });
      block.each([&](int t) {
        for (int64_t i = t; i < c.V; i += block.threads) {
          const float v = score(x[i]);
          const uint32_t key = ordered(v);
          if (static_cast<uint64_t>(key) >> (shift + 8) == static_cast<uint64_t>(s.key) >> (shift + 8))
            add_shared(reinterpret_cast<unsigned long long*>(bin + (key >> shift) % kBins), static_cast<unsigned long long>(weight(key, v)));
        }
      });
      block.each([&](int t) {
        for (int b = t; b < kBins; b += block.threads) {
          uint64_t below = s.below;
          for (int i = 0; i < b; ++i) below += bin[i];
          if (below <= limit && below + bin[b] > limit) found[0] = static_cast<uint64_t>(b), found[1] = below;
        }
      });
      s.key |= static_cast<uint32_t>(found[0]) << shift, s.below = found[1];
      block.sync();  // before the next round writes there
    }
    return s;
  }

  /// a[t] becomes the sum of those before it; returns the sum of all.
  template <class Block>
  static TENON_BODY uint64_t prefix_sums(Block& block, uint64_t* a) {
    Lanes<uint64_t, Block> mine(block);
    block.own([&](int t) { mine[t] = a[t]; });
    for (int distance = 1; distance < block.threads; distance *= 2) {
      block.each([&](int t) { mine[t] = a[t] + (t >= distance ? a[t - distance] : 0); });
      block.each([&](int t) { a[t] = mine[t]; });
    }
    const uint64_t all = a[block.threads - 1];
    block.sync();
    block.each([&](int t) { mine[t] = t > 0 ? a[t - 1] : 0; });
    block.each([&](int t) { a[t] = mine[t]; });
    return all;
  }

  /// Each thread has neighbours, so that sums follow the order of tokens.
  template <class Block>
  TENON_BODY void draw(Block& block, const float* x, float top, Kept kept) const {
    uint64_t* scan = reinterpret_cast<uint64_t*>(block.shared) + kBins + 2;
    const int64_t share = (c.V + block.threads - 1) / block.threads;
    Lanes<uint64_t, Block> earlier(block);  // elements of order `least` before the thread's first
    block.each([&](int t) {
      uint64_t n = 0;
      for (int64_t i = t * share; kept.dropped > 0 && i < (t + 1) * share && i < c.V; ++i) n += ordered(score(x[i])) == kept.least;
      scan[t] = n;
    });
    if (kept.dropped > 0) prefix_sums(block, scan);
    block.each([&](int t) { earlier[t] = scan[t]; });
    const auto over_share = [&](int t, auto&& body) {
      uint64_t equal = earlier[t];
      for (int64_t i = t * share; i < (t + 1) * share && i < c.V; ++i) {
        const float s = score(x[i]);
        const uint32_t key = ordered(s);
        if (key < kept.least || (key == kept.least && equal++ < kept.dropped)) continue;
        body(i, mass(s, top));
      }
    };
    block.each([&](int t) {
      uint64_t sum = 0;
      over_share(t, [&](int64_t, uint64_t m) { sum += m; });
      scan[t] = sum;
    });
    const uint64_t total = prefix_sums(block, scan);
    uint32_t words[4];
    philox(words, c.seed, static_cast<uint64_t>(c.row[block.index]), static_cast<uint64_t>(c.step[block.index]));
    const double uniform = static_cast<double>((uint64_t{words[0]} << 21) ^ (words[1] >> 11)) * 0x1p-53;
    uint64_t target = static_cast<uint64_t>(uniform * static_cast<double>(total));
    target = target < total ? target : total - 1;
    block.each([&](int t) {
      uint64_t sum = scan[t];
      over_share(t, [&](int64_t i, uint64_t m) {
        if (sum <= target && target < sum + m) c.token[block.index] = i;
        sum += m;
      });
    });
  }
};

}  // namespace tenon::cuda
