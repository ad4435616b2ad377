// Chains of the widest multiply-adds and streams through memory.
#include "peak.h"

#include <cstddef>
#include <cstring>
#include <ctime>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tenon::bench {

// The thread's own time: what other processes do on a shared machine is not counted.
double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

namespace {

constexpr long kSteps = 200000;

#if defined(__x86_64__)
__attribute__((target("avx512f"))) void chain_f32_wide() {
  __m512 x[12];
#pragma GCC unroll 12
  for (int i = 0; i < 12; ++i) x[i] = _mm512_set1_ps(static_cast<float>(i));  // different, or the compiler makes them one
  const __m512 b = _mm512_set1_ps(1.0000001f), c = _mm512_set1_ps(1e-9f);
  for (long i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (auto& v : x) v = _mm512_fmadd_ps(v, b, c);
    asm volatile("" : "+v"(x[0]), "+v"(x[1]), "+v"(x[2]));
  }
#pragma GCC unroll 12
  for (auto& v : x) asm volatile("" ::"v"(v));
}

__attribute__((target("avx512f,avx512bf16"))) void chain_bf16_wide() {
  __m512 x[12];
#pragma GCC unroll 12
  for (int i = 0; i < 12; ++i) x[i] = _mm512_set1_ps(static_cast<float>(i));  // different, or the compiler makes them one
  const __m512bh b = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f803f80)),
                 c = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x30003000));
  for (long i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (auto& v : x) v = _mm512_dpbf16_ps(v, b, c);
    asm volatile("" : "+v"(x[0]), "+v"(x[1]), "+v"(x[2]));
  }
#pragma GCC unroll 12
  for (auto& v : x) asm volatile("" ::"v"(v));
}

__attribute__((target("avx2,fma"))) void chain_f32() {
  __m256 x[12];
#pragma GCC unroll 12
  for (int i = 0; i < 12; ++i) x[i] = _mm256_set1_ps(static_cast<float>(i));  // different, or the compiler makes them one
  const __m256 b = _mm256_set1_ps(1.0000001f), c = _mm256_set1_ps(1e-9f);
  for (long i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (auto& v : x) v = _mm256_fmadd_ps(v, b, c);
    asm volatile("" : "+x"(x[0]), "+x"(x[1]), "+x"(x[2]));
  }
#pragma GCC unroll 12
  for (auto& v : x) asm volatile("" ::"x"(v));
}
#endif

}  // namespace

Peak measure_peak(bool wide) {
  Peak p;
#if defined(__x86_64__)
  const double steps = static_cast<double>(kSteps);
  if (wide) {
    p.f32 = steps * 12 * 32 / best_time(chain_f32_wide) / 1e9;
    if (__builtin_cpu_supports("avx512bf16")) p.bf16 = steps * 12 * 64 / best_time(chain_bf16_wide) / 1e9;
  } else {
    p.f32 = steps * 12 * 16 / best_time(chain_f32) / 1e9;
  }
#else
  (void)wide;
  (void)kSteps;
#endif
  const size_t bytes = size_t{256} << 20;
  std::vector<char> large(bytes, 1), small(8192), copy(8192);
  p.read = static_cast<double>(bytes) /
           best_time(
               [&] {
                 const void* found = std::memchr(large.data(), 0, bytes);
                 asm volatile("" ::"r"(found) : "memory");
               },
               0.5) /
           1e9;
  p.cache = 2.0 * 8192 / best_time([&] {
              std::memcpy(copy.data(), small.data(), 8192);
              asm volatile("" ::: "memory");
            }) /
            1e9;
  return p;
}

}  // namespace tenon::bench
