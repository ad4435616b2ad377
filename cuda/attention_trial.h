// A small problem of attention on the device, for trials of kernels.
#pragma once

#include <cmath>
#include <vector>

#include "launch.h"

namespace tenon::cuda {

/// One sequence of 70 queries and 450 keys, two heads over one key head: two blocks of rows, several tiles of keys, masks in the last ones. Values
/// are between -1 and 1. `call` writes out and lse; other_out and other_lse are for those who compute it otherwise.
template <class E>
struct AttentionTrial {
  static constexpr int64_t kT = 70, kS = 450, kH = 2;
  size_t of_q, of_k, of_v, of_out, of_lse = kT * kH;
  Scratch elements, numbers, places;
  AttentionCall call;
  E* other_out;
  float* other_lse;

  AttentionTrial(DType type, int64_t D, int64_t Dv)
      : of_q(kT * kH * static_cast<size_t>(D)),
        of_k(kS * static_cast<size_t>(D)),
        of_v(kS * static_cast<size_t>(Dv)),
        of_out(kT * kH * static_cast<size_t>(Dv)),
        elements((of_q + of_k + of_v + 2 * of_out) * sizeof(E)),
        numbers(2 * of_lse * sizeof(float)),
        places(4 * sizeof(int64_t)) {
    std::vector<E> values;
    for (const float v : random(of_q + of_k + of_v)) values.push_back(E::from(v));
    const int64_t starts[4] = {0, kT, 0, kS};
    write_there(elements.as<void>(), values.data(), values.size() * sizeof(E));
    write_there(places.as<void>(), starts, sizeof(starts));
    E* p = elements.as<E>();
    call.type = type, call.B = 1, call.H = kH, call.Hkv = 1, call.D = D, call.Dv = Dv, call.Nq = kT;
    call.causal = true, call.scale = 4 / std::sqrt(static_cast<float>(D));
    call.ld_q = kH * D, call.ld_k = D, call.ld_v = Dv, call.ld_out = kH * Dv;
    call.q = p, call.k = p + of_q, call.v = p + of_q + of_k, call.q_start = places.as<int64_t>(), call.k_start = places.as<int64_t>() + 2;
    call.out = p + of_q + of_k + of_v, call.lse = numbers.as<float>();
    other_out = p + of_q + of_k + of_v + of_out, other_lse = numbers.as<float>() + of_lse;
  }

  /// Numbers between -1 and 1, the same each time.
  static std::vector<float> random(size_t n) {
    std::vector<float> values(n);
    uint32_t state = 12345;
    for (float& v : values) {
      state = state * 1664525u + 1013904223u;
      v = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
    }
    return values;
  }
  /// Whether n numbers on the device differ from others by no more than `most`; NaN differs.
  template <class T>
  static bool near(const T* a, const T* b, size_t n, float most) {
    std::vector<T> x(n), y(n);
    read_back(x.data(), a, n * sizeof(T));
    read_back(y.data(), b, n * sizeof(T));
    for (size_t i = 0; i < n; ++i)
      if (!(std::abs(static_cast<float>(x[i]) - static_cast<float>(y[i])) <= most)) return false;
    return true;
  }
};

}  // namespace tenon::cuda
