// AVX-512 with bf16 conversions: the row kernels that write bf16, where rounding with one instruction instead of seven shows.
#include <immintrin.h>

#include "cpu/fillers.h"

namespace tenon::cpu::avx512_bf16 {
namespace {

#define TENON_VEC_BF16
// Each builds on the ones before.
// clang-format off
#include "cpu/avx512/vec.h"
#include "cpu/generic/lanes.inl.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/elements.inl.h"
#include "cpu/generic/rows.inl.h"
// clang-format on

}  // namespace

void fill_rows(Kernels&);

// Not cast: the instruction flushes subnormals, which a conversion of weights must not.
void fill_rows(Kernels& k) {
  k.layer_norm = layer_norm;
  k.rms_norm = rms_norm;
  k.rope = rope;
  k.combine_rows = combine_rows;
  k.gather_rows = gather_rows;
  k.activation = activation;
  k.gated = gated;
  k.add = add;
}

}  // namespace tenon::cpu::avx512_bf16
