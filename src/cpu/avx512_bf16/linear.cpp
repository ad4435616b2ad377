// AVX-512 with bf16 dot products: the linear over bf16 weights.
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
#include "cpu/avx512/fast_gelu.inl.h"
#include "cpu/avx512_bf16/bfloat16.inl.h"
// clang-format on

}  // namespace

void fill_linear(Kernels& k) { Entries<Bfloat16>::fill(k); }

}  // namespace tenon::cpu::avx512_bf16
