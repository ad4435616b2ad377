// Kernels that move rows and parts of rows. An item is a unit of bytes, or an element where something is added.
#pragma once

#include "block.h"

namespace tenon::cuda {

template <int kBytes>
struct alignas(kBytes) Unit {
  char bytes[kBytes];
};

/// Strides and width in units.
template <class U>
struct MovePartsBody {
  U* y;
  const U* x;
  int64_t y_row, y_part, x_row, x_part, parts, width;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t n = i / width / parts, p = i / width % parts, c = i % width;
    y[n * y_row + p * y_part + c] = x[n * x_row + p * x_part + c];
  }
};

template <class E>
struct AddPartsBody {
  E* y;
  const E* x;
  int64_t y_row, y_part, x_row, x_part, parts, width;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t n = i / width / parts, p = i / width % parts, c = i % width;
    E& to = y[n * y_row + p * y_part + c];
    to = Rounded<E>::from(to_float(to) + to_float(x[n * x_row + p * x_part + c]));
  }
};

/// A block has a tile of 32 rows and 32 columns, which it turns in shared memory: both sides are read and written in rows. One column of
/// padding, so that the threads of a warp do not meet in one bank.
struct TransposeBody {
  float* y;
  const float* x;
  int64_t M, N, ld;
  static constexpr int kThreads = 256, kTile = 32;
  static constexpr size_t kShared = kTile * (kTile + 1) * sizeof(float);
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    float* tile = reinterpret_cast<float*>(block.shared);
    const int64_t first_m = block.index * kTile, first_n = block.index_y * kTile;
    block.each([&](int t) {
      for (int r = t / kTile; r < kTile; r += kThreads / kTile) {
        const int64_t m = first_m + r, n = first_n + t % kTile;
        if (m < M && n < N) tile[r * (kTile + 1) + t % kTile] = x[m * N + n];
      }
    });
    block.each([&](int t) {
      for (int r = t / kTile; r < kTile; r += kThreads / kTile) {
        const int64_t n = first_n + r, m = first_m + t % kTile;
        if (m < M && n < N) y[n * ld + m] = tile[t % kTile * (kTile + 1) + r];
      }
    });
  }
};

template <class U>
struct StoreRowsBody {
  void* const* page;
  const int64_t* slot;
  int64_t offset;
  const U* x;
  int64_t width;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t row = i / width;
    reinterpret_cast<U*>(static_cast<char*>(page[row]) + offset)[slot[row] * width + i % width] = x[i];
  }
};

template <class U>
struct LoadRowsBody {
  U* y;
  const void* const* page;
  const int64_t* slot;
  int64_t offset, width;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t row = i / width;
    y[i] = reinterpret_cast<const U*>(static_cast<const char*>(page[row]) + offset)[slot[row] * width + i % width];
  }
};

template <class Code>
struct DequantizeRowsBody {
  float* y;
  const Code* q;
  const float* scale;
  int64_t C;
  static TENON_BODY float value(int8_t v) { return v; }
  static TENON_BODY float value(float8 v) { return f8e4m3_to_float(v.bits); }
  TENON_BODY void operator()(int64_t i) const { y[i] = value(q[i]) * scale[i / C]; }
};

}  // namespace tenon::cuda
