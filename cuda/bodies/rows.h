// Kernels over rows: softmax, losses, and rows picked, put and summed. A block has one row.
#pragma once

#include "bodies/row.h"

namespace tenon::cuda {

template <int V>
struct SoftmaxBody {
  float* y;
  const float* x;
  int64_t C;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t row = block.index * C;
    const float largest = row_max<V>(block, x + row, C, -INFINITY, [](float e) { return e; });
    Lanes<float, Block> part(block);
    block.each([&](int t) {
      float sum = 0;
      walk_row<V>(t, block.threads, x + row, C, [&](int64_t c, float(&v)[V]) {
        for (float& e : v) sum += e = expf(e - largest);
        store(y + row + c, v);
      });
      part[t] = sum;
    });
    const float inverse = 1 / block.sum(part);
    map_row<V>(
        block, y + row, y + row, C, [&](float e, int64_t) { return e * inverse; }, [] {});
  }
};

template <int V>
struct SoftmaxBackwardBody {
  float* dx;
  const float *dy, *y;
  int64_t C;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t row = block.index * C;
    Lanes<float, Block> part(block);
    block.each([&](int t) {
      float sum = 0;
      walk_rows<V>(t, block.threads, dy + row, y + row, C, [&](int64_t, float(&d)[V], float(&v)[V]) {
        for (int j = 0; j < V; ++j) sum += d[j] * v[j];
      });
      part[t] = sum;
    });
    const float sum = block.sum(part);
    block.each([&](int t) {
      walk_rows<V>(t, block.threads, dy + row, y + row, C, [&](int64_t c, float(&d)[V], float(&v)[V]) {
        for (int j = 0; j < V; ++j) d[j] = v[j] * (d[j] - sum);
        store(dx + row + c, d);
      });
    });
  }
};

template <int V>
struct LogSoftmaxBody {
  float* y;
  const float* x;
  int64_t C;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t row = block.index * C;
    Lanes<float, Block> part(block);
    block.each([&](int t) {
      float largest = -INFINITY;
      over_row<V>(t, block.threads, C, [&](int64_t c) {
        float v[V];
        load(v, x + row + c);
        for (float e : v) largest = fmaxf(largest, e);
      });
      part[t] = largest;
    });
    const float largest = block.max(part);
    block.each([&](int t) {
      float sum = 0;
      over_row<V>(t, block.threads, C, [&](int64_t c) {
        float v[V];
        load(v, x + row + c);
        for (float e : v) sum += expf(e - largest);
      });
      part[t] = sum;
    });
    const float log_sum = logf(block.sum(part));
    block.each([&](int t) {
      over_row<V>(t, block.threads, C, [&](int64_t c) {
        float v[V];
        load(v, x + row + c);
        for (float& e : v) e = e - largest - log_sum;
        store(y + row + c, v);
      });
    });
  }
};

template <int V>
struct LogSoftmaxBackwardBody {
  float* dx;
  const float *dy, *y;
  int64_t C;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t row = block.index * C;
    Lanes<float, Block> part(block);
    block.each([&](int t) {
      float sum = 0;
      over_row<V>(t, block.threads, C, [&](int64_t c) {
        float d[V];
        load(d, dy + row + c);
        for (float e : d) sum += e;
      });
      part[t] = sum;
    });
    const float sum = block.sum(part);
    block.each([&](int t) {
      over_row<V>(t, block.threads, C, [&](int64_t c) {
        float d[V], v[V];
        load(d, dy + row + c), load(v, y + row + c);
        for (int j = 0; j < V; ++j) d[j] -= expf(v[j]) * sum;
        store(dx + row + c, d);
      });
    });
  }
};

template <int V>
struct L2NormalizeBackwardBody {
  float* dx;
  const float *dy, *y, *norm;
  int64_t C;
  float eps;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t row = block.index * C;
    const float length = norm[block.index];
    Lanes<float, Block> part(block);
    block.each([&](int t) {
      float sum = 0;
      if (length > eps)
        over_row<V>(t, block.threads, C, [&](int64_t c) {
          float d[V], v[V];
          load(d, dy + row + c), load(v, y + row + c);
          for (int j = 0; j < V; ++j) sum += d[j] * v[j];
        });
      part[t] = sum;
    });
    const float along = block.sum(part), divisor = fmaxf(length, eps);
    block.each([&](int t) {
      over_row<V>(t, block.threads, C, [&](int64_t c) {
        float d[V], v[V];
        load(d, dy + row + c), load(v, y + row + c);
        for (int j = 0; j < V; ++j) d[j] = (d[j] - v[j] * along) / divisor;
        store(dx + row + c, d);
      });
    });
  }
};

template <int V>
struct DotRowsBody {
  float* out;
  const float *a, *b;
  const int64_t *a_index, *b_index;
  int64_t C;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t n = block.index, i = a_index ? a_index[n] : n, j = b_index ? b_index[n] : n;
    Lanes<float, Block> part(block);
    block.each([&](int t) {
      float sum = 0;
      if (i >= 0 && j >= 0)
        over_row<V>(t, block.threads, C, [&](int64_t c) {
          float u[V], v[V];
          load(u, a + i * C + c), load(v, b + j * C + c);
          for (int k = 0; k < V; ++k) sum += u[k] * v[k];
        });
      part[t] = sum;
    });
    const float sum = block.sum(part);
    block.each([&](int t) {
      if (t == 0) out[n] = sum;
    });
  }
};

/// A label outside [0, C) that is not to be ignored gives NaN: a device cannot throw, and nothing is read outside the row.
template <int V>
struct CrossEntropyBody {
  float *loss, *d;
  const float* logits;
  const int64_t* labels;
  int64_t C, ignore;
  float smoothing;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t row = block.index * C, label = labels[block.index];
    const float* x = logits + row;
    if (label == ignore || label < 0 || label >= C) {
      const float value = label == ignore ? 0.0f : NAN;
      block.each([&](int t) {
        if (t == 0) loss[block.index] = value;
        if (d) over_row<1>(t, block.threads, C, [&](int64_t c) { d[row + c] = value; });
      });
      return;
    }
    const float largest = row_max<V>(block, x, C, -INFINITY, [](float e) { return e; });
    Lanes<float, Block> part(block), all(block);
    block.each([&](int t) {
      float sum = 0, total = 0;  // total: of the distances from the largest, which keep their digits
      walk_row<V>(t, block.threads, x, C, [&](int64_t, float(&v)[V]) {
        for (float e : v) sum += expf(e - largest), total += e - largest;
      });
      part[t] = sum, all[t] = total;
    });
    const float sum = block.sum(part), log_sum = logf(sum), total = smoothing > 0 ? block.sum(all) : 0.0f;
    const float even = smoothing / static_cast<float>(C);
    block.each([&](int t) {
      if (t == 0) {
        // s * 0 must stay 0 when a logit is -inf
        const float of_all = smoothing > 0 ? smoothing * (log_sum - total / static_cast<float>(C)) : 0.0f;
        loss[block.index] = (1 - smoothing) * (log_sum - (x[label] - largest)) + of_all;
      }
      if (!d) return;
      walk_row<V>(t, block.threads, x, C, [&](int64_t c, float(&v)[V]) {
        for (int j = 0; j < V; ++j) v[j] = expf(v[j] - largest) / sum - (c + j == label ? 1 - smoothing : 0.0f) - even;
        store(d + row + c, v);
      });
    });
  }
};

template <class Y, class Table, int V>
struct GatherRowsBody {
  Y* y;
  const Table* table;
  const int64_t* index;
  int64_t C;
  bool accumulate;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const Table* from = table + index[block.index] * C;
    Y* to = y + block.index * C;
    block.each([&](int t) {
      walk_row<V>(t, block.threads, from, C, [&](int64_t c, float(&v)[V]) {
        float old[V] = {};
        if (accumulate) load(old, to + c);
        for (int j = 0; j < V; ++j) v[j] += old[j];
        store(to + c, v);
      });
    });
  }
};

template <class E, int V>
struct CombineRowsBody {
  E* y;
  const E* x;
  const int64_t* index;
  const float* weight;
  int64_t K, C;
  bool accumulate;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t n = block.index;
    block.each([&](int t) {
      over_row<V>(t, block.threads, C, [&](int64_t c) {
        float sum[V] = {}, v[V];
        if (accumulate) load(sum, y + n * C + c);
        for (int64_t k = 0; k < K; ++k) {
          if (index[n * K + k] < 0) continue;
          load(v, x + index[n * K + k] * C + c);
          for (int j = 0; j < V; ++j) sum[j] += weight[n * K + k] * v[j];
        }
        store(y + n * C + c, sum);
      });
    });
  }
};

/// The block of the first row with an index adds all rows with that index, in their order: repeated indices need no atomic sums, whose
/// order would change from run to run. A tile of indices is compared by all threads at once.
struct ScatterAddRowsBody {
  float* table;
  const float* dy;
  const int64_t* index;
  int64_t N, C;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t mine = index[block.index];
    Lanes<int, Block> earlier(block);
    block.each([&](int t) {
      int found = 0;
      for (int64_t m = t; m < block.index; m += block.threads) found |= index[m] == mine;
      earlier[t] = found;
    });
    if (block.any(earlier)) return;
    char* same = block.shared;  // [threads]
    for (int64_t tile = block.index; tile < N; tile += block.threads) {
      block.each([&](int t) { same[t] = tile + t < N && index[tile + t] == mine; });
      block.each([&](int t) {
        for (int i = 0; i < block.threads; ++i) {
          if (!same[i]) continue;
          for (int64_t c = t; c < C; c += block.threads) table[mine * C + c] += dy[(tile + i) * C + c];
        }
      });
    }
  }
};

}  // namespace tenon::cuda
