// Base64, as tokenizer files hold binary data.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tenon::text {

inline constexpr auto kBase64Values = [] {
  std::array<int8_t, 256> values{};
  for (int8_t& v : values) v = -1;
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < kAlphabet.size(); ++i) values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int8_t>(i);
  return values;
}();

/// Writes the bytes that padded or unpadded base64 stands for, at most 3/4 as many; returns how many, or nothing if it is damaged.
inline std::optional<size_t> decode_base64(std::string_view text, char* out) {
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  if (text.size() % 4 == 1) return std::nullopt;
  char* const first = out;
  int32_t all = 0;  // negative as soon as one value is
  const auto value = [&](size_t i) {
    const int32_t v = kBase64Values[static_cast<unsigned char>(text[i])];
    all |= v;
    return static_cast<uint32_t>(v);
  };
  size_t i = 0;
  for (; i + 4 <= text.size(); i += 4) {
    const uint32_t bits = value(i) << 18 | value(i + 1) << 12 | value(i + 2) << 6 | value(i + 3);
    *out++ = static_cast<char>(bits >> 16);
    *out++ = static_cast<char>(bits >> 8);
    *out++ = static_cast<char>(bits);
  }
  if (i < text.size()) {
    const uint32_t bits = value(i) << 18 | value(i + 1) << 12 | (i + 2 < text.size() ? value(i + 2) << 6 : 0);
    *out++ = static_cast<char>(bits >> 16);
    if (i + 2 < text.size()) *out++ = static_cast<char>(bits >> 8);
  }
  if (all < 0) return std::nullopt;
  return static_cast<size_t>(out - first);
}

inline std::optional<std::string> decode_base64(std::string_view text) {
  std::string out(text.size() / 4 * 3 + 3, '\0');
  const std::optional<size_t> size = decode_base64(text, out.data());
  if (!size) return std::nullopt;
  out.resize(*size);
  return out;
}

}  // namespace tenon::text
