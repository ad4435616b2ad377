// Makes the bytes of a charsmap from rules, and base64, for tests of what reads them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tenon::text::testing {

using Rules = std::vector<std::pair<std::string, std::string>>;

// Rules enough for the odd cases: several lengths, nothing, longer and shorter replacements.
inline const Rules kRules = {{"A", "a"},        {"\xC3\x85", "a"},     {"A\xCC\x8A", "a"},        {"\x01", ""}, {"\xEF\xAC\x81", "fi"},
                             {"\xC2\xA0", " "}, {"\xE3\x80\x80", " "}, {"e\xCC\x81", "\xC3\xA9"}, {"x", "yy"}};

// Every node of the trie has a block of 256 units to itself: its children by their byte, and its replacement at 0.
inline std::string make_charsmap(const Rules& rules) {
  struct Node {
    std::map<uint8_t, uint32_t> children;
    int64_t replacement = -1;
  };
  std::vector<Node> nodes(1);
  std::string text;
  for (const auto& [from, to] : rules) {
    uint32_t at = 0;
    for (const char c : from) {
      const auto [edge, is_new] = nodes[at].children.try_emplace(static_cast<uint8_t>(c), static_cast<uint32_t>(nodes.size()));
      const uint32_t child = edge->second;
      if (is_new) nodes.emplace_back();
      at = child;
    }
    nodes[at].replacement = static_cast<int64_t>(text.size());
    text += to + '\0';
  }
  std::vector<uint32_t> units(256 * (nodes.size() + 1));
  units[0] = 256u << 10;
  for (uint32_t n = 0; n < nodes.size(); ++n) {
    const uint32_t base = 256 * (n + 1);
    if (nodes[n].replacement >= 0) units[base] = static_cast<uint32_t>(nodes[n].replacement) | 0x80000000u;
    for (const auto& [byte, child] : nodes[n].children) {
      const uint32_t place = base ^ byte;
      const uint32_t has_leaf = nodes[child].replacement >= 0;
      units[place] = byte | has_leaf << 8 | (place ^ 256 * (child + 1)) << 10;
    }
  }
  std::string out;
  const auto put = [&](uint32_t value) {
    for (int i = 0; i < 4; ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
  };
  put(static_cast<uint32_t>(4 * units.size()));
  for (const uint32_t unit : units) put(unit);
  return out + text;
}

inline std::string base64(std::string_view bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += i + k > bytes.size() ? '=' : kAlphabet[bits >> (18 - 6 * k) & 63];
  }
  return out;
}

}  // namespace tenon::text::testing
