// What launchers include: launches on the GPU, or the tests' emulation of them, under the same names.
#pragma once

#include <initializer_list>

#include "block.h"
#include "cpu/scalar.h"

#ifdef __CUDACC__
#include "device/launch.cuh"
#else
#include "emulation/launch.h"
#endif

namespace tenon::cuda {

/// True if all pointers are multiples of `bytes`.
inline bool aligned(std::initializer_list<const void*> pointers, size_t bytes) {
  for (const void* p : pointers)
    if (reinterpret_cast<uintptr_t>(p) % bytes) return false;
  return true;
}

/// A whole number of warps for `items` of work, at most `most`.
inline int threads_for(int64_t items, int most = 256) {
  const int64_t warps = items <= 0 ? 1 : (items + kWarp - 1) / kWarp;
  return static_cast<int>(warps * kWarp < most ? warps * kWarp : most);
}

/// Calls body(Width<V>) with the widest V that divides C and for which the pointers are aligned: 16 bytes of the type, or one element.
template <class E, class Body>
void with_width(int64_t C, std::initializer_list<const void*> pointers, Body&& body) {
  constexpr int kWide = 16 / static_cast<int>(sizeof(E));
  if (C % kWide == 0 && aligned(pointers, 16)) body(Width<kWide>{});
  else body(Width<1>{});
}

}  // namespace tenon::cuda
