// UTF-8: stepping through valid text, writing code points, repairing damaged text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::text {

constexpr char32_t kReplacement = 0xFFFD;

inline bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

/// Bytes of the character that starts with `lead`, in valid text.
inline size_t char_length(char lead) {
  const auto c = static_cast<unsigned char>(lead);
  return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/// The code point at `p`, which must point at a character of valid text.
inline char32_t decode(const char* p) {
  const auto* u = reinterpret_cast<const unsigned char*>(p);
  if (u[0] < 0x80) return u[0];
  if (u[0] < 0xE0) return char32_t(u[0] & 0x1F) << 6 | (u[1] & 0x3F);
  if (u[0] < 0xF0) return char32_t(u[0] & 0x0F) << 12 | char32_t(u[1] & 0x3F) << 6 | (u[2] & 0x3F);
  return char32_t(u[0] & 0x07) << 18 | char32_t(u[1] & 0x3F) << 12 | char32_t(u[2] & 0x3F) << 6 | (u[3] & 0x3F);
}

/// Writes a code point to `out` (4 bytes of room) and returns its length.
inline size_t encode(char32_t c, char* out) {
  if (c < 0x80) {
    out[0] = static_cast<char>(c);
    return 1;
  }
  if (c < 0x800) {
    out[0] = static_cast<char>(0xC0 | c >> 6);
    out[1] = static_cast<char>(0x80 | (c & 0x3F));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = static_cast<char>(0xE0 | c >> 12);
    out[1] = static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out[2] = static_cast<char>(0x80 | (c & 0x3F));
    return 3;
  }
  out[0] = static_cast<char>(0xF0 | c >> 18);
  out[1] = static_cast<char>(0x80 | (c >> 12 & 0x3F));
  out[2] = static_cast<char>(0x80 | (c >> 6 & 0x3F));
  out[3] = static_cast<char>(0x80 | (c & 0x3F));
  return 4;
}

inline void append(std::string& out, char32_t c) {
  char buffer[4];
  out.append(buffer, encode(c, buffer));
}

/// Characters of valid text.
inline size_t count_chars(std::string_view text) {
  size_t n = 0;
  for (const char c : text) n += !is_continuation(c);
  return n;
}

/// The last code point of valid, non-empty text.
inline char32_t last_char(std::string_view text) {
  size_t i = text.size() - 1;
  while (i > 0 && is_continuation(text[i])) --i;
  return decode(text.data() + i);
}

bool is_ascii(std::string_view text);
bool is_valid_utf8(std::string_view text);

/// The text with each damaged part replaced by U+FFFD, as Python's decode(errors="replace") does.
/// positions, if not null, gets the byte position in `text` of each character of the result, and at the end text.size().
std::string repair_utf8(std::string_view text, std::vector<uint32_t>* positions = nullptr);

}  // namespace tenon::text
