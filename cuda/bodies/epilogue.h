// Where a product reads its rows and what becomes of its sums, for tiles of every kind. Types are looked at here, once for eight elements or
// an output, so that kernels need not be compiled for each.
#pragma once

#include "bodies/activation.h"
#include "bodies/groups.h"

namespace tenon::cuda {

TENON_BODY float load_as(DType type, const void* p, int64_t at) {
  if (type == DType::F32) return static_cast<const float*>(p)[at];
  return type == DType::BF16 ? to_float(static_cast<const bfloat16*>(p)[at]) : to_float(static_cast<const float16*>(p)[at]);
}
TENON_BODY void store_as(DType type, void* p, int64_t at, float v) {
  if (type == DType::F32) static_cast<float*>(p)[at] = v;
  else if (type == DType::BF16) static_cast<bfloat16*>(p)[at] = Rounded<bfloat16>::from(v);
  else static_cast<float16*>(p)[at] = Rounded<float16>::from(v);
}
/// Eight neighbours at once if they are aligned to 16 bytes, else those that there are; the others are 0.
template <class E>
TENON_BODY void load8_of(float (&v)[8], const E* p, int64_t there) {
  constexpr int kPart = 16 / static_cast<int>(sizeof(E));
  if (there >= 8 && reinterpret_cast<uintptr_t>(p) % 16 == 0) {
    TENON_UNROLL
    for (int h = 0; h < 8; h += kPart) {
      float part[kPart];
      load(part, p + h);
      TENON_UNROLL
      for (int i = 0; i < kPart; ++i) v[h + i] = part[i];
    }
  } else {
    TENON_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = i < there ? to_float(p[i]) : 0.0f;
  }
}

/// The first `there` of eight neighbours, at once as above.
template <class E>
TENON_BODY void store8_of(E* p, const float (&v)[8], int64_t there) {
  constexpr int kPart = 16 / static_cast<int>(sizeof(E));
  if (there >= 8 && reinterpret_cast<uintptr_t>(p) % 16 == 0) {
    TENON_UNROLL
    for (int h = 0; h < 8; h += kPart) {
      float part[kPart];
      TENON_UNROLL
      for (int i = 0; i < kPart; ++i) part[i] = v[h + i];
      store(p + h, part);
    }
  } else {
    TENON_UNROLL
    for (int i = 0; i < 8; ++i)
      if (i < there) p[i] = Rounded<E>::from(v[i]);
  }
}
TENON_BODY void load8_as(DType type, float (&v)[8], const void* p, int64_t at, int64_t there) {
  if (type == DType::F32) load8_of(v, static_cast<const float*>(p) + at, there);
  else if (type == DType::BF16) load8_of(v, static_cast<const bfloat16*>(p) + at, there);
  else load8_of(v, static_cast<const float16*>(p) + at, there);
}
TENON_BODY void store8_as(DType type, void* p, int64_t at, const float (&v)[8], int64_t there) {
  if (type == DType::F32) store8_of(static_cast<float*>(p) + at, v, there);
  else if (type == DType::BF16) store8_of(static_cast<bfloat16*>(p) + at, v, there);
  else store8_of(static_cast<float16*>(p) + at, v, there);
}

/// Rows x (M,K) that meet weights (N,K) of their groups, and y.
struct GroupedProduct {
  void* y = nullptr;
  const void* x = nullptr;
  Groups groups;
  DType type = DType::F32, y_type = DType::F32;
  int64_t N = 0, K = 0, group = 0;
  const float* bias = nullptr;     // (N) or nullptr
  const void* residual = nullptr;  // (M,N) of y_type or nullptr; may be y
  const float* x_scale = nullptr;  // (M): int8 rows
  Activation act = Activation::None;
  bool gated = false, accumulate = false, fp8_rows = false;

  /// Eight elements of row m from column k on, 0 beyond K.
  TENON_BODY void load8(float (&v)[8], int64_t m, int64_t k) const { load8_as(type, v, x, m * K + k, K - k); }
  /// y[m, n] of a sum; of two if gated.
  TENON_BODY void finish(int64_t m, int64_t n, float sum, float up) const {
    const int64_t at = m * N + n;
    float v = gated ? activate(sum, act) * up : activate(sum + (bias ? bias[n] : 0.0f), act);
    if (accumulate) v += load_as(y_type, y, at);
    if (residual) v += load_as(y_type, residual, at);
    store_as(y_type, y, at, v);
  }
  /// Eight neighbours of row m from column n on, those that there are; the sums lie in memory.
  TENON_BODY void finish8(int64_t m, int64_t n, const float* sum, const float* up) const {
    const int64_t at = m * N + n, there = N - n;
    float v[8], more[8];
    TENON_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = sum[i];
    if (!gated && bias) {
      load8_of(more, bias + n, there);
      TENON_UNROLL
      for (int i = 0; i < 8; ++i) v[i] += more[i];
    }
    if (act != Activation::None) {
      TENON_UNROLL
      for (int i = 0; i < 8; ++i) v[i] = activate(v[i], act);
    }
    if (gated) {
      TENON_UNROLL
      for (int i = 0; i < 8; ++i) v[i] *= up[i];
    }
    const auto add = [&](const void* from) {
      load8_as(y_type, more, from, at, there);
      TENON_UNROLL
      for (int i = 0; i < 8; ++i) v[i] += more[i];
    };
    if (accumulate) add(y);
    if (residual) add(residual);
    store8_as(y_type, y, at, v, there);
  }
  /// Which weight row line `line` of a tile of `lines` from output n0 on holds: gated tiles have gates in the first half of each
  /// `stretch` lines, what they multiply in the second. -1: none.
  TENON_BODY int64_t weight_row(int64_t n0, int line, int stretch) const {
    if (!gated) return n0 + line < N ? n0 + line : -1;
    const int half = stretch / 2, in = line % stretch;
    const int64_t n = n0 + line / stretch * half + in % half;
    return n >= N ? -1 : in < half ? n : N + n;
  }
};

}  // namespace tenon::cuda
