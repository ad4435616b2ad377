// Checks and repair of UTF-8.
#include "tenon/text/utf8.h"

#include <simdjson.h>

#include <cstring>

namespace tenon::text {
namespace {

// Length of the valid character at p, or 0 with `bad` set to the length of the damaged part (the longest prefix of a valid character).
size_t valid_length(const unsigned char* p, size_t left, size_t& bad) {
  bad = 1;
  const unsigned char c = p[0];
  if (c < 0x80) return 1;
  const size_t n = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
  if (c < 0xC2 || c > 0xF4) return 0;
  const unsigned char low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < n; ++i) {
    if (i >= left) return 0;
    if (p[i] < (i == 1 ? low : 0x80) || p[i] > (i == 1 ? high : 0xBF)) return 0;
    bad = i + 1;
  }
  return n;
}

}  // namespace

bool is_ascii(std::string_view text) {
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    if (word & 0x8080808080808080u) return false;
  }
  for (; i < text.size(); ++i)
    if (static_cast<unsigned char>(text[i]) >= 0x80) return false;
  return true;
}

bool is_valid_utf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

std::string repair_utf8(std::string_view text, std::vector<uint32_t>* positions) {
  std::string out;
  out.reserve(text.size() + 16);
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  for (size_t i = 0; i < text.size();) {
    if (positions) positions->push_back(static_cast<uint32_t>(i));
    size_t bad = 0;
    if (const size_t n = valid_length(p + i, text.size() - i, bad)) {
      out.append(text, i, n);
      i += n;
    } else {
      append(out, kReplacement);
      i += bad;
    }
  }
  if (positions) positions->push_back(static_cast<uint32_t>(text.size()));
  return out;
}

}  // namespace tenon::text
