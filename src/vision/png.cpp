// PNG through libpng, with the conversions to 8-bit RGB that PIL makes.
#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "vision/decoders.h"

namespace tenon::vision::detail {
namespace {

/// One file. libpng leaves by longjmp, so every function that calls it holds only plain locals beside `this`, and exceptions
/// are thrown by their callers. Each returns false on failure; message() says why.
class PngReader {
 public:
  explicit PngReader(std::span<const uint8_t> bytes) : next_(bytes.data()), left_(bytes.size()) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
    info_ = png_ ? png_create_info_struct(png_) : nullptr;
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  bool created() const { return info_ != nullptr; }
  const char* message() const { return message_; }
  int64_t width() const { return png_get_image_width(png_, info_); }
  int64_t height() const { return png_get_image_height(png_, info_); }
  int64_t bits_per_pixel() const { return int64_t{png_get_channels(png_, info_)} * png_get_bit_depth(png_, info_); }
  bool is_grey16() const { return png_get_color_type(png_, info_) == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png_, info_) == 16; }
  size_t row_bytes() const { return png_get_rowbytes(png_, info_); }

  /// Reads everything before the pixels. Text, profiles and the like are skipped unread.
  bool read_header() {
    if (setjmp(jump_)) return false;
    png_set_read_fn(png_, this, on_read);
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_benign_errors(png_, 1);
    png_read_info(png_, info_);
    return true;
  }

  /// Asks for 8-bit RGB rows, or for grey 16-bit rows as they are.
  bool start() {
    if (setjmp(jump_)) return false;
    if (!is_grey16()) {
      png_set_expand(png_);
      png_set_strip_16(png_);
      png_set_strip_alpha(png_);
      png_set_gray_to_rgb(png_);
    }
    passes_ = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  bool read_rows(uint8_t* pixels, size_t stride, int height) {
    if (setjmp(jump_)) return false;
    for (int pass = 0; pass < passes_; ++pass)
      for (int y = 0; y < height; ++y) png_read_row(png_, pixels + static_cast<size_t>(y) * stride, nullptr);
    return true;
  }

 private:
  static void on_error(png_structp png, png_const_charp message) {
    auto* self = static_cast<PngReader*>(png_get_error_ptr(png));
    std::snprintf(self->message_, sizeof(self->message_), "%s", message);
    std::longjmp(self->jump_, 1);
  }
  static void on_read(png_structp png, png_bytep out, size_t count) {
    auto* self = static_cast<PngReader*>(png_get_io_ptr(png));
    if (count > self->left_) png_error(png, "the file ends early");
    std::memcpy(out, self->next_, count);
    self->next_ += count;
    self->left_ -= count;
  }

  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  const uint8_t* next_;
  size_t left_;
  int passes_ = 1;
  std::jmp_buf jump_;
  char message_[128] = "";
};

/// PIL clips 16-bit grey at 255, while it keeps the high byte of 16-bit colours.
void grey16_to_rgb(const std::vector<uint8_t>& in, Image& image) {
  uint8_t* out = image.pixels.data();
  for (size_t i = 0; i < in.size(); i += 2, out += 3) out[0] = out[1] = out[2] = in[i] ? 255 : in[i + 1];
}

}  // namespace

Image decode_png(std::span<const uint8_t> bytes, int64_t max_pixels) {
  PngReader reader(bytes);
  check(reader.created(), ErrorCode::Memory, "png", "cannot allocate the decoder");
  const auto require = [&](bool done) { check(done, ErrorCode::Format, "png", "damaged or truncated file: ", reader.message()); };
  require(reader.read_header());
  const int64_t width = reader.width(), height = reader.height();
  check_pixels("png", width, height, max_pixels);
  // deflate shrinks at most 1032 times, so a small file that declares a huge image is refused before memory is taken
  constexpr int64_t kMaxRatio = 1032;
  check(width * height / 8 * reader.bits_per_pixel() / kMaxRatio <= static_cast<int64_t>(bytes.size()), ErrorCode::Format, "png",
        "truncated file: ", bytes.size(), " bytes cannot hold ", width, "x", height, " pixels");
  Image image(static_cast<int>(height), static_cast<int>(width), 3);
  const bool grey16 = reader.is_grey16();
  require(reader.start());
  const size_t stride = static_cast<size_t>(width) * (grey16 ? 2 : 3);
  check(reader.row_bytes() == stride, ErrorCode::Format, "png", "expected rows of ", stride, " bytes, got ", reader.row_bytes());
  if (!grey16) {
    require(reader.read_rows(image.pixels.data(), stride, image.height));
    return image;
  }
  std::vector<uint8_t> grey(stride * static_cast<size_t>(height));
  require(reader.read_rows(grey.data(), stride, image.height));
  grey16_to_rgb(grey, image);
  return image;
}

}  // namespace tenon::vision::detail
