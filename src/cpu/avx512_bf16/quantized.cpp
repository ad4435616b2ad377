// AVX-512 with bf16 dot products: bf16 rows times Int4 and Fp8 weights widened to bf16. Weights are packed as avx512/quantized.cpp packs
// them.
#include <immintrin.h>

#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon::cpu::avx512_bf16 {
namespace {

constexpr int kRowBlock = 8, kRegisters = 3;  // as in avx512/linear.cpp
constexpr int kChunkBytes = 384 << 10;

#define TENON_VEC_BF16
// Each builds on the ones before.
// clang-format off
#include "cpu/avx512/vec.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/panel.inl.h"
#include "cpu/generic/panel_float.inl.h"
#include "cpu/avx512/fast_gelu.inl.h"
#include "cpu/avx512_bf16/bfloat16.inl.h"
#include "cpu/generic/panel_grouped.inl.h"
#include "cpu/avx512/quantized_ops.inl.h"
// clang-format on

}  // namespace

void fill_quantized(Kernels& k) {
  using E = QuantizedEntries;
  E::table[0][1][0] = E::ways<Dequantised<Bfloat16, Int4Codes<Ops>>>();
  E::table[1][1][0] = E::ways<Dequantised<Bfloat16, Fp8Codes<Ops>>>();
  E::fill(k);
}

}  // namespace tenon::cpu::avx512_bf16
