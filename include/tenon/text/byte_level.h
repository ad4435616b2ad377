// The alphabet of byte-level BPE: every byte is written as a printable character, 0x20 as U+0120.
#pragma once

#include <array>
#include <cstdint>

#include "tenon/text/pieces.h"

namespace tenon::text {

struct ByteAlphabet {
  std::array<char32_t, 256> to_char{};
  std::array<int16_t, 0x144> to_byte{};  // -1 for characters outside the alphabet

  constexpr ByteAlphabet() {
    for (int16_t& b : to_byte) b = -1;
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool is_printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t c = is_printable ? static_cast<char32_t>(b) : next++;
      to_char[static_cast<size_t>(b)] = c;
      to_byte[c] = static_cast<int16_t>(b);
    }
  }
};
inline constexpr ByteAlphabet kByteAlphabet;

/// The byte that a character of the alphabet stands for, or -1.
inline int byte_of(char32_t c) { return c < kByteAlphabet.to_byte.size() ? kByteAlphabet.to_byte[c] : -1; }

/// Rewrites the rest of a piece in the alphabet; every character keeps the origin of the one whose byte it stands for.
inline void write_byte_level(Rewriter& r) {
  while (!r.done()) {
    const Span origin = r.origin();
    const std::string_view rest = r.rest();
    const size_t n = char_length(rest[0]);
    for (size_t i = 0; i < n; ++i) r.put(kByteAlphabet.to_char[static_cast<unsigned char>(rest[i])], origin);
    r.drop();
  }
}

}  // namespace tenon::text
