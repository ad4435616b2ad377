// ByteLevel and ByteFallback decoders: tokens that stand for bytes.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/text/byte_level.h"
#include "tenon/text/decoder.h"
#include "tenon/text/utf8.h"

namespace tenon::text {

class ByteLevelDecoder : public Decoder {
 public:
  explicit ByteLevelDecoder(const Json&) {}

  void decode(std::vector<std::string>& tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) {
      const size_t before = bytes.size();
      for (size_t i = 0; i < token.size(); i += char_length(token[i])) {
        const int byte = byte_of(text::decode(token.data() + i));
        if (byte < 0) {
          // a token from outside the alphabet is text already
          bytes.resize(before);
          bytes += token;
          break;
        }
        bytes += static_cast<char>(byte);
      }
    }
    if (!is_valid_utf8(bytes)) bytes = repair_utf8(bytes);
    tokens.assign(1, std::move(bytes));
  }
};

/// The byte that a token like "<0xE2>" stands for, or -1.
inline int fallback_byte(std::string_view token) {
  const auto hex = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    const char low = static_cast<char>(c | 0x20);
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
  };
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = hex(token[3]), low = hex(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

class ByteFallback : public Decoder {
 public:
  explicit ByteFallback(const Json&) {}

  void decode(std::vector<std::string>& tokens) const override {
    std::vector<std::string> out;
    std::string bytes;
    auto flush = [&] {
      if (bytes.empty()) return;
      if (is_valid_utf8(bytes))
        out.push_back(bytes);
      else
        out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const int byte = fallback_byte(token); byte >= 0) {
        bytes += static_cast<char>(byte);
        continue;
      }
      flush();
      out.push_back(std::move(token));
    }
    flush();
    tokens = std::move(out);
  }
};

}  // namespace tenon::text
