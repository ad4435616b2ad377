// Packing and unpacking the formats whose scales lie within the packed bytes; weights.h draws them.
#pragma once

#include "bodies/weights.h"

namespace tenon::cuda {

/// Item i is byte i of the packed weight: a code, which is 0 behind a row's last, a byte of a scale or a zero point.
struct PackQuantizedBody {
  uint8_t* packed;
  QuantizedRows w;
  GroupedLayout at;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t bytes = at.int4 ? (at.K + 1) / 2 : at.K;
    if (i < at.scales_at()) packed[i] = i % at.row_bytes < bytes ? w.q[i / at.row_bytes * bytes + i % at.row_bytes] : uint8_t{0};
    else if (i < at.zeros_at()) packed[i] = reinterpret_cast<const uint8_t*>(w.scale)[i - at.scales_at()];
    else packed[i] = w.zero[i - at.zeros_at()];
  }
};

/// Item i is eight columns of a row.
template <class W>
struct UnpackQuantizedBody {
  float* to;
  const void* packed;
  int64_t N, K, group;
  TENON_BODY void operator()(int64_t i) const {
    const W w(packed, nullptr, N, K, group);
    const int64_t eights = (K + 7) / 8, n = i / eights, k = i % eights * 8;
    float v[8];
    w.load8(v, n, k);
    for (int j = 0; j < 8 && k + j < K; ++j) to[n * K + k + j] = v[j];
  }
};

/// Item i is one element.
struct UnpackInt8Body {
  float* to;
  const int8_t* q;
  const float* scale;
  int64_t K;
  TENON_BODY void operator()(int64_t i) const { to[i] = static_cast<float>(q[i]) * scale[i / K]; }
};

}  // namespace tenon::cuda
