// AVX-512: the linear over Int4 and Fp8 weights, for processors without dot products of bytes and of bf16.
#include <immintrin.h>

#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon::cpu::avx512 {
namespace {

constexpr int kRowBlock = 8, kRegisters = 3;  // as in linear.cpp
constexpr int kChunkBytes = 384 << 10;

// Each builds on the ones before.
// clang-format off
#include "cpu/avx512/vec.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/panel.inl.h"
#include "cpu/generic/panel_float.inl.h"
#include "cpu/generic/panel_grouped.inl.h"
#include "cpu/avx512/quantized_ops.inl.h"
#include "cpu/generic/quantized_words.inl.h"
#include "cpu/generic/quantized_int8.inl.h"
// clang-format on

}  // namespace

void fill_quantized(Kernels& k) {
  using E = QuantizedEntries;
  for (const int bf16 : {0, 1}) {
    E::table[0][bf16][0] = E::ways<Dequantised<Float32, Int4Codes<Ops>>>();
    E::table[0][bf16][1] = E::ways<Int8Rows<WordSums<Ops, 8>>>();
    E::table[1][bf16][0] = E::ways<Dequantised<Float32, Fp8Codes<Ops>>>();
  }
  E::fill(k);
}

}  // namespace tenon::cpu::avx512
