// AVX-512 with bf16 dot products: attention over bf16 tensors with both products in bf16 and sums in float32.
#include <immintrin.h>

#include "cpu/fillers.h"

namespace tenon {
namespace cpu::avx512 {

void attention(const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch);
size_t attention_scratch(const AttentionCall& c, int64_t T, int64_t S);

}  // namespace cpu::avx512

namespace cpu::avx512_bf16 {

void fill_rows(Kernels&);    // rows.cpp
void fill_linear(Kernels&);  // linear.cpp
void fill_quantized(Kernels&);  // quantized.cpp

namespace {

#define TENON_VEC_BF16
// Each builds on the ones before.
// clang-format off
#include "cpu/avx512/vec.h"
#include "cpu/generic/lanes.inl.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/tile.inl.h"
#include "cpu/avx512/wide.h"
#include "cpu/generic/dropout.inl.h"
#include "cpu/generic/attention.inl.h"
#include "cpu/generic/attention_few.inl.h"
// clang-format on

struct MultiplyBf16 {
  static vf accumulate(vf sum, vf a, vf b) { return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)); }
};

struct Bf16Operands {
  using Element = bfloat16;
  using Multiply = MultiplyBf16;
  static constexpr int64_t kPer = 2;
  static constexpr bool kFewTerms = true;

  static vf load_units(const bfloat16* row, int64_t u, int64_t D) {
    const int64_t left = D - 2 * u;
    const __mmask32 mask = left >= 32 ? 0xffffffffu : left > 0 ? (1u << left) - 1 : 0;
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, row + 2 * u));
  }
  static __m256i load_bits(const bfloat16* p, Full) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static __m256i load_bits(const bfloat16* p, Part part) { return _mm256_maskz_loadu_epi16(part.mask, p); }
  template <class P>
  static vf load_value_units(const bfloat16* row, const bfloat16* next, int64_t d, P part) {
    const __m512i low = _mm512_cvtepu16_epi32(load_bits(row + d, part));
    if (!next) return _mm512_castsi512_ps(low);
    return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(_mm512_cvtepu16_epi32(load_bits(next + d, part)), 16)));
  }
  /// Over the scores of the same row: 16 weights take half the bytes, so nothing unread is overwritten.
  static void store_weights(float* row, int64_t i, vf p) { store(reinterpret_cast<bfloat16*>(row) + i, p, Full{}); }
};

size_t attention_scratch(const AttentionCall& c, int64_t T, int64_t S) {
  if (c.type != DType::BF16) return avx512::attention_scratch(c, T, S);
  return scratch_bytes<Bf16Operands>(c, S);
}

void attention(const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch) {
  if (c.type != DType::BF16) return avx512::attention(c, b, h, begin, end, scratch);
  attend<Bf16Operands>(c, b, h, begin, end, scratch);
}

}  // namespace
}  // namespace cpu::avx512_bf16

void fill_avx512_bf16(Kernels& k) {
  k.fast_bf16 = true;
  k.attention_scratch = cpu::avx512_bf16::attention_scratch;
  k.attention = cpu::avx512_bf16::attention;
  cpu::avx512_bf16::fill_rows(k);
  cpu::avx512_bf16::fill_linear(k);
  cpu::avx512_bf16::fill_quantized(k);
}

}  // namespace tenon
