// A block of threads on the GPU.
#pragma once

#include <type_traits>

#include "block.h"
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#include "device/wgmma.cuh"
#endif

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

  template <class Body>
  __device__ __forceinline__ void own(Body&& body) {
    body(static_cast<int>(threadIdx.x));
  }
  __device__ __forceinline__ void sync() { __syncthreads(); }

  /// c += a b of one warp, of bfloat16, float16, int8_t or float8 (e4m3).
  template <class E, class C, class A, class B>
  __device__ __forceinline__ void mma(C&& c, A&& a, B&& b) {
    const int t = static_cast<int>(threadIdx.x);
    mma_sync(static_cast<const E*>(nullptr), c(t), a(t), b(t));
  }
  /// Four matrices of 8 rows of 16 bytes: thread t of a warp says where row t % 8 of matrix t / 8 % 4 begins.
  template <bool kTransposed, class To, class From>
  __device__ __forceinline__ void load_matrices(To&& to, From&& from) {
    const int t = static_cast<int>(threadIdx.x);
    uint32_t* r = to(t);
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(from(t)));
    if constexpr (kTransposed)
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                   : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                   : "r"(address)
                   : "memory");
    else
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                   : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                   : "r"(address)
                   : "memory");
  }
  /// x(t) becomes the sum of `width` neighbours, a power of two.
  template <int kWidth = kWarp, class X>
  __device__ __forceinline__ void warp_sum(X&& x) const {
    auto& v = x(static_cast<int>(threadIdx.x));
    for (int distance = kWidth / 2; distance > 0; distance /= 2) v += __shfl_xor_sync(0xffffffffu, v, distance);
  }
  template <int kWidth = kWarp, class X>
  __device__ __forceinline__ void warp_max(X&& x) const {
    float& v = x(static_cast<int>(threadIdx.x));
    for (int distance = kWidth / 2; distance > 0; distance /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, distance));
  }
  /// Within own(): 16 bytes into shared memory, of which the first `bytes` are read and the others are 0. Both aligned to 16.
  __device__ __forceinline__ void copy_later(void* to, const void* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))), "l"(from), "r"(bytes)
                 : "memory");
  }
  /// Copies asked for since the last commit() are one group; after wait<n>() all but the last n groups are there, for all threads.
  __device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int kNewest>
  __device__ __forceinline__ void wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
    __syncthreads();
  }

  /// The address of shared memory as instructions take it.
  __device__ __forceinline__ uint32_t shared_address(const void* p) const { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }
  /// The products of warpgroups, as bodies/wgmma.h has them; a body that uses them has kHopper.
  template <int kNewest>
  __device__ __forceinline__ void wait_for_wgmma() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
    __syncthreads();
  }
  template <class... Sums>
  __device__ __forceinline__ void wgmma_fence(Sums&&... sums) {
    const int t = static_cast<int>(threadIdx.x);
    (keep(sums(t)), ...);
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
  }
  template <class E, int N, bool kAcrossB = false, bool kAcrossA = false, class Sums, class A, class B>
  __device__ __forceinline__ void wgmma(Sums&& sums, A&& a, B&& b, bool add) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    const int t = static_cast<int>(threadIdx.x);
    wgmma_of<E, kAcrossA, kAcrossB>(sums(t), a(t), b(t), add);
#endif
  }
  __device__ __forceinline__ void wgmma_commit() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
  }
  template <int kNewest, class... Sums>
  __device__ __forceinline__ void wgmma_wait(Sums&&... sums) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kNewest) : "memory");
#endif
    const int t = static_cast<int>(threadIdx.x);
    (keep(sums(t)), ...);
  }

  template <class T>
  __device__ __forceinline__ T sum(const Lanes<T>& x) const {
    return reduce(x[0], T(0), [](T a, T b) { return a + b; });
  }
  __device__ __forceinline__ float max(const Lanes<float>& x) const {
    return reduce(x[0], -INFINITY, [](float a, float b) { return fmaxf(a, b); });
  }
  __device__ __forceinline__ uint64_t max(const Lanes<uint64_t>& x) const {
    return reduce(x[0], uint64_t{0}, [](uint64_t a, uint64_t b) { return a > b ? a : b; });
  }
  __device__ __forceinline__ int any(const Lanes<int>& x) const { return __syncthreads_or(x[0]); }

 private:
  static __device__ __forceinline__ void mma_sync(const bfloat16*, float* c, const uint32_t* a, const uint32_t* b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
  static __device__ __forceinline__ void mma_sync(const float16*, float* c, const uint32_t* a, const uint32_t* b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
  static __device__ __forceinline__ void mma_sync(const int8_t*, int* c, const uint32_t* a, const uint32_t* b) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
  /// Before compute capability 8.9 the codes are widened to float16, which holds them all. Where an element of k lies is of no account as long
  /// as it is the same for a and b: a register's first two codes are taken for the lower eight of 16, its last two for the upper.
  static __device__ __forceinline__ void mma_sync(const float8*, float* c, const uint32_t* a, const uint32_t* b) {
#if __CUDA_ARCH__ >= 890
    asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    for (int half = 0; half < 2; ++half) {
      const uint32_t x = a[2 * half], y = a[2 * half + 1], z = b[half];
      const uint32_t wide_a[4] = {widened(x), widened(y), widened(x >> 16), widened(y >> 16)}, wide_b[2] = {widened(z), widened(z >> 16)};
      mma_sync(static_cast<const float16*>(nullptr), c, wide_a, wide_b);
    }
#endif
  }
  /// Two codes as two halves: the exponents' biases differ by 8.
  static __device__ __forceinline__ uint32_t widened(uint32_t two) {
    const uint32_t bits = (two & 0x80) << 8 | (two & 0x7f) << 7 | (two & 0x8000) << 16 | (two & 0x7f00) << 15;
    uint32_t wide;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(wide) : "r"(bits), "r"(0x5c005c00u));  // by 2^8
    return wide;
  }

  /// Registers that are not moved or computed across this point.
  template <int J>
  static __device__ __forceinline__ void keep(float (&c)[J][4]) {
    TENON_UNROLL
    for (int j = 0; j < J; ++j) asm volatile("" : "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])::"memory");
  }
  template <int J>
  static __device__ __forceinline__ void keep(uint32_t (&a)[J][4]) {
    TENON_UNROLL
    for (int j = 0; j < J; ++j) asm volatile("" : "+r"(a[j][0]), "+r"(a[j][1]), "+r"(a[j][2]), "+r"(a[j][3])::"memory");
  }

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
