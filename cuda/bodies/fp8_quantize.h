// Quantisation to e4m3 by blocks. Bound by memory: blocks that are rows take one pass, tiles a second one that finds x in a cache; the scale of
// larger blocks is found in parts.
//
// What follows speaks of q (P,Q): of x, or of x^T if transposed. A block (p, q) of it has the scale p * G + q, G = ceil(Q / columns).
#pragma once

#include "block.h"

namespace tenon::cuda {

TENON_BODY float fp8_scale(float largest) { return largest / 448 > 0 ? largest / 448 : 1.0f; }

template <class E>
struct QuantizeBlocks {
  float8* q;
  float* scale;
  const E* x;
  int64_t P, Q, rows, columns;
  bool transposed;
  TENON_HOST_BODY int64_t G() const { return (Q + columns - 1) / columns; }
  TENON_BODY float element(int64_t p, int64_t i) const { return to_float(x[transposed ? i * P + p : p * Q + i]); }
};

/// Blocks of one row, not transposed: a warp to each. V divides Q and the blocks' length.
template <class E, int V>
struct QuantizeRowBlocksBody {
  QuantizeBlocks<E> c;
  static constexpr int kThreads = 256, kWarps = kThreads / kWarp;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t G = c.G();
    Lanes<float, Block> largest(block);
    const auto walk = [&](int t, auto&& body) {
      const int64_t item = block.index * kWarps + t / kWarp, p = item / G, begin = item % G * c.columns;
      if (p >= c.P) return;
      const int64_t end = begin + c.columns < c.Q ? begin + c.columns : c.Q;
      for (int64_t i = begin + t % kWarp * V; i < end; i += kWarp * V) {
        float v[V];
        load(v, c.x + p * c.Q + i);
        body(p * c.Q + i, v);
      }
    };
    block.own([&](int t) {
      float most = 0;
      walk(t, [&](int64_t, float(&v)[V]) {
        TENON_UNROLL
        for (float e : v) most = fmaxf(most, fabsf(e));
      });
      largest[t] = most;
    });
    block.template warp_max<kWarp>([&](int t) -> float& { return largest[t]; });
    block.own([&](int t) {
      const float s = fp8_scale(largest[t]);
      walk(t, [&](int64_t at, float(&v)[V]) {
        Pack<float8, V> codes;
        TENON_UNROLL
        for (int i = 0; i < V; ++i) codes.e[i] = {float_to_f8e4m3(v[i] / s)};
        *reinterpret_cast<Pack<float8, V>*>(c.q + at) = codes;
      });
      const int64_t item = block.index * kWarps + t / kWarp;
      if (t % kWarp == 0 && item < c.P * G) c.scale[item] = s;
    });
  }
};

/// Blocks of at most 128 by 128: those of one row, 32 rows at a time, or of all rows of the tile. Codes go through shared memory, so that reading
/// and writing run along rows either way. Block index: tile of rows; y: tile of columns.
template <class E>
struct QuantizeTilesBody {
  QuantizeBlocks<E> c;
  int64_t tile_rows;  // 32, or c.rows
  static constexpr int kThreads = 256, kMost = 128, kStride = kMost + 4;
  static constexpr size_t kShared = kMost * kStride + 8 * 32 * sizeof(float);

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t p0 = block.index * tile_rows, q0 = block.index_y * c.columns;
    const int P = static_cast<int>(p0 + tile_rows < c.P ? tile_rows : c.P - p0), Q = static_cast<int>(q0 + c.columns < c.Q ? c.columns : c.Q - q0);
    auto* codes = reinterpret_cast<uint8_t*>(block.shared);
    float* parts = reinterpret_cast<float*>(block.shared + kMost * kStride);  // (8, 32): of what a thread has of a row
    const bool by_row = c.rows == 1;
    Lanes<float, Block> largest(block);
    block.each([&](int t) {
      float most = 0;
      over_tile(t, P, Q, [&](int p, int i) { most = fmaxf(most, fabsf(c.element(p0 + p, q0 + i))); });
      largest[t] = most;
      if (by_row) parts[t] = most;
    });
    float scale = by_row ? 1.0f : fp8_scale(block.max(largest));
    block.each([&](int t) {
      if (by_row) {
        float most = 0;
        TENON_UNROLL
        for (int i = 0; i < 8; ++i) most = fmaxf(most, parts[i * 32 + t % 32]);
        scale = fp8_scale(most);
      }
      over_tile(t, P, Q, [&](int p, int i) { codes[p * kStride + i] = float_to_f8e4m3(c.element(p0 + p, q0 + i) / scale); });
      if (by_row ? t < P : t == 0) c.scale[(by_row ? p0 + t : block.index) * c.G() + block.index_y] = scale;
    });
    block.each([&](int t) {
      for (int i = t; i < P * Q; i += kThreads) c.q[(p0 + i / Q) * c.Q + q0 + i % Q] = {codes[i / Q * kStride + i % Q]};
    });
  }

 private:
  /// Elements of the tile in the order of x. With blocks of one row a thread has row t % 32, whatever the tile's size.
  template <class Body>
  TENON_BODY void over_tile(int t, int P, int Q, Body&& body) const {
    if (c.rows == 1) {
      if (t % 32 < P)
        for (int i = t / 32; i < Q; i += kThreads / 32) body(t % 32, i);
    } else {
      for (int i = t; i < P * Q; i += kThreads) c.transposed ? body(i % P, i / P) : body(i / Q, i % Q);
    }
  }
};

/// Blocks of any size. First the largest of part `block.index` of block `index_y` ...
template <class E>
struct Fp8PartBody {
  QuantizeBlocks<E> c;
  float* part;
  int64_t parts;
  static constexpr int kThreads = 256;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    const int64_t G = c.G(), p0 = block.index_y / G * c.rows, q0 = block.index_y % G * c.columns;
    const int64_t P = p0 + c.rows < c.P ? c.rows : c.P - p0, Q = q0 + c.columns < c.Q ? c.columns : c.Q - q0;
    Lanes<float, Block> largest(block);
    block.each([&](int t) {
      float most = 0;
      for (int64_t i = block.index * kThreads + t; i < P * Q; i += parts * kThreads) {
        const int64_t p = c.transposed ? i % P : i / Q, at = c.transposed ? i / P : i % Q;
        most = fmaxf(most, fabsf(c.element(p0 + p, q0 + at)));
      }
      largest[t] = most;
    });
    const float most = block.max(largest);
    block.own([&](int t) {
      if (t == 0) part[block.index_y * parts + block.index] = most;
    });
  }
};
/// ... then the scale of block i ...
struct Fp8ScaleBody {
  float* scale;
  const float* part;
  int64_t parts;
  TENON_BODY void operator()(int64_t i) const {
    float most = 0;
    for (int64_t j = 0; j < parts; ++j) most = fmaxf(most, part[i * parts + j]);
    scale[i] = fp8_scale(most);
  }
};
/// ... then code i.
template <class E>
struct Fp8CodeBody {
  QuantizeBlocks<E> c;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t p = i / c.Q, at = i % c.Q;
    c.q[i] = {float_to_f8e4m3(c.element(p, at) / c.scale[p / c.rows * c.G() + at / c.columns])};
  }
};

/// Codes of rows (M,K) in blocks of 128 as float32.
struct Fp8WidenBody {
  float* y;
  const float8* q;
  const float* scale;
  int64_t K;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t G = (K + 127) / 128;
    y[i] = e4m3_to_float(q[i].bits) * scale[i / K * G + i % K / 128];
  }
};

}  // namespace tenon::cuda
