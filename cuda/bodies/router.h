// The router of a mixture of experts: scores, choice and weights of a row by one warp; bound by launching. And the rows sorted by expert.
#pragma once

#include "bodies/activation.h"

namespace tenon::cuda {

TENON_BODY float place_weight(const RouterCall& c, int64_t k) { return k >= c.K - c.newcomers ? c.newcomer_weight : 1.0f; }

/// A block is one warp and has one row.
struct RouteBody {
  RouterCall c;
  static constexpr int kThreads = kWarp;
  static size_t shared_bytes(const RouterCall& c) { return static_cast<size_t>(c.E) * 8 + static_cast<size_t>(c.groups) * 8 + static_cast<size_t>(c.E) * 4; }

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    uint64_t *rank = reinterpret_cast<uint64_t*>(block.shared), *group_rank = rank + c.E;  // 0: cannot be chosen
    float* choice = reinterpret_cast<float*>(group_rank + c.groups);
    const int64_t row = block.index * c.E;
    scores(block, row);
    block.each([&](int t) {
      for (int64_t e = t; e < c.E; e += kWarp) choice[e] = c.score[row + e] + (c.bias ? c.bias[e] : 0.0f), rank[e] = ranked(choice[e], e);
    });
    if (c.top_groups < c.groups) limit(block, rank, group_rank, choice);
    for (int64_t k = 0; k < c.K; ++k) {
      const int64_t e = take_best(block, rank, c.E);
      block.each([&](int t) {
        if (t == 0) c.expert[block.index * c.K + k] = e, c.weight[block.index * c.K + k] = c.score[row + e] * place_weight(c, k);
      });
    }
    block.each([&](int t) {
      if (t != 0) return;
      float* w = c.weight + block.index * c.K;
      float sum = 0;
      for (int64_t k = 0; k < c.K; ++k) sum += w[k];
      const float factor = c.normalize ? c.scale / (sum + 1e-20f) : c.scale;
      for (int64_t k = 0; k < c.K; ++k) w[k] *= factor;
    });
  }

 private:
  template <class Block>
  TENON_BODY void scores(Block& block, int64_t row) const {
    const float* x = c.logits + row;
    float* s = c.score + row;
    if (c.sigmoid) {
      block.each([&](int t) {
        for (int64_t e = t; e < c.E; e += kWarp) s[e] = sigmoid(x[e]);
      });
      return;
    }
    Lanes<float, Block> part(block);
    block.each([&](int t) {
      part[t] = -INFINITY;
      for (int64_t e = t; e < c.E; e += kWarp) part[t] = fmaxf(part[t], x[e]);
    });
    const float most = block.max(part);
    block.each([&](int t) {
      part[t] = 0;
      for (int64_t e = t; e < c.E; e += kWarp) part[t] += s[e] = expf(x[e] - most);
    });
    const float inverse = 1 / block.sum(part);
    block.each([&](int t) {
      for (int64_t e = t; e < c.E; e += kWarp) s[e] *= inverse;
    });
  }
  /// The index of the best of n, which is then out of the choice.
  template <class Block>
  static TENON_BODY int64_t take_best(Block& block, uint64_t* rank, int64_t n) {
    Lanes<uint64_t, Block> best(block);
    block.own([&](int t) {
      best[t] = 0;
      for (int64_t i = t; i < n; i += kWarp) best[t] = rank[i] > best[t] ? rank[i] : best[t];
    });
    const int64_t index = index_of(block.max(best));
    block.each([&](int t) {
      if (t == 0) rank[index] = 0;
    });
    return index;
  }
  template <class Block>
  TENON_BODY void limit(Block& block, uint64_t* rank, uint64_t* group_rank, const float* choice) const {
    const int64_t each = c.E / c.groups;
    block.each([&](int t) {
      for (int64_t g = t; g < c.groups; g += kWarp) {
        float first = -INFINITY, second = -INFINITY;
        for (int64_t e = g * each; e < (g + 1) * each; ++e) {
          if (choice[e] > first) second = first, first = choice[e];
          else if (choice[e] > second) second = choice[e];
        }
        group_rank[g] = ranked(c.group_by_top2 && each > 1 ? first + second : first, g);
      }
    });
    for (int64_t k = 0; k < c.top_groups; ++k) take_best(block, group_rank, c.groups);
    block.each([&](int t) {
      for (int64_t e = t; e < c.E; e += kWarp)
        if (group_rank[e / each] != 0) rank[e] = 0;  // those that were taken are the chosen
    });
  }
};

/// As in the ref kernel; a block is one warp and has one row.
struct RouteBackwardBody {
  float* dlogits;
  const float* dweight;
  RouterCall c;
  static constexpr int kThreads = kWarp;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const float *s = c.score + block.index * c.E, *dw = dweight + block.index * c.K;
    const int64_t* expert = c.expert + block.index * c.K;
    float* d = dlogits + block.index * c.E;
    block.each([&](int t) {
      for (int64_t e = t; e < c.E; e += kWarp) d[e] = 0;
    });
    float sum = 0, dot = 0;
    for (int64_t k = 0; k < c.K; ++k) {
      if (expert[k] < 0) continue;
      const float a = s[expert[k]] * place_weight(c, k);
      sum += a, dot += a * dw[k];
    }
    sum += 1e-20f;
    block.each([&](int t) {
      for (int64_t k = t; k < c.K; k += kWarp)
        if (expert[k] >= 0) d[expert[k]] = place_weight(c, k) * c.scale * (c.normalize ? dw[k] / sum - dot / (sum * sum) : dw[k]);
    });
    Lanes<float, Block> part(block);
    block.each([&](int t) {
      part[t] = 0;
      for (int64_t e = t; e < c.E; e += kWarp) part[t] += d[e] * s[e];
    });
    const float total = c.sigmoid ? 0.0f : block.sum(part);
    block.each([&](int t) {
      for (int64_t e = t; e < c.E; e += kWarp) d[e] = c.sigmoid ? d[e] * (s[e] * (1 - s[e])) : s[e] * (d[e] - total);
    });
  }
};

constexpr int kChunk = 512, kSortThreads = 256;

/// A stable sort of places by expert, chunks of 512 places apart: counts of each chunk, where each chunk's rows of each expert begin, and
/// the rows. No atomic sums, so the order never changes. With one chunk a single block does all three.
struct SortByExpert {
  int64_t *start, *token, *row;
  const int64_t* expert;
  int64_t places, K, E;
  int64_t* count;  // (chunks, E): places of the expert in the chunk, then the row of the first of them

  TENON_HOST_BODY int64_t chunks() const { return (places + kChunk - 1) / kChunk; }
  TENON_BODY int64_t end_of(int64_t chunk) const { return (chunk + 1) * kChunk < places ? (chunk + 1) * kChunk : places; }
  static constexpr size_t kShared = kChunk * sizeof(int);

  /// The experts of a chunk into shared memory.
  template <class Block>
  TENON_BODY int* load_chunk(Block& block, int64_t chunk) const {
    int* mine = reinterpret_cast<int*>(block.shared);
    block.each([&](int t) {
      for (int64_t p = chunk * kChunk + t; p < end_of(chunk); p += block.threads) mine[p - chunk * kChunk] = static_cast<int>(expert[p]);
    });
    return mine;
  }
  template <class Block>
  TENON_BODY void count_chunk(Block& block, int64_t chunk) const {
    const int* mine = load_chunk(block, chunk);
    const int n = static_cast<int>(end_of(chunk) - chunk * kChunk);
    block.each([&](int t) {
      for (int64_t e = t; e < E; e += block.threads) {
        int64_t sum = 0;
        for (int i = 0; i < n; ++i) sum += mine[i] == e;
        count[chunk * E + e] = sum;
      }
    });
  }
  /// One block.
  template <class Block>
  TENON_BODY void offsets(Block& block) const {
    const int64_t all = chunks();
    block.each([&](int t) {
      for (int64_t e = t; e < E; e += block.threads) {
        int64_t sum = 0;
        for (int64_t c = 0; c < all; ++c) sum += count[c * E + e];
        start[e + 1] = sum;
      }
      if (t == 0) start[0] = 0;
    });
    block.each([&](int t) {
      if (t == 0)
        for (int64_t e = 0; e < E; ++e) start[e + 1] += start[e];
    });
    block.each([&](int t) {
      for (int64_t e = t; e < E; e += block.threads) {
        int64_t next = start[e];
        for (int64_t c = 0; c < all; ++c) {
          const int64_t n = count[c * E + e];
          count[c * E + e] = next;
          next += n;
        }
      }
    });
  }
  template <class Block>
  TENON_BODY void place_chunk(Block& block, int64_t chunk) const {
    const int* mine = load_chunk(block, chunk);
    const int64_t first = chunk * kChunk;
    const int n = static_cast<int>(end_of(chunk) - first);
    block.each([&](int t) {
      for (int64_t e = t; e < E; e += block.threads) {
        int64_t next = count[chunk * E + e];
        for (int i = 0; i < n; ++i) {
          if (mine[i] != e) continue;
          row[first + i] = next;
          token[next++] = (first + i) / K;
        }
      }
      for (int i = t; i < n; i += block.threads) {
        if (mine[i] < 0) row[first + i] = -1;
        if (first + i >= start[E]) token[first + i] = -1;
      }
    });
  }
};

struct SortCountBody {
  SortByExpert sort;
  static constexpr int kThreads = kSortThreads;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    sort.count_chunk(block, block.index);
  }
};
struct SortOffsetsBody {
  SortByExpert sort;
  static constexpr int kThreads = kSortThreads;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    sort.offsets(block);
  }
};
struct SortPlaceBody {
  SortByExpert sort;
  static constexpr int kThreads = kSortThreads;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    sort.place_chunk(block, block.index);
  }
};
struct SortAtOnceBody {
  SortByExpert sort;
  static constexpr int kThreads = kSortThreads;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    sort.count_chunk(block, 0);
    sort.offsets(block);
    sort.place_chunk(block, 0);
  }
};

}  // namespace tenon::cuda
