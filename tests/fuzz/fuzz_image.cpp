// Fuzzes the JPEG and PNG decoders: any bytes give an image of consistent size or a tenon::Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "tenon/vision/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  tenon::vision::DecodeOptions options;
  options.max_pixels = 1 << 18;
  options.apply_orientation = true;
  try {
    const tenon::vision::Image image = tenon::vision::decode_image({data, size}, options);
    if (image.channels != 3 || image.pixels.size() != static_cast<size_t>(image.height) * image.row_bytes()) std::abort();
  } catch (const tenon::Error&) {
  }
  return 0;
}
