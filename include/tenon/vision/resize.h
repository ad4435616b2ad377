// Antialiased resizing, equal to PIL's to the last bit.
#pragma once

#include <cstdint>

#include "tenon/vision/image.h"

namespace tenon::vision {

/// PIL's resampling filters; the numbers are those of `resample` in preprocessor_config.json.
enum class Filter : int { Nearest = 0, Lanczos = 1, Bilinear = 2, Bicubic = 3, Box = 4, Hamming = 5 };

/// Errors: Error(Limit) if `number` names no filter.
Filter filter_of(int64_t number);

/// Resizes as PIL's Image.resize((width, height), filter) does: a pass across and one down, each a weighted mean over the
/// filter's support (widened when shrinking) with weights of 22 fractional bits, rounded to 8 bits in between.
/// Shapes: (H,W,C) -> (height,width,C), C of 1..4; channels are independent (alpha does not weigh the colours).
/// Units: threads > 1 splits the rows; the result is the same.
/// Errors: Error(Limit) for a size below 1 or above kMaxPixels; Error(Shape) if the image's pixels do not match its size.
/// Source: Pillow 13, ImagingResample and ImagingScaleAffine.
Image resize(const Image& image, int height, int width, Filter filter = Filter::Bilinear, int threads = 1);

}  // namespace tenon::vision
