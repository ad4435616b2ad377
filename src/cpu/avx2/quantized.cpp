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

struct Ops {
  using Register = __m256i;
  static Register zero() { return _mm256_setzero_si256(); }
  static Register load(const char* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
  static void store(char* p, Register r) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), r); }
  static Register broadcast(const char* unit) { return _mm256_set1_epi32(unit_at(unit)); }
  static Register low(Register r) { return _mm256_and_si256(r, _mm256_set1_epi8(15)); }
  static Register high(Register r) { return low(_mm256_srli_epi16(r, 4)); }
  static vf to_float(Register r) { return _mm256_cvtepi32_ps(r); }
  static Register words(Register w, Register x) { return _mm256_maddubs_epi16(w, x); }
  static Register add_words(Register a, Register b) { return _mm256_add_epi16(a, b); }
  static Register add_widened(Register sum, Register words) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
  }

  static vf nibble(Register r, int shift) {
    return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(r, shift), _mm256_set1_epi32(15)));
  }
  static void fp8_pair(const char* p, vf& even, vf& odd) {
    const __m128i pairs = _mm_load_si128(reinterpret_cast<const __m128i*>(p)), keep = _mm_set1_epi16(static_cast<int16_t>(0xbf80));
    even = _mm256_cvtph_ps(_mm_and_si128(_mm_srai_epi16(_mm_slli_epi16(pairs, 8), 1), keep));
    odd = _mm256_cvtph_ps(_mm_and_si128(_mm_srai_epi16(pairs, 1), keep));
  }
};

#include "cpu/generic/quantized_int8.inl.h"
#include "cpu/generic/quantized_words.inl.h"

}  // namespace

void fill_quantized(Kernels& k) {
  using E = QuantizedEntries;
  for (const int bf16 : {0, 1}) {
    E::table[0][bf16][0] = E::ways<Dequantised<Float32, Int4Codes<Ops>>>();
    E::table[0][bf16][1] = E::ways<Int8Rows<WordSums<Ops, 4>>>();
    E::table[1][bf16][0] = E::ways<Dequantised<Float32, Fp8Codes<Ops>>>();
  }
  E::fill(k);
}

}  // namespace tenon::cpu::avx2
