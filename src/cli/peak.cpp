// Chains of independent multiply-adds, and a stream through memory larger than any cache.
#include "cli/peak.h"

#include <algorithm>
#include <chrono>
#include <string_view>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "tenon/core/parallel.h"
#include "tenon/core/tensor.h"

namespace tenon::cli {
namespace {

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

constexpr int64_t kSteps = 100000;

/// A loop of kSteps steps and the operations of one.
struct Chain {
  void (*run)() = nullptr;
  double operations = 0;
};

#if defined(__x86_64__)
// Twelve chains beside each other hide the latency; they start from different values, or the compiler would make them one.
#define TENON_CHAIN(name, set, Vector, start, step)           \
  __attribute__((target(set))) void name() {                  \
    Vector x[12];                                             \
    _Pragma("GCC unroll 12") for (int i = 0; i < 12; ++i) {   \
      x[i] = start(i);                                        \
    }                                                         \
    for (int64_t i = 0; i < kSteps; ++i) {                    \
      _Pragma("GCC unroll 12") for (auto& v : x) {            \
        v = step(v);                                          \
      }                                                       \
      asm volatile("" : "+v"(x[0]), "+v"(x[1]), "+v"(x[2]));  \
    }                                                         \
    _Pragma("GCC unroll 12") for (auto& v : x) {              \
      asm volatile("" ::"v"(v));                              \
    }                                                         \
  }
#define TENON_F32_256(i) _mm256_set1_ps(static_cast<float>(i))
#define TENON_F32_512(i) _mm512_set1_ps(static_cast<float>(i))
#define TENON_STEP_256(v) _mm256_fmadd_ps(v, _mm256_set1_ps(1.0000001f), _mm256_set1_ps(1e-9f))
#define TENON_STEP_512(v) _mm512_fmadd_ps(v, _mm512_set1_ps(1.0000001f), _mm512_set1_ps(1e-9f))
#define TENON_STEP_BF16(v) \
  _mm512_dpbf16_ps(v, reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f803f80)), reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x30003000)))
#define TENON_STEP_INT8(v) _mm512_dpbusd_epi32(v, _mm512_set1_epi8(1), _mm512_set1_epi8(1))
TENON_CHAIN(chain_f32_256, "avx2,fma", __m256, TENON_F32_256, TENON_STEP_256)
TENON_CHAIN(chain_f32_512, "avx512f", __m512, TENON_F32_512, TENON_STEP_512)
TENON_CHAIN(chain_bf16_512, "avx512f,avx512bf16", __m512, TENON_F32_512, TENON_STEP_BF16)
TENON_CHAIN(chain_int8_512, "avx512f,avx512vnni", __m512i, _mm512_set1_epi32, TENON_STEP_INT8)

/// All eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileShape {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
#define TENON_TILES(name, instruction)                                                                                         \
  void name() {                                                                                                                \
    const TileShape shape;                                                                                                     \
    asm volatile("ldtilecfg %0" ::"m"(shape));                                                                                 \
    asm volatile("tilezero %tmm0\n\ttilezero %tmm1\n\ttilezero %tmm2\n\ttilezero %tmm3\n\ttilezero %tmm4\n\ttilezero %tmm5");  \
    for (int64_t i = 0; i < kSteps / 16; ++i)                                                                                  \
      asm volatile(instruction " %tmm5, %tmm4, %tmm0\n\t" instruction " %tmm5, %tmm4, %tmm1\n\t" instruction                   \
                               " %tmm5, %tmm4, %tmm2\n\t" instruction " %tmm5, %tmm4, %tmm3");                                 \
    asm volatile("tilerelease");                                                                                               \
  }
TENON_TILES(chain_bf16_tiles, "tdpbf16ps")
TENON_TILES(chain_int8_tiles, "tdpbssd")
#endif

Chain chain(Arithmetic kind, std::string_view table) {
#if defined(__x86_64__)
  const bool f32 = kind == Arithmetic::F32, bf16 = kind == Arithmetic::BF16;
  if (table == "avx2") return f32 ? Chain{chain_f32_256, 12 * 16} : Chain{};
  if (table != "avx512" && table != "amx") return {};
  if (f32) return {chain_f32_512, 12 * 32};
  // The table "amx" is chosen only where the processor has tiles and the process may use them.
  constexpr double kTile = 2.0 * 16 * 16 * 32 * 4 / 16;  // a sixteenth of four products of 16 x 16 x 32 pairs, two operations each
  if (table == "amx") return bf16 ? Chain{chain_bf16_tiles, kTile} : Chain{chain_int8_tiles, 2 * kTile};
  if (bf16) return __builtin_cpu_supports("avx512bf16") ? Chain{chain_bf16_512, 12 * 64} : Chain{};
  return __builtin_cpu_supports("avx512vnni") ? Chain{chain_int8_512, 12 * 128} : Chain{};
#else
  (void)kind, (void)table, (void)kSteps;
  return {};
#endif
}

}  // namespace

const char* name_of(Arithmetic kind) { return kind == Arithmetic::F32 ? "float32" : kind == Arithmetic::BF16 ? "bfloat16" : "int8"; }

double arithmetic_peak(Arithmetic kind, const Kernels& table, int threads) {
  const Chain c = chain(kind, table.name);
  if (!c.run) return 0;
  // Rounds of a few milliseconds, for a tenth of a second: threads that slept wake on one core and are spread only after some time.
  constexpr int kChains = 10;
  double best = 1e30;
  int round = 0;
  for (const double stop = seconds() + 0.1; round < 5 || seconds() < stop; ++round) {
    const double start = seconds();
    parallel_for(threads, threads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * kChains; i < end * kChains; ++i) c.run();
    });
    best = std::min(best, seconds() - start);
  }
  return static_cast<double>(kSteps) * kChains * c.operations * threads / best / 1e9;
}

double memory_peak(int threads) {
  const Tensor block = Tensor::zeros({32 << 20}, DType::U64);  // 256 MB
  const auto* p = block.data<uint64_t>();
  double best = 1e30;
  for (int round = 0; round < 4; ++round) {
    const double start = seconds();
    parallel_for(threads, block.numel() >> 16, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        uint64_t sums[16] = {};  // side by side, for vectors
        for (const uint64_t *q = p + (i << 16), *last = q + (1 << 16); q < last; q += 16)
          for (int j = 0; j < 16; ++j) sums[j] += q[j];
        volatile uint64_t sink = 0;  // or the loop would be left out
        for (const uint64_t s : sums) sink = sink + s;
      }
    });
    best = std::min(best, seconds() - start);
  }
  return static_cast<double>(block.nbytes()) / best / 1e9;
}

}  // namespace tenon::cli
