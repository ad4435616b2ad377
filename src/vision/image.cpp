// Image memory, the choice of decoder, colour conversion and orientation.
#include "tenon/vision/image.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "tenon/io/files.h"
#include "vision/decoders.h"

namespace tenon::vision {
namespace {

bool starts_with(std::span<const uint8_t> bytes, std::initializer_list<uint8_t> magic) {
  return bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), bytes.begin());
}

/// PIL's alpha_composite of a pixel onto opaque white, in its integer arithmetic (7 extra bits, divisions rounded).
uint8_t over_white(uint32_t value, uint32_t alpha) {
  constexpr uint32_t kExtra = 7;
  const uint32_t sum = (value * alpha << kExtra) + (255 * (255 - alpha) << kExtra) + (0x80u << kExtra);
  return static_cast<uint8_t>((((sum >> 8) + sum) >> 8) >> kExtra);
}

}  // namespace

Image::Image(int h, int w, int c) : height(h), width(w), channels(c) {
  check(h >= 1 && w >= 1 && c >= 1 && c <= 4, ErrorCode::Shape, "image", "expected a size of at least 1x1 and 1 to 4 channels, got ", w,
        "x", h, " with ", c);
  detail::check_pixels("image", w, h, kMaxPixels);
  try {
    pixels.resize(static_cast<size_t>(h) * row_bytes());
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::Memory, "image", "cannot allocate ", w, "x", h, " pixels");
  }
}

void detail::check_pixels(std::string_view where, int64_t width, int64_t height, int64_t max_pixels) {
  check(width > 0 && height > 0, ErrorCode::Format, where, "empty image: ", width, "x", height);
  check(width <= max_pixels / height, ErrorCode::Limit, where, "too large: expected at most ", max_pixels, " pixels, got ", width, "x",
        height);
}

Image decode_image(std::span<const uint8_t> bytes, const DecodeOptions& options) {
  Image image;
  const int64_t max_pixels = std::min(options.max_pixels, kMaxPixels);
  if (starts_with(bytes, {0xff, 0xd8, 0xff}))
    image = detail::decode_jpeg(bytes, max_pixels);
  else if (starts_with(bytes, {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'}))
    image = detail::decode_png(bytes, max_pixels);
  else if (bytes.empty())
    fail(ErrorCode::Format, "image", "expected a JPEG or PNG file, got no data");
  else
    fail(ErrorCode::Format, "image", "unknown kind of file: expected JPEG or PNG");
  return options.apply_orientation ? apply_orientation(image, detail::exif_orientation(bytes)) : image;
}

Image load_image(const std::string& path, const DecodeOptions& options) {
  const std::string content = io::read_file(path);
  try {
    return decode_image({reinterpret_cast<const uint8_t*>(content.data()), content.size()}, options);
  } catch (const Error& e) {
    fail(e.code(), path, e.what());
  }
}

Image convert_to_rgb(const Image& image) {
  check(image.channels == 1 || image.channels == 3 || image.channels == 4, ErrorCode::Shape, "image",
        "expected 1, 3 or 4 channels to convert to RGB, got ", image.channels);
  if (image.channels == 3) return image;
  Image rgb(image.height, image.width, 3);
  const uint8_t* in = image.pixels.data();
  uint8_t* out = rgb.pixels.data();
  const size_t count = static_cast<size_t>(image.height) * image.width;
  for (size_t i = 0; i < count; ++i, in += image.channels, out += 3)
    for (int c = 0; c < 3; ++c) out[c] = image.channels == 1 ? in[0] : over_white(in[c], in[3]);
  return rgb;
}

Image apply_orientation(const Image& image, int orientation) {
  if (orientation < 2 || orientation > 8) return image;
  const bool transposed = orientation >= 5;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image turned(transposed ? image.width : image.height, transposed ? image.height : image.width, image.channels);
  for (int y = 0; y < image.height; ++y) {
    const uint8_t* in = image.row(y);
    const int to_y = from_bottom ? image.height - 1 - y : y;
    for (int x = 0; x < image.width; ++x, in += image.channels) {
      const int to_x = from_right ? image.width - 1 - x : x;
      std::memcpy(turned.row(transposed ? to_x : to_y) + static_cast<size_t>(transposed ? to_y : to_x) * image.channels, in,
                  image.channels);
    }
  }
  return turned;
}

}  // namespace tenon::vision
