// A block of threads on the GPU.
#pragma once

#include "block.h"

namespace tenon::cuda {

struct DeviceBlock {
  int64_t index, index_y;
  int threads;
  char* shared;

  template <class T>
  class Lanes {
   public:
    __device__ explicit Lanes(const DeviceBlock&) {}
    __device__ __forceinline__ T& operator[](int) { return value_; }
    __device__ __forceinline__ const T& operator[](int) const { return value_; }

   private:
    T value_;
  };

  template <class Body>
  __device__ __forceinline__ void each(Body&& body) {
    body(static_cast<int>(threadIdx.x));
    __syncthreads();
  }

  template <class T>
  __device__ __forceinline__ T sum(const Lanes<T>& x) const {
    return reduce(x[0], T(0), [](T a, T b) { return a + b; });
  }
  __device__ __forceinline__ float max(const Lanes<float>& x) const {
    return reduce(x[0], -INFINITY, [](float a, float b) { return fmaxf(a, b); });
  }
  __device__ __forceinline__ int any(const Lanes<int>& x) const { return __syncthreads_or(x[0]); }

 private:
  template <class T, class Combine>
  __device__ __forceinline__ T reduce(T v, T neutral, Combine combine) const {
    __shared__ T warps[kWarp];
    for (int distance = kWarp / 2; distance > 0; distance /= 2) v = combine(v, __shfl_xor_sync(0xffffffffu, v, distance));
    if (threads == kWarp) return v;
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    if (lane == 0) warps[warp] = v;
    __syncthreads();
    v = lane < threads / kWarp ? warps[lane] : neutral;
    __syncthreads();  // before the next reduction writes there
    for (int distance = kWarp / 2; distance > 0; distance /= 2) v = combine(v, __shfl_xor_sync(0xffffffffu, v, distance));
    return v;
  }
};

}  // namespace tenon::cuda
