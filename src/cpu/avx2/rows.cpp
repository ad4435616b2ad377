// AVX2: kernels over rows and elements, and the filler of this set.
#include <immintrin.h>

#include "cpu/fillers.h"

namespace tenon {
namespace cpu::avx2 {

namespace {

// Each builds on the ones before.
// clang-format off
#include "cpu/avx2/vec.h"
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

}  // namespace cpu::avx2

void fill_avx2(Kernels& k) {
  k.layer_norm = cpu::avx2::layer_norm;
  k.layer_norm_backward = cpu::avx2::layer_norm_backward;
  k.rms_norm = cpu::avx2::rms_norm;
  k.rms_norm_backward = cpu::avx2::rms_norm_backward;
  k.rope = cpu::avx2::rope;
  k.combine_rows = cpu::avx2::combine_rows;
  k.softmax = cpu::avx2::softmax;
  k.softmax_backward = cpu::avx2::softmax_backward;
  k.cross_entropy = cpu::avx2::cross_entropy;
  k.l2_normalize = cpu::avx2::l2_normalize;
  k.gather_rows = cpu::avx2::gather_rows;
  k.scatter_add_rows = cpu::avx2::scatter_add_rows;
  k.sum_rows = cpu::avx2::sum_rows;
  k.quantize_rows = cpu::avx2::quantize_rows;
  k.quantize_rows_fp8 = cpu::avx2::quantize_rows_fp8;
  k.activation = cpu::avx2::activation;
  k.activation_backward = cpu::avx2::activation_backward;
  k.gated = cpu::avx2::gated;
  k.gated_backward = cpu::avx2::gated_backward;
  k.add = cpu::avx2::add;
  k.mul = cpu::avx2::mul;
  k.axpby = cpu::avx2::axpby;
  k.cast = cpu::avx2::cast;
  k.unfold_patches = cpu::avx2::unfold_patches;
  cpu::avx2::fill_attention(k);
  cpu::avx2::fill_linear(k);
  cpu::avx2::fill_quantized(k);
  cpu::avx2::fill_optim(k);
  cpu::avx2::fill_sparse(k);
}

}  // namespace tenon
