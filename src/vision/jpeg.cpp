// JPEG through libjpeg(-turbo) with its defaults: accurate integer DCT, smooth chroma upsampling, as PIL uses it.
#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "vision/decoders.h"

// clang-format off
#include <jpeglib.h>  // relies on the headers above
#include <jerror.h>
// clang-format on

namespace tenon::vision::detail {
namespace {

// A hostile progressive file can repeat cheap scans over a large image for minutes; real ones have about ten.
constexpr int kMaxScans = 500;

/// One decompression. libjpeg leaves by longjmp, so every function that calls it holds only plain locals beside `this`, and
/// exceptions are thrown by their callers.
class JpegReader {
 public:
  explicit JpegReader(std::span<const uint8_t> bytes) {
    info_.err = jpeg_std_error(&errors_.base);
    errors_.base.error_exit = [](j_common_ptr info) {
      auto* errors = reinterpret_cast<Errors*>(info->err);
      info->err->format_message(info, errors->message);
      std::longjmp(errors->jump, 1);
    };
    errors_.base.output_message = [](j_common_ptr) {};
    if (setjmp(errors_.jump)) {
      failed_ = true;
      return;
    }
    jpeg_create_decompress(&info_);
    source_.init_source = [](j_decompress_ptr) {};
    source_.term_source = [](j_decompress_ptr) {};
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.fill_input_buffer = [](j_decompress_ptr) -> boolean { return FALSE; };  // suspends: the data have ended
    source_.skip_input_data = [](j_decompress_ptr info, long count) {
      if (count <= 0) return;
      const size_t skipped = std::min(static_cast<size_t>(count), info->src->bytes_in_buffer);
      info->src->next_input_byte += skipped;
      info->src->bytes_in_buffer -= skipped;
    };
    source_.next_input_byte = bytes.data();
    source_.bytes_in_buffer = bytes.size();
    info_.src = &source_;
    progress_.progress_monitor = [](j_common_ptr info) {
      if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans) return;
      auto* errors = reinterpret_cast<Errors*>(info->err);
      std::snprintf(errors->message, sizeof(errors->message), "more than %d scans", kMaxScans);
      std::longjmp(errors->jump, 1);
    };
    info_.progress = &progress_;
  }
  ~JpegReader() { jpeg_destroy_decompress(&info_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  bool failed() const { return failed_; }
  ErrorCode code() const { return errors_.base.msg_code == JERR_OUT_OF_MEMORY ? ErrorCode::Memory : ErrorCode::Format; }
  const char* message() const { return errors_.message; }
  const jpeg_decompress_struct& info() const { return info_; }

  /// Reads up to the first scan and chooses the output: 1, 3 or 4 components. False: truncated or, with failed(), damaged.
  bool read_header() {
    if (setjmp(errors_.jump)) return !(failed_ = true);
    int status = JPEG_HEADER_TABLES_ONLY;
    while (status == JPEG_HEADER_TABLES_ONLY) status = jpeg_read_header(&info_, FALSE);
    if (status != JPEG_HEADER_OK) return false;
    if (info_.num_components == 1) info_.out_color_space = JCS_GRAYSCALE;
    if (info_.num_components == 3) info_.out_color_space = JCS_RGB;
    if (info_.num_components == 4) info_.out_color_space = JCS_CMYK;
    return true;
  }

  /// False as above. Decodes a progressive file whole.
  bool start() {
    if (setjmp(errors_.jump)) return !(failed_ = true);
    return jpeg_start_decompress(&info_);
  }

  /// Decodes the next row of image_width() * output_components bytes. False as above.
  bool read_row(uint8_t* row) {
    if (setjmp(errors_.jump)) return !(failed_ = true);
    JSAMPROW rows[1] = {row};
    return jpeg_read_scanlines(&info_, rows, 1) == 1;
  }

 private:
  struct Errors {
    jpeg_error_mgr base;  // first, so that libjpeg's pointer to it is one to this
    std::jmp_buf jump;
    char message[JMSG_LENGTH_MAX] = "";
  };
  jpeg_decompress_struct info_{};
  Errors errors_{};
  jpeg_source_mgr source_{};
  jpeg_progress_mgr progress_{};
  bool failed_ = false;
};

/// value * scale / 255, rounded.
int scaled(int value, int scale) {
  const int product = value * scale + 128;
  return (product + (product >> 8)) >> 8;
}

/// Files with four components hold inverted CMYK.
void inverted_cmyk_to_rgb(const uint8_t* in, uint8_t* out, int width) {
  for (int x = 0; x < width; ++x, in += 4, out += 3)
    for (int c = 0; c < 3; ++c) out[c] = static_cast<uint8_t>(in[3] - scaled(255 - in[c], in[3]));
}

void grey_to_rgb(const uint8_t* in, uint8_t* out, int width) {
  for (int x = 0; x < width; ++x, out += 3) out[0] = out[1] = out[2] = in[x];
}

}  // namespace

Image decode_jpeg(std::span<const uint8_t> bytes, int64_t max_pixels) {
  JpegReader reader(bytes);
  const auto require = [&](bool done) {
    if (done && !reader.failed()) return;
    if (reader.failed()) fail(reader.code(), "jpeg", "damaged file: ", reader.message());
    fail(ErrorCode::Format, "jpeg", "truncated file");
  };
  require(true);
  require(reader.read_header());
  const jpeg_decompress_struct& info = reader.info();
  check_pixels("jpeg", info.image_width, info.image_height, max_pixels);
  const int components = info.num_components;
  check(components == 1 || components == 3 || components == 4, ErrorCode::Format, "jpeg", "expected 1, 3 or 4 components, got ",
        components);
  Image image(static_cast<int>(info.image_height), static_cast<int>(info.image_width), 3);
  require(reader.start());
  std::vector<uint8_t> line(components == 3 ? 0 : static_cast<size_t>(image.width) * components);
  for (int y = 0; y < image.height; ++y) {
    require(reader.read_row(components == 3 ? image.row(y) : line.data()));
    if (components == 1) grey_to_rgb(line.data(), image.row(y), image.width);
    if (components == 4) inverted_cmyk_to_rgb(line.data(), image.row(y), image.width);
  }
  return image;
}

}  // namespace tenon::vision::detail
