// Arm Advanced SIMD: kernels over rows and elements, and the filler of this set.
#include <arm_neon.h>

#include "cpu/fillers.h"

namespace tenon {
namespace cpu::neon {

namespace {

// Each builds on the ones before.
// clang-format off
#include "cpu/neon/vec.h"
#include "cpu/generic/lanes.inl.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/elements.inl.h"
#include "cpu/generic/rows.inl.h"
// clang-format on

}  // namespace

void fill_attention(Kernels&);  // attention.cpp
void fill_linear(Kernels&);     // linear.cpp
void fill_quantized(Kernels&);  // quantized.cpp
void fill_optim(Kernels&);      // optim.cpp
void fill_sparse(Kernels&);     // sparse.cpp

}  // namespace cpu::neon

void fill_neon(Kernels& k) {
  k.layer_norm = cpu::neon::layer_norm;
  k.layer_norm_backward = cpu::neon::layer_norm_backward;
  k.rms_norm = cpu::neon::rms_norm;
  k.rms_norm_backward = cpu::neon::rms_norm_backward;
  k.rope = cpu::neon::rope;
  k.combine_rows = cpu::neon::combine_rows;
  k.softmax = cpu::neon::softmax;
  k.softmax_backward = cpu::neon::softmax_backward;
  k.cross_entropy = cpu::neon::cross_entropy;
  k.l2_normalize = cpu::neon::l2_normalize;
  k.gather_rows = cpu::neon::gather_rows;
  k.scatter_add_rows = cpu::neon::scatter_add_rows;
  k.sum_rows = cpu::neon::sum_rows;
  k.quantize_rows = cpu::neon::quantize_rows;
  k.quantize_rows_fp8 = cpu::neon::quantize_rows_fp8;
  k.activation = cpu::neon::activation;
  k.activation_backward = cpu::neon::activation_backward;
  k.gated = cpu::neon::gated;
  k.gated_backward = cpu::neon::gated_backward;
  k.add = cpu::neon::add;
  k.mul = cpu::neon::mul;
  k.axpby = cpu::neon::axpby;
  k.cast = cpu::neon::cast;
  k.unfold_patches = cpu::neon::unfold_patches;
  cpu::neon::fill_attention(k);
  cpu::neon::fill_linear(k);
  cpu::neon::fill_quantized(k);
  cpu::neon::fill_optim(k);
  cpu::neon::fill_sparse(k);
}

}  // namespace tenon
