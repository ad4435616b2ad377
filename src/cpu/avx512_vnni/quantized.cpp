// AVX-512 with VNNI: Int4 weights times rows rounded to int8. Weights are packed as avx512/quantized.cpp packs them.
#include <immintrin.h>

#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon::cpu::avx512_vnni {
namespace {

constexpr int kRowBlock = 8, kRegisters = 3;  // as in avx512/linear.cpp
constexpr int kChunkBytes = 384 << 10;

// Each builds on the ones before.
// clang-format off
#include "cpu/avx512/vec.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/panel.inl.h"
#include "cpu/generic/panel_float.inl.h"
#include "cpu/generic/panel_grouped.inl.h"
#include "cpu/avx512/quantized_ops.inl.h"
#include "cpu/avx512_vnni/dot_products.inl.h"
#include "cpu/generic/quantized_int8.inl.h"
// clang-format on

}  // namespace

void fill_quantized(Kernels& k) {
  using E = QuantizedEntries;
  for (const int bf16 : {0, 1}) E::table[0][bf16][1] = E::ways<Int8Rows<DotProducts>>();
  E::fill(k);
}

}  // namespace tenon::cpu::avx512_vnni
