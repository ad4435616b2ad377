// AVX-512: kernels over rows and elements, and the filler of this set.
#include <immintrin.h>

#include "cpu/fillers.h"

namespace tenon {
namespace cpu::avx512 {

namespace {

// Each builds on the ones before.
// clang-format off
#include "cpu/avx512/vec.h"
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

}  // namespace cpu::avx512

void fill_avx512(Kernels& k) {
  k.layer_norm = cpu::avx512::layer_norm;
  k.layer_norm_backward = cpu::avx512::layer_norm_backward;
  k.rms_norm = cpu::avx512::rms_norm;
  k.rms_norm_backward = cpu::avx512::rms_norm_backward;
  k.rope = cpu::avx512::rope;
  k.combine_rows = cpu::avx512::combine_rows;
  k.softmax = cpu::avx512::softmax;
  k.softmax_backward = cpu::avx512::softmax_backward;
  k.cross_entropy = cpu::avx512::cross_entropy;
  k.l2_normalize = cpu::avx512::l2_normalize;
  k.gather_rows = cpu::avx512::gather_rows;
  k.scatter_add_rows = cpu::avx512::scatter_add_rows;
  k.sum_rows = cpu::avx512::sum_rows;
  k.quantize_rows = cpu::avx512::quantize_rows;
  k.quantize_rows_fp8 = cpu::avx512::quantize_rows_fp8;
  k.activation = cpu::avx512::activation;
  k.activation_backward = cpu::avx512::activation_backward;
  k.gated = cpu::avx512::gated;
  k.gated_backward = cpu::avx512::gated_backward;
  k.add = cpu::avx512::add;
  k.mul = cpu::avx512::mul;
  k.axpby = cpu::avx512::axpby;
  k.cast = cpu::avx512::cast;
  k.unfold_patches = cpu::avx512::unfold_patches;
  cpu::avx512::fill_attention(k);
  cpu::avx512::fill_linear(k);
  cpu::avx512::fill_quantized(k);
  cpu::avx512::fill_optim(k);
  cpu::avx512::fill_sparse(k);
}

}  // namespace tenon
