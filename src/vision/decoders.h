// The file formats behind decode_image(): one function each, from bytes to RGB.
#pragma once

#include "tenon/vision/image.h"

namespace tenon::vision::detail {

Image decode_jpeg(std::span<const uint8_t> bytes, int64_t max_pixels);
Image decode_png(std::span<const uint8_t> bytes, int64_t max_pixels);

/// Errors: Error(Limit) if the size that a header declares exceeds max_pixels.
void check_pixels(std::string_view where, int64_t width, int64_t height, int64_t max_pixels);

/// The EXIF orientation, 1..8, of a JPEG or PNG file; 1 if it has none or the EXIF data are damaged.
int exif_orientation(std::span<const uint8_t> bytes);

}  // namespace tenon::vision::detail
