// AVX-512 with bf16 dot products: attention over bf16 tensors with both products in bf16 and sums in float32.
#include <immintrin.h>

#include "cpu/fillers.h"

namespace tenon {
namespace cpu::avx512 {

void attention(const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch);
size_t attention_scratch(const AttentionCall& c, int64_t T, int64_t S);

}  // namespace cpu::avx512

namespace cpu::avx512_bf16 {

void fill_rows(Kernels&);       // rows.cpp
void fill_linear(Kernels&);     // linear.cpp
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
#include "cpu/avx512_bf16/operands.inl.h"
#include "cpu/avx512_bf16/few_pairs.inl.h"
// clang-format on

struct MultiplyBf16 {
  static vf accumulate(vf sum, vf a, vf b) { return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)); }
};

using Operands = Bf16Operands<MultiplyBf16>;

size_t attention_scratch(const AttentionCall& c, int64_t T, int64_t S) {
  if (c.type != DType::BF16) return avx512::attention_scratch(c, T, S);
  return scratch_bytes<Operands>(c, S);
}

void attention(const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch) {
  if (c.type != DType::BF16) return avx512::attention(c, b, h, begin, end, scratch);
  attend<Operands, FewPairs<Operands>>(c, b, h, begin, end, scratch);
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
