// Arrays of pixels as the image processor sees them: any layout, any number type, made 8-bit where PIL would.
#pragma once

#include "tenon/core/tensor.h"
#include "tenon/vision/image.h"
#include "tenon/vision/processor.h"

namespace tenon::vision::detail {

/// An image in a tensor of U8, F32 or F64; element (c, y, x) lies at c * channel_step + y * row_step + x * pixel_step.
struct PixelArray {
  Tensor values;
  int channels = 0, height = 0, width = 0;
  int64_t channel_step = 0, row_step = 0, pixel_step = 0;
};

/// Finds the channels. Errors: Error(Shape) for another rank or an unclear layout; Error(Limit) for too many pixels.
PixelArray pixel_array(const Tensor& array, ChannelLayout layout);

/// Only U8, F32 and F64 remain: whole numbers that fit become U8, others `wide`; half floats become F32.
void simplify_type(PixelArray& array, DType wide);

/// Repeats grey and blends RGBA onto white, in the arithmetic that transformers uses for arrays.
/// Errors: Error(Limit) if fractions of an RGBA array lie outside 0..1.
void make_rgb(PixelArray& array);

/// 8-bit pixels, channels interleaved.
struct Bytes {
  Image image;
  bool from_fractions = false;  // 0..1 was spread over 0..255
};

/// Errors: Error(Limit) if the values are neither whole numbers in 0..255 nor fractions in 0..1.
Bytes to_bytes(const PixelArray& array);

}  // namespace tenon::vision::detail
