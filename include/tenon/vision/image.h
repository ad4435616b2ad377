// Images in memory and their decoding from JPEG and PNG files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tenon/core/error.h"

namespace tenon::vision {

/// 8-bit pixels, row after row, channels interleaved.
struct Image {
  int height = 0;
  int width = 0;
  int channels = 3;             // 1 grey, 3 RGB, 4 RGBA
  std::vector<uint8_t> pixels;  // (height, width, channels)

  Image() = default;
  /// A black image. Errors: Error(Shape) for a size or channel count below 1; Error(Limit) above kMaxPixels; Error(Memory).
  Image(int height, int width, int channels);
  size_t row_bytes() const { return static_cast<size_t>(width) * channels; }
  const uint8_t* row(int y) const { return pixels.data() + static_cast<size_t>(y) * row_bytes(); }
  uint8_t* row(int y) { return pixels.data() + static_cast<size_t>(y) * row_bytes(); }
};

/// The largest image that is decoded or made: where PIL suspects a decompression bomb.
inline constexpr int64_t kMaxPixels = 178'956'970;

struct DecodeOptions {
  int64_t max_pixels = kMaxPixels;
  bool apply_orientation = false;  // turn the image upright as its EXIF orientation says; PIL's Image.open does not
};

/// Decodes a JPEG or PNG file to RGB: the pixels that PIL's Image.open(f).convert("RGB") has. Grey is repeated, CMYK is taken as
/// inverted (Adobe's convention), alpha is dropped, 16-bit colours keep their high byte, 16-bit grey is clipped at 255.
/// Shapes: -> (height, width, 3).
/// Errors: Error(Format) for an unknown kind of file and for a truncated or damaged one; Error(Limit) if it has more than
///   max_pixels; Error(Memory).
/// Source: Pillow 13 with libjpeg-turbo.
Image decode_image(std::span<const uint8_t> bytes, const DecodeOptions& options = {});

/// decode_image() of a file's content. Errors: Error(File) besides; messages name the path.
Image load_image(const std::string& path, const DecodeOptions& options = {});

/// The image with three channels: grey is repeated, transparent colours are blended onto white.
/// Shapes: (H,W,1|3|4) -> (H,W,3).
/// Errors: Error(Shape) for another number of channels.
/// Source: transformers.image_transforms.convert_to_rgb for PIL images (PIL's alpha_composite on white).
Image convert_to_rgb(const Image& image);

/// The image turned or mirrored so that EXIF orientation 1..8 becomes 1; any other value leaves it as it is.
Image apply_orientation(const Image& image, int orientation);

}  // namespace tenon::vision
