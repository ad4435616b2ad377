// Decoding of JPEG and PNG, damaged files, colour conversion, orientation.
#include <doctest/doctest.h>

#include <cstdio>
#include <fstream>
#include <functional>

#include "samples.h"
#include "tenon/vision/image.h"

using namespace tenon;
using namespace tenon::vision;
using samples::Bytes;

namespace {

ErrorCode code_of(const std::function<void()>& f, std::string* message = nullptr) {
  try {
    f();
  } catch (const Error& e) {
    if (message) *message = e.what();
    return e.code();
  }
  FAIL("no error was thrown");
  return ErrorCode::Device;
}

Bytes grey_to_rgb(const Bytes& grey) {
  Bytes rgb;
  for (uint8_t v : grey) rgb.insert(rgb.end(), 3, v);
  return rgb;
}

/// The file with an EXIF segment that holds only the orientation.
Bytes with_orientation(const Bytes& jpeg, uint8_t orientation, bool little) {
  Bytes exif = {'E', 'x', 'i', 'f', 0, 0};
  const Bytes big_tiff = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0};
  const Bytes little_tiff = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0};
  const Bytes& tiff = little ? little_tiff : big_tiff;
  exif.insert(exif.end(), tiff.begin(), tiff.end());
  Bytes out(jpeg.begin(), jpeg.begin() + 2);
  out.insert(out.end(), {0xff, 0xe1, 0, static_cast<uint8_t>(exif.size() + 2)});
  out.insert(out.end(), exif.begin(), exif.end());
  out.insert(out.end(), jpeg.begin() + 2, jpeg.end());
  return out;
}

}  // namespace

TEST_CASE("JPEG pixels equal Pillow's: subsampled colour, progressive, grey, CMYK") {
  const std::pair<const char*, const char*> cases[] = {{samples::kRgbJpeg, samples::kRgbPixels},
                                                       {samples::kProgressiveJpeg, samples::kProgressivePixels},
                                                       {samples::kGreyJpeg, samples::kGreyPixels},
                                                       {samples::kCmykJpeg, samples::kCmykPixels}};
  for (const auto& [file, pixels] : cases) {
    const Image image = decode_image(samples::from_hex(file));
    CHECK(image.height == 7);
    CHECK(image.width == 9);
    CHECK(image.channels == 3);
    CHECK(image.pixels == samples::from_hex(pixels));
  }
}

TEST_CASE("PNG: 8-bit grey, RGB and RGBA keep their values, alpha is dropped") {
  const Image grey = samples::picture(5, 7, 1), rgb = samples::picture(6, 4, 3), rgba = samples::picture(3, 5, 4);
  CHECK(decode_image(samples::encode(grey)).pixels == grey_to_rgb(grey.pixels));
  CHECK(decode_image(samples::encode(rgb)).pixels == rgb.pixels);
  const Image dropped = decode_image(samples::encode(rgba));
  CHECK(dropped.channels == 3);
  for (size_t i = 0; i < 15; ++i)
    for (size_t c = 0; c < 3; ++c) CHECK(dropped.pixels[i * 3 + c] == rgba.pixels[i * 4 + c]);
}

TEST_CASE("PNG: few bits, palettes, 16 bits") {
  const auto decode = [](uint8_t depth, uint8_t color_type, const Bytes& rows, uint32_t width, const Bytes& palette = {},
                         const Bytes& transparency = {}) {
    samples::Png png;
    png.width = width;
    png.depth = depth;
    png.color_type = color_type;
    png.rows = rows;
    png.palette = palette;
    png.transparency = transparency;
    return decode_image(samples::encode(png)).pixels;
  };
  CHECK(decode(1, 0, {0, 0xa0}, 4) == grey_to_rgb({255, 0, 255, 0}));
  CHECK(decode(2, 0, {0, 0x1b}, 4) == grey_to_rgb({0, 85, 170, 255}));
  CHECK(decode(4, 0, {0, 0x0f, 0x80}, 3) == grey_to_rgb({0, 255, 136}));
  CHECK(decode(16, 0, {0, 0, 7, 0, 255, 1, 0, 255, 255}, 4) == grey_to_rgb({7, 255, 255, 255}));  // clipped
  CHECK(decode(16, 2, {0, 1, 200, 2, 0, 255, 3}, 1) == Bytes{1, 2, 255});                         // the high byte
  CHECK(decode(16, 4, {0, 9, 200, 1, 1}, 1) == Bytes{9, 9, 9});
  CHECK(decode(16, 6, {0, 9, 1, 8, 1, 7, 1, 0, 0}, 1) == Bytes{9, 8, 7});
  CHECK(decode(2, 3, {0, 0x1b}, 4, {1, 2, 3, 4, 5, 6, 7, 8, 9}) == Bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0});  // index 3 has no colour
  CHECK(decode(8, 3, {0, 1, 0}, 2, {1, 2, 3, 4, 5, 6}, {0, 128}) == Bytes{4, 5, 6, 1, 2, 3});
  CHECK(decode(8, 0, {0, 5, 6}, 2, {}, {0, 5}) == grey_to_rgb({5, 6}));
}

TEST_CASE("PNG: an interlaced image") {
  samples::Png png;
  png.width = png.height = 3;
  png.color_type = 0;
  png.interlace = 1;
  // 3x3 in Adam7: pass 1 (0,0); pass 4 (2,0); pass 5 row 2: columns 0, 2; pass 6 column 1 of rows 0, 2; pass 7 row 1
  png.rows = {0, 1, 0, 3, 0, 7, 9, 0, 2, 0, 8, 0, 4, 5, 6};
  CHECK(decode_image(samples::encode(png)).pixels == grey_to_rgb({1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST_CASE("truncated and unknown files are format errors") {
  const Bytes files[] = {samples::from_hex(samples::kRgbJpeg), samples::from_hex(samples::kProgressiveJpeg),
                         samples::encode(samples::picture(20, 20, 3))};
  for (const Bytes& file : files)
    for (size_t part = 0; part < 16; ++part) {
      const Bytes cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(file.size() * part / 16));
      CHECK(code_of([&] { decode_image(cut); }) == ErrorCode::Format);
    }
  std::string message;
  CHECK(code_of([] { decode_image(Bytes{'G', 'I', 'F', '8', '9', 'a', 0, 0}); }, &message) == ErrorCode::Format);
  CHECK(message.find("JPEG or PNG") != std::string::npos);
  CHECK(code_of([] { load_image("/no/such/file.jpg"); }) == ErrorCode::File);
}

TEST_CASE("flipped bytes give an image of the declared size or an error, never anything else") {
  const Bytes files[] = {samples::from_hex(samples::kRgbJpeg), samples::from_hex(samples::kProgressiveJpeg),
                         samples::from_hex(samples::kCmykJpeg), samples::encode(samples::picture(6, 5, 3))};
  DecodeOptions small;
  small.max_pixels = 1 << 20;
  int errors = 0, images = 0;
  for (const Bytes& file : files)
    for (size_t at = 0; at < file.size(); ++at)
      for (uint8_t flip : {0x01, 0x80, 0xff}) {
        Bytes damaged = file;
        damaged[at] ^= flip;
        try {
          const Image image = decode_image(damaged, small);
          REQUIRE(image.pixels.size() == static_cast<size_t>(image.height) * image.row_bytes());
          ++images;
        } catch (const Error& e) {
          REQUIRE((e.code() == ErrorCode::Format || e.code() == ErrorCode::Limit));
          ++errors;
        }
      }
  CHECK(errors > 500);
  CHECK(images > 100);
}

TEST_CASE("size limits") {
  DecodeOptions options;
  options.max_pixels = 62;
  CHECK(code_of([&] { decode_image(samples::from_hex(samples::kRgbJpeg), options); }) == ErrorCode::Limit);
  CHECK(code_of([&] { decode_image(samples::encode(samples::picture(7, 9, 3)), options); }) == ErrorCode::Limit);
  options.max_pixels = 63;
  CHECK_NOTHROW(decode_image(samples::from_hex(samples::kRgbJpeg), options));

  samples::Png huge;
  huge.width = huge.height = 0x7fffffff;
  huge.rows = {0, 0};
  CHECK(code_of([&] { decode_image(samples::encode(huge)); }) == ErrorCode::Limit);
  huge.width = huge.height = 13000;  // within the limit, but the few bytes cannot hold it
  std::string message;
  CHECK(code_of([&] { decode_image(samples::encode(huge)); }, &message) == ErrorCode::Format);
  CHECK(message.find("cannot hold") != std::string::npos);
  CHECK(code_of([] { Image(0, 3, 3); }) == ErrorCode::Shape);
  CHECK(code_of([] { Image(1 << 20, 1 << 20, 1); }) == ErrorCode::Limit);
}

TEST_CASE("conversion to RGB repeats grey and blends transparency onto white") {
  CHECK(convert_to_rgb(samples::picture(4, 3, 1)).pixels == grey_to_rgb(samples::picture(4, 3, 1).pixels));
  CHECK(convert_to_rgb(samples::picture(4, 3, 3)).pixels == samples::picture(4, 3, 3).pixels);
  Image rgba(1, 4, 4);
  rgba.pixels = {10, 20, 30, 0, 10, 20, 30, 255, 10, 20, 30, 128, 250, 100, 0, 1};
  CHECK(convert_to_rgb(rgba).pixels == Bytes{255, 255, 255, 10, 20, 30, 132, 137, 142, 255, 254, 254});
  CHECK(code_of([] { convert_to_rgb(samples::picture(2, 2, 2)); }) == ErrorCode::Shape);
}

TEST_CASE("EXIF orientation is applied when asked for") {
  const Bytes jpeg = samples::from_hex(samples::kRgbJpeg);
  const Image plain = decode_image(jpeg);
  DecodeOptions upright;
  upright.apply_orientation = true;
  CHECK(decode_image(jpeg, upright).pixels == plain.pixels);
  for (bool little : {false, true})
    for (uint8_t orientation = 0; orientation < 10; ++orientation) {
      const Bytes file = with_orientation(jpeg, orientation, little);
      CHECK(decode_image(file).pixels == plain.pixels);
      CHECK(decode_image(file, upright).pixels == apply_orientation(plain, orientation).pixels);
    }
  Image image(2, 3, 1);
  image.pixels = {1, 2, 3, 4, 5, 6};
  const Bytes expected[] = {{1, 2, 3, 4, 5, 6}, {3, 2, 1, 6, 5, 4}, {6, 5, 4, 3, 2, 1}, {4, 5, 6, 1, 2, 3},
                            {1, 4, 2, 5, 3, 6}, {4, 1, 5, 2, 6, 3}, {6, 3, 5, 2, 4, 1}, {3, 6, 2, 5, 1, 4}};
  for (int o = 1; o <= 8; ++o) {
    CHECK(apply_orientation(image, o).pixels == expected[o - 1]);
    CHECK(apply_orientation(image, o).height == (o >= 5 ? 3 : 2));
  }
}
