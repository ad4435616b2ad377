// Reading and writing the float types of the ref kernels one element at a time.
#pragma once

#include "tenon/core/dtype.h"

namespace tenon::scalar {

inline float load(const float* p) { return *p; }
inline float load(const bfloat16* p) { return *p; }
inline float load(const float16* p) { return *p; }
inline void store(float* p, float v) { *p = v; }
inline void store(bfloat16* p, float v) { *p = bfloat16::from(v); }
inline void store(float16* p, float v) { *p = float16::from(v); }

/// Calls body with a null pointer of the C++ type that holds F32, BF16 or F16.
template <class Body>
auto with_float(DType t, Body&& body) {
  if (t == DType::BF16) return body(static_cast<bfloat16*>(nullptr));
  if (t == DType::F16) return body(static_cast<float16*>(nullptr));
  return body(static_cast<float*>(nullptr));
}

}  // namespace tenon::scalar
