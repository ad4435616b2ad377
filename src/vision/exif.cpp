// Finds the EXIF orientation in a JPEG or PNG file. Whatever is wrong there is ignored: the pixels do not depend on it.
#include "vision/decoders.h"

namespace tenon::vision::detail {
namespace {

using Bytes = std::span<const uint8_t>;

uint32_t big_endian(Bytes b, size_t at, int count) {
  uint32_t v = 0;
  for (int i = 0; i < count; ++i) v = v << 8 | b[at + i];
  return v;
}

/// The payload of the first APP1 segment that holds EXIF.
Bytes find_in_jpeg(Bytes b) {
  size_t at = 2;
  while (at + 4 <= b.size() && b[at] == 0xff) {
    const uint8_t marker = b[at + 1];
    if (marker == 0xff) {
      ++at;
      continue;
    }
    const size_t length = big_endian(b, at + 2, 2);
    if (marker == 0xda || length < 2 || length > b.size() - at - 2) break;
    const Bytes payload = b.subspan(at + 4, length - 2);
    if (marker == 0xe1 && payload.size() >= 6 && big_endian(payload, 0, 4) == 0x45786966 && big_endian(payload, 4, 2) == 0)
      return payload.subspan(6);
    at += 2 + length;
  }
  return {};
}

/// The data of the eXIf chunk.
Bytes find_in_png(Bytes b) {
  size_t at = 8;
  while (b.size() >= 12 && at <= b.size() - 12) {
    const size_t length = big_endian(b, at, 4);
    if (length > b.size() - at - 12) break;
    if (big_endian(b, at + 4, 4) == 0x65584966) return b.subspan(at + 8, length);
    at += 12 + length;
  }
  return {};
}

}  // namespace

int exif_orientation(Bytes bytes) {
  if (bytes.empty()) return 1;
  const Bytes tiff = bytes[0] == 0xff ? find_in_jpeg(bytes) : find_in_png(bytes);
  if (tiff.size() < 8) return 1;
  const bool little = tiff[0] == 'I';
  const auto number = [&](size_t at, int count) {
    uint32_t v = 0;
    for (int i = 0; i < count; ++i) v = v << 8 | tiff[little ? at + count - 1 - i : at + i];
    return v;
  };
  constexpr uint32_t kOrientationTag = 0x0112, kShort = 3;
  constexpr size_t kEntryBytes = 12;
  const size_t directory = number(4, 4);
  if (directory > tiff.size() - 2) return 1;
  const size_t entries = number(directory, 2);
  for (size_t i = 0, at = directory + 2; i < entries && at + kEntryBytes <= tiff.size(); ++i, at += kEntryBytes) {
    if (number(at, 2) != kOrientationTag) continue;
    const uint32_t value = number(at + 8, 2);
    return number(at + 2, 2) == kShort && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

}  // namespace tenon::vision::detail
