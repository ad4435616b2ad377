// Products of rows with plain and packed weights by kernels of our own: which kernel a shape gets.
#pragma once

#include "bodies/epilogue.h"

namespace tenon::cuda {

/// y of c, whose x may be of any type; of int8 rows if c.x_scale. Weights are of `format`, (K,N) if transposed; BF16 ones of float16 if x is.
void grouped_product(const GroupedProduct& c, WeightFormat format, bool transposed);

/// The same for FP8 weights and rows that are rounded to e4m3 first; fp8.cu has it. few: for few rows.
void fp8_rows_product(const GroupedProduct& c, bool few);

/// The same by Hopper's wgmma, if shapes are for it and the device is: whether it is launched. Rows and weights have the same 16 bits. A trial does
/// not ask for the device. grouped_wgmma.cu has them.
struct Fp8Scales;
bool product_by_wgmma(const GroupedProduct& c, bool transposed, bool trial = false);
bool gradient_by_wgmma(const GroupedGradCall& c, bool trial = false);
bool fp8_product_by_wgmma(const GroupedProduct& c, const Fp8Scales& x, const Fp8Scales& w, int64_t w_stride, int64_t w_scales_at, bool trial = false);

/// A linear layer without blocks as a product of one group; quantized.cu has it, and those whose weight is Int8, Int4 or Fp8.
GroupedProduct product_of(const LinearCall& c);
void packed_linear(const LinearCall& c);
/// One on bfloat16 weights and rows, with all that follows its product, by wgmma: if its tiles are enough for all multiprocessors. Whether it is
/// launched.
bool linear_by_wgmma(const LinearCall& c);
void int8_unpack(float* w, const void* packed, const float* scale, int64_t N, int64_t K);
/// The seam's quantize_rows; norms.cu has it.
void quantize_rows_int8(int8_t* q, float* scale, const void* x, int64_t N, int64_t C, DType type);

}  // namespace tenon::cuda
