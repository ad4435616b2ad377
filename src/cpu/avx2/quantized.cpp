// AVX2: the linear over Int4 and Fp8 weights.
#include <immintrin.h>

#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon::cpu::avx2 {
namespace {

constexpr int kRowBlock = 6, kRegisters = 2;  // as in linear.cpp
constexpr int kChunkBytes = 96 << 10;

// Each builds on the ones before.
// clang-format off
#include "cpu/avx2/vec.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/panel.inl.h"
#include "cpu/generic/panel_float.inl.h"
#include "cpu/generic/panel_grouped.inl.h"
// clang-format on

/// vpmaddubsw makes words of two products each. Eight of them add up to at most 8 * 2 * 15 * 127 = 30480, which fits; then they are
/// widened.
struct Integers {
  using Register = __m256i;
  static constexpr int64_t kRows = 4;
  static constexpr int kHold = 8;  // units

  static Register zero() { return _mm256_setzero_si256(); }
  static Register load(const char* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
  static void store(char* p, Register r) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), r); }
  static Register low(Register r) { return _mm256_and_si256(r, _mm256_set1_epi8(15)); }
  static Register high(Register r) { return low(_mm256_srli_epi16(r, 4)); }
  static vf to_float(Register r) { return _mm256_cvtepi32_ps(r); }
  static Register widen(Register words) { return _mm256_madd_epi16(words, _mm256_set1_epi16(1)); }

  template <int MR, int NR>
  static void dot(Register (&sums)[MR][NR], const char* x, int64_t stride, const char* w, int64_t units) {
    for (int64_t u = 0; u < units; u += kHold, x += kHold * 4, w += kHold * NR * 32) {
      Register words[MR][NR];
#pragma GCC unroll 8
      for (int i = 0; i < kHold; ++i) {
        Register weights[NR];
#pragma GCC unroll 2
        for (int j = 0; j < NR; ++j) weights[j] = load(w + (i * NR + j) * 32);
#pragma GCC unroll 4
        for (int r = 0; r < MR; ++r) {
          const Register row = _mm256_set1_epi32(unit_at(x + r * stride + i * 4));
#pragma GCC unroll 2
          for (int j = 0; j < NR; ++j) {
            const Register product = _mm256_maddubs_epi16(weights[j], row);
            words[r][j] = i == 0 ? product : _mm256_add_epi16(words[r][j], product);
          }
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
        for (int j = 0; j < NR; ++j) sums[r][j] = _mm256_add_epi32(sums[r][j], widen(words[r][j]));
    }
  }

  template <int MR, int NR>
  static void dot_codes(Register (&sums)[MR][NR], const char* x, int64_t stride, const char* w, int64_t pairs) {
    constexpr int kPairs = kHold / 2;
    for (int64_t u = 0; u < pairs; u += kPairs, x += kPairs * 8, w += kPairs * NR * 32) {
      Register words[MR][NR];
#pragma GCC unroll 4
      for (int i = 0; i < kPairs; ++i) {
        Register first[NR], second[NR];
#pragma GCC unroll 2
        for (int j = 0; j < NR; ++j) {
          const Register codes = load(w + (i * NR + j) * 32);
          first[j] = low(codes), second[j] = high(codes);
        }
#pragma GCC unroll 2
        for (int r = 0; r < MR; ++r) {
          const Register a = _mm256_set1_epi32(unit_at(x + r * stride + i * 8)), b = _mm256_set1_epi32(unit_at(x + r * stride + i * 8 + 4));
#pragma GCC unroll 2
          for (int j = 0; j < NR; ++j) {
            const Register product = _mm256_add_epi16(_mm256_maddubs_epi16(first[j], a), _mm256_maddubs_epi16(second[j], b));
            words[r][j] = i == 0 ? product : _mm256_add_epi16(words[r][j], product);
          }
        }
      }
#pragma GCC unroll 2
      for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
        for (int j = 0; j < NR; ++j) sums[r][j] = _mm256_add_epi32(sums[r][j], widen(words[r][j]));
    }
  }
};

#include "cpu/generic/quantized_int8.inl.h"

/// Codes to a panel of float32: (code - zero) * scale.
struct Int4Codes {
  template <class>
  static void expand(char* room, const char* codes, const char* scales, int width, int64_t group) {
    float* to = reinterpret_cast<float*>(room);
    for (int i = 0; i < width; i += kLanes) {
      const vf scale = load(reinterpret_cast<const float16*>(scales) + i, Full{});
      const __m256i zeros = _mm256_cvtps_epi32(load(reinterpret_cast<const int8_t*>(scales) + 2 * width + i, Full{}));
      for (int64_t k = 0; k < group; k += 8) {
        const __m256i words = Integers::load(codes + (k / 8 * width + i) * 4);
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) {
          const int shift = j < 4 ? 8 * j : 8 * (j - 4) + 4;
          const __m256i code = _mm256_and_si256(_mm256_srli_epi32(words, shift), _mm256_set1_epi32(15));
          store(to + (k + j) * width + i, scale * _mm256_cvtepi32_ps(_mm256_sub_epi32(code, zeros)), Full{});
        }
      }
    }
  }
};

/// e4m3 bits moved into a half float have its value divided by 256, subnormals too.
struct Fp8Codes {
  template <class>
  static void expand(char* room, const char* codes, const char* scales, int width, int64_t group) {
    float* to = reinterpret_cast<float*>(room);
    const __m128i keep = _mm_set1_epi16(static_cast<int16_t>(0xbf80));
    for (int i = 0; i < width; i += kLanes) {
      const vf scale = load(reinterpret_cast<const float*>(scales) + i, Full{}) * set1(256);
      for (int64_t k = 0; k < group; k += 2) {
        const __m128i pairs = _mm_load_si128(reinterpret_cast<const __m128i*>(codes + (k / 2 * width + i) * 2));
        const __m128i even = _mm_and_si128(_mm_srai_epi16(_mm_slli_epi16(pairs, 8), 1), keep),
                      odd = _mm_and_si128(_mm_srai_epi16(pairs, 1), keep);
        store(to + k * width + i, _mm256_cvtph_ps(even) * scale, Full{});
        store(to + (k + 1) * width + i, _mm256_cvtph_ps(odd) * scale, Full{});
      }
    }
  }
};

}  // namespace

void fill_quantized(Kernels& k) {
  using E = QuantizedEntries;
  for (const int bf16 : {0, 1}) {
    E::table[0][bf16][0] = E::ways<Dequantised<Float32, Int4Codes>>();
    E::table[0][bf16][1] = E::ways<Int8Rows<Integers>>();
    E::table[1][bf16][0] = E::ways<Dequantised<Float32, Fp8Codes>>();
  }
  E::fill(k);
}

}  // namespace tenon::cpu::avx2
