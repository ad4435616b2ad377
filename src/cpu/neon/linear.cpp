// Advanced SIMD: the linear over float32 and bf16 weights.
#include <arm_neon.h>

#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon::cpu::neon {
namespace {

constexpr int kRowBlock = 8, kRegisters = 3;  // 24 sums, 3 weights and a broadcast fit into 32 registers
constexpr int kChunkBytes = 192 << 10;        // these processors have 512 KB of second cache or more

// Each builds on the ones before.
// clang-format off
#include "cpu/neon/vec.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/panel.inl.h"
#include "cpu/generic/panel_float.inl.h"
// clang-format on

}  // namespace

void fill_linear(Kernels& k) {
  Entries<Float32>::fill(k);
  Entries<WidenedBfloat16>::fill(k);
}

}  // namespace tenon::cpu::neon
