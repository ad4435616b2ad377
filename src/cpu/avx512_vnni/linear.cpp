// AVX-512 with VNNI: the linear over int8 weights.
#include <immintrin.h>

#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon {
namespace cpu::avx512_vnni {

void fill_quantized(Kernels&);  // quantized.cpp

namespace {

constexpr int kRowBlock = 8, kRegisters = 3;  // as in avx512/linear.cpp
constexpr int kChunkBytes = 384 << 10;

// Each builds on the ones before.
// clang-format off
#include "cpu/avx512/vec.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/panel.inl.h"
#include "cpu/avx512/fast_gelu.inl.h"
#include "cpu/avx512_vnni/int8.inl.h"
// clang-format on

}  // namespace
}  // namespace cpu::avx512_vnni

void fill_avx512_vnni(Kernels& k) {
  cpu::avx512_vnni::Entries<cpu::avx512_vnni::Int8>::fill(k);
  cpu::avx512_vnni::fill_quantized(k);
}

}  // namespace tenon
