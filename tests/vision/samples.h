// Small pictures for the tests: a formula, JPEG files of it written by Pillow, and the pixels that Pillow reads from them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/vision/image.h"

namespace samples {

using Bytes = std::vector<uint8_t>;

/// Ramps with a little noise: (height, width, channels).
inline tenon::vision::Image picture(int height, int width, int channels) {
  tenon::vision::Image image(height, width, channels);
  uint32_t state = static_cast<uint32_t>(height * 1000 + width * 10 + channels);
  size_t i = 0;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c) {
        state = state * 1664525u + 1013904223u;
        image.pixels[i++] = static_cast<uint8_t>(x * 17 + y * 29 + c * 70 + (state >> 24) / 4);
      }
  return image;
}

/// FNV-1a, as the tables made with Pillow use it.
inline uint64_t hash(const void* data, size_t bytes) {
  uint64_t h = 0xcbf29ce484222325u;
  for (size_t i = 0; i < bytes; ++i) h = (h ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3u;
  return h;
}
inline uint64_t hash(const Bytes& bytes) { return hash(bytes.data(), bytes.size()); }

inline Bytes from_hex(std::string_view hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  Bytes bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) bytes.push_back(static_cast<uint8_t>(digit(hex[i]) * 16 + digit(hex[i + 1])));
  return bytes;
}

inline void append_number(Bytes& out, uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(v >> shift));
}

inline void append_chunk(Bytes& out, const char* type, const Bytes& data) {
  append_number(out, static_cast<uint32_t>(data.size()));
  const size_t begin = out.size();
  out.insert(out.end(), type, type + 4);
  out.insert(out.end(), data.begin(), data.end());
  uint32_t crc = 0xffffffffu;
  for (size_t i = begin; i < out.size(); ++i) {
    crc ^= out[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  append_number(out, ~crc);
}

/// A zlib stream that stores `data` (at most 65535 bytes) as it is.
inline Bytes stored(const Bytes& data) {
  const auto n = static_cast<uint16_t>(data.size());
  Bytes out = {
      0x78, 0x01, 0x01, static_cast<uint8_t>(n), static_cast<uint8_t>(n >> 8), static_cast<uint8_t>(~n), static_cast<uint8_t>(~n >> 8)};
  out.insert(out.end(), data.begin(), data.end());
  uint32_t a = 1, b = 0;
  for (uint8_t v : data) a = (a + v) % 65521, b = (b + a) % 65521;
  append_number(out, b << 16 | a);
  return out;
}

struct Png {
  uint32_t width = 1, height = 1;
  uint8_t depth = 8, color_type = 2, interlace = 0;
  Bytes rows;  // each begins with its filter byte
  Bytes palette, transparency;
};

inline Bytes encode(const Png& png) {
  Bytes out = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  Bytes header;
  append_number(header, png.width);
  append_number(header, png.height);
  header.insert(header.end(), {png.depth, png.color_type, 0, 0, png.interlace});
  append_chunk(out, "IHDR", header);
  if (!png.palette.empty()) append_chunk(out, "PLTE", png.palette);
  if (!png.transparency.empty()) append_chunk(out, "tRNS", png.transparency);
  append_chunk(out, "IDAT", stored(png.rows));
  append_chunk(out, "IEND", {});
  return out;
}

/// An RGB, grey or RGBA image as 8-bit PNG.
inline Bytes encode(const tenon::vision::Image& image) {
  Png png;
  png.width = static_cast<uint32_t>(image.width);
  png.height = static_cast<uint32_t>(image.height);
  png.color_type = image.channels == 1 ? 0 : image.channels == 3 ? 2 : 6;
  for (int y = 0; y < image.height; ++y) {
    png.rows.push_back(0);
    png.rows.insert(png.rows.end(), image.row(y), image.row(y) + image.row_bytes());
  }
  return encode(png);
}

// picture(7, 9, 3) through Pillow's JPEG writer, and what Pillow 13 reads back as RGB.
inline constexpr const char* kRgbJpeg =
    "ffd8ffe000104a46494600010100000100010000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f13201513121213271c1e17202e2931302e292d2c33"
    "3a4a3e333646372c2d405741464c4e525352323e5a615a50604a51524fffdb0043010e0e0e131113261515264f352d354f4f4f4f4f4f4f4f4f4f4f4f"
    "4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4fffc00011080007000903012200021101031101ffc400"
    "1500010100000000000000000000000000000003ffc400201000010402010500000000000000000000010002030411211231515294d1ffc400150101"
    "0100000000000000000000000000000204ffc4001c11000202020300000000000000000000000103021100045161b1ffda000c03010002110311003f"
    "005cbad89eea5520304ed2393dd82585a49c689d13aebdf4a79bbe72fb07e222a53aca92c4a62c9e703b667ad32b4d003abf6f3fffd9";
inline constexpr const char* kRgbPixels =
    "1a8b87298e866ebcae2e624b859a79a19c74b19667dcb37fdaa77232a28a2a8e745fab8d87b898d1e2bebfb68f613e18d09a76944f2e6cd89a83e5a8"
    "92dba377a672c4cfa4cbb7965a2513a2534ead455086b5718ab371b2cb91a1a779e5d5b48c65565e21266f2137c4658de49d73ffc8a2feb79b954d3e"
    "864040793947c188a85d2c5b6138749f321b821b08781b13b5646a76374a4e20449378ab756cab6670b7ffc9b7ba8478855d5e654e5e313050415383"
    "5a7cbb4273b85692db";
inline constexpr const char* kProgressiveJpeg =
    "ffd8ffe000104a46494600010100000100010000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f13201513121213271c1e17202e2931302e292d2c33"
    "3a4a3e333646372c2d405741464c4e525352323e5a615a50604a51524fffdb0043010e0e0e131113261515264f352d354f4f4f4f4f4f4f4f4f4f4f4f"
    "4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4fffc20011080007000903012100021101031101ffc400"
    "1500010100000000000000000000000000000002ffc4001501010100000000000000000000000000000002ffda000c030100021003100000014abfff"
    "c40017100003010000000000000000000000000000021122ffda00080101000105027786cfffc4001911000203010000000000000000000000000311"
    "00010222ffda0008010301013f01a2601ca73fffc4001811000203000000000000000000000000000312000102ffda0008010201013f01c85e9893ff"
    "c4001a100002020300000000000000000000000000010211124192ffda0008010100063f02c22a99be8fffc400191001000203000000000000000000"
    "000000010011314171ffda0008010100013f2104d3f2baa9d43fffda000c030100020003000000102fffc4001a110001050100000000000000000000"
    "00000100113141d1e1ffda0008010301013f100126f8e317ffc4001811010100030000000000000000000000000111005161ffda0008010201013f10"
    "7b02bca4d173ffc4001b1001000202030000000000000000000000010021113151d1e1ffda0008010100013f1056ee292b4b8a5a5adf3533ef753fff"
    "d9";
inline constexpr const char* kProgressivePixels =
    "307c9c3a7db175a8ff2c50ae7790d38b9da996a65bbfcc48bdc61f4590b72f84984bb39c5ecf9199ffa289d96a3d5700c9a261b13e3761cfe87cdfda"
    "8edf9c7aad44cad962d4be59602800a5524aa8445c80ce008bc900bdde13b8b206ffd45fb4592a880c2898084ee5519f83e600c3ff32d8db44935907"
    "a43430a42059e070d4641e92413fa4e90060c30051a6005dd049b08027834e196b9176bd766ab26f6abcffc2d7b77f9a7a5c8054527a1b395d29607e"
    "418e9e2e8495499fb8";
inline constexpr const char* kGreyJpeg =
    "ffd8ffe000104a46494600010100000100010000ffdb0043000a07070807060a0808080b0a0a0b0e18100e0d0d0e1d15161118231f2524221f222126"
    "2b372f26293429212230413134393b3e3e3e252e4449433c48373d3e3bffc0000b080007000901011100ffc400150001010000000000000000000000"
    "0000000003ffc400201000020104010500000000000000000000010204030511210031515394d1ffda0008010100003f004fb925076b6c18ad164a10"
    "5ea3e09a6ca49c689c8275d7beb92cdcbc95fdb6f9cfffd9";
inline constexpr const char* kGreyPixels =
    "6f6f6f6767678f8f8f636363999999969696959595b9b9b9b2b2b27676766f6f6f979797adadadcbcbcba0a0a04f4f4fa8a8a85a5a5aadadadbababa"
    "bbbbbb9d9d9dc4c4c4b2b2b24141416060606a6a6aa7a7a7a9a9a9bdbdbda2a2a2cbcbcb7e7e7e4141413232328383839a9a9ad1d1d1cdcdcd6e6e6e"
    "5353534d4d4d8e8e8e4a4a4a4d4d4d5353534a4a4a484848717171464646393939818181777777767676cfcfcf8a8a8a5959594949493d3d3d606060"
    "7b7b7b696969878787";
inline constexpr const char* kCmykJpeg =
    "ffd8ffee000e41646f626500640000000000ffdb0043000a07070807060a0808080b0a0a0b0e18100e0d0d0e1d15161118231f2524221f2221262b37"
    "2f26293429212230413134393b3e3e3e252e4449433c48373d3e3bffc000140800070009044311004d11005911004b1100ffc4001a00000105010000"
    "0000000000000000000003000102040507ffc40029100001030204040701000000000000000002010311040500061221151751941331555692d1d3e2"
    "ffda000e0443004d0059004b00003f002d5b565ca4f2dbdc12e28fd293cc0ab7a9b12d25a3594cc11edb4aecb2a3e786ba6622233b4d8adc76fa8a67"
    "c41faa7c855c6880a484505551525215661514934ae01a73066a1f0abdd669a9481b2729291541b5d2a442ab2abbc92cc6db0f448ecd89f30cbdb83d"
    "d8fe78a5c32ffeb35fdfb9f78d1e5cd1f4a6f8ff003858ffd9";
inline constexpr const char* kCmykPixels =
    "516b9b157aae42a5d53e7ec66690ff6b91db86d60f96d938b7d0151c92f65390bc68a4fa61b70a8de9ea9be42fb20016a0d72cdc15588d9fc971d2fb"
    "71e0d175e51cc5ce2f9df22c9f1628c52857cd3a6371ec1ca4df08a3c518a1ef1dbfe530b72044ff0079003386e9528b97b411c5f316b7e81bcb3272"
    "ff1551f00c6fe75e7d0f4f79285495ad2112bc266fcd0b81e41e5c02567b184582f931a94192a0387edcd4f465ff3b89c00476175f681253b73564b0"
    "397bba6971c5539bcd";

}  // namespace samples
