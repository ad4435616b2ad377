// The vocabulary of kernel bodies. A body is what one block of threads does, as a template over the block: nvcc compiles it with
// DeviceBlock (device/block.cuh), the tests' compiler with HostBlock (emulation/block.h), which runs the same index space on the CPU.
//
//   Lanes<float, Block> part(block);            a variable that each thread has of its own: part[t]
//   block.each([&](int t) { part[t] = ...; });  what every thread t does; when it returns, all threads have done it
//   const float sum = block.sum(part);          collective; its result is the same in all threads
//
// Between calls of each() a body only computes what is the same in all threads, so control flow there never diverges. Threads may read
// of each other only what an earlier each() wrote into shared or global memory.
#pragma once

#include <cmath>
#include <cstdint>

#include "tenon/core/kernels.h"

#ifdef __CUDACC__
#define TENON_BODY __device__ __forceinline__
#else
#define TENON_BODY inline
#endif

#ifdef __CUDA_ARCH__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace tenon::cuda {

constexpr int kWarp = 32;
constexpr int kMostThreads = 1024;

template <class T, class Block>
using Lanes = typename Block::template Lanes<T>;

/// Elements as float32 and back, rounded to nearest even.
TENON_BODY float to_float(float v) { return v; }
TENON_BODY float to_float(bfloat16 v) { return v; }
TENON_BODY float to_float(float16 v) { return v; }

template <class E>
struct Rounded;
template <>
struct Rounded<float> {
  static TENON_BODY float from(float v) { return v; }
};
template <>
struct Rounded<bfloat16> {
  static TENON_BODY bfloat16 from(float v) {
#ifdef __CUDA_ARCH__
    return {__bfloat16_as_ushort(__float2bfloat16_rn(v))};  // one instruction
#else
    return bfloat16::from(v);
#endif
  }
};
template <>
struct Rounded<float16> {
  static TENON_BODY float16 from(float v) {
#ifdef __CUDA_ARCH__
    return {__half_as_ushort(__float2half_rn(v))};
#else
    return float16::from(v);
#endif
  }
};

/// V neighbours that are moved in one instruction: at most 16 bytes, aligned to their size.
template <class E, int V>
struct alignas(sizeof(E) * V) Pack {
  E e[V];
};

template <class E, int V>
TENON_BODY void load(float (&to)[V], const E* from) {
  const Pack<E, V> p = *reinterpret_cast<const Pack<E, V>*>(from);
  for (int i = 0; i < V; ++i) to[i] = to_float(p.e[i]);
}

template <class E, int V>
TENON_BODY void store(E* to, const float (&from)[V]) {
  Pack<E, V> p;
  for (int i = 0; i < V; ++i) p.e[i] = Rounded<E>::from(from[i]);
  *reinterpret_cast<Pack<E, V>*>(to) = p;
}

template <int V>
struct Width {
  static constexpr int value = V;
};

/// body(Width<V>, first) for item i of n elements, V of them to an item; the last item's remainder one by one.
template <int V, class Body>
TENON_BODY void over_pack(int64_t i, int64_t n, Body&& body) {
  const int64_t first = i * V;
  if (first + V <= n) return body(Width<V>{}, first);
  for (int64_t j = first; j < n; ++j) body(Width<1>{}, j);
}

/// body(Width<V>, c) for the columns of a row that thread t of `threads` has; C is a multiple of V.
template <int V, class Body>
TENON_BODY void over_row(int t, int threads, int64_t C, Body&& body) {
  for (int64_t c = static_cast<int64_t>(t) * V; c < C; c += static_cast<int64_t>(threads) * V) body(c);
}

}  // namespace tenon::cuda
