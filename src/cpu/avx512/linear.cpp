// AVX-512: the linear over float32 weights, and over bf16 weights for processors without their dot products.
#include <immintrin.h>

#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon::cpu::avx512 {
namespace {

constexpr int kRowBlock = 8, kRegisters = 3;  // 24 sums, 3 weights and a broadcast fit into 32 registers
constexpr int kChunkBytes = 384 << 10;        // with two panels they fit into 1 MB of second cache

// Each builds on the ones before.
// clang-format off
#include "cpu/avx512/vec.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/panel.inl.h"
#include "cpu/generic/panel_float.inl.h"
// clang-format on

}  // namespace

void fill_linear(Kernels& k) {
  Entries<Float32>::fill(k);
  Entries<WidenedBfloat16>::fill(k);
}

}  // namespace tenon::cpu::avx512
