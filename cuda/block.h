// The vocabulary of kernel bodies. A body is what one block of threads does, as a template over the block: nvcc compiles it with
// DeviceBlock (device/block.cuh), the tests' compiler with HostBlock (emulation/block.h), which runs the same index space on the CPU.
//
//   Lanes<float, Block> part(block);            a variable that each thread has of its own: part[t]
//   block.each([&](int t) { part[t] = ...; });  what every thread t does; when it returns, all threads have done it
//   const float sum = block.sum(part);          collective; its result is the same in all threads
//
//   block.own([&](int t) { ... });              the same, but nobody waits afterwards: for what a thread keeps to itself
//   block.mma<E>(c, a, b), block.load_matrices<transposed>(to, from), block.warp_sum(x)      collective within each warp: c(t), a(t), ...
//                                               are what thread t holds; fragments.h draws who has which element
//   block.wgmma<E, N>(...)                      collective within each four warps, on Hopper; bodies/wgmma.h has its rules
//   copy_later(block, ...), block.commit(), block.wait<n>()     copies into shared memory that run on while threads compute
//
// Between calls of each() a body only computes what is the same in all threads, so control flow there never diverges. Threads may read
// of each other only what an earlier each() wrote into shared or global memory.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "tenon/core/kernels.h"

#ifdef __CUDACC__
#define TENON_BODY __device__ __forceinline__
#define TENON_HOST_BODY __host__ __device__ __forceinline__  // also for launchers
#define TENON_UNROLL _Pragma("unroll")  // before loops over what a thread holds in registers
#define TENON_LOOP _Pragma("unroll 1")  // before loops that would take registers from others if they were unrolled
#else
#define TENON_BODY inline
#define TENON_HOST_BODY inline
#define TENON_UNROLL
#define TENON_LOOP
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

TENON_BODY float bits_to_float(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}
/// An e4m3 byte: moved into a float's place its exponent is 120 too small, also where it is subnormal.
TENON_BODY float e4m3_to_float(uint8_t b) {
  const uint32_t sign = static_cast<uint32_t>(b & 0x80) << 24, rest = b & 0x7f;
  return rest == 0x7f ? bits_to_float(0x7fc00000u) : bits_to_float(sign | rest << 20) * 0x1p120f;
}

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

/// Sums of whole numbers that many threads add to: their order is of no account.
template <class T>
TENON_BODY void add_shared(T* sum, T v) {
#ifdef __CUDA_ARCH__
  atomicAdd(sum, v);
#else
  *sum += v;
#endif
}

/// A number whose order is that of floats: -inf is 0x007fffff, NaN 1, and 0 is below all; -0 is 0.
TENON_BODY uint32_t ordered(float v) {
  if (v != v) return 1;
#ifdef __CUDA_ARCH__
  const uint32_t bits = __float_as_uint(v + 0.0f);
#else
  const uint32_t bits = std::bit_cast<uint32_t>(v + 0.0f);
#endif
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
/// The largest of these is the largest value, the lower index of equal ones.
TENON_BODY uint64_t ranked(float v, int64_t index) { return static_cast<uint64_t>(ordered(v)) << 32 | (0xffffffffu - static_cast<uint32_t>(index)); }
TENON_BODY int64_t index_of(uint64_t rank) { return static_cast<int64_t>(0xffffffffu - static_cast<uint32_t>(rank)); }

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
