// Charsmap: reading the blob and walking its trie.
#include "tenon/text/charsmap.h"

#include <cstring>

#include "tenon/core/error.h"
#include "tenon/text/utf8.h"

namespace tenon::text {
namespace {

uint32_t read_u32(const char* p) {
  const auto* u = reinterpret_cast<const unsigned char*>(p);
  return u[0] | uint32_t{u[1]} << 8 | uint32_t{u[2]} << 16 | uint32_t{u[3]} << 24;
}

uint32_t label_of(uint32_t unit) { return unit & 0x800000FFu; }
bool has_leaf(uint32_t unit) { return unit >> 8 & 1; }
size_t offset_of(uint32_t unit) { return size_t{unit >> 10} << ((unit & 0x200u) >> 6); }

}  // namespace

Charsmap::Charsmap(std::string_view bytes) {
  const auto fail_if = [&](bool is_bad, const char* what) {
    check(!is_bad, ErrorCode::Format, "precompiled_charsmap", what, ", got ", bytes.size(), " bytes");
  };
  fail_if(bytes.size() < 8, "expected the size of a trie and the trie");
  const uint32_t size = read_u32(bytes.data());
  fail_if(size < 4 || size % 4 != 0 || size > bytes.size() - 4, "expected a trie of whole units inside the data");
  units_.resize(size / 4);
  for (size_t i = 0; i < units_.size(); ++i) units_[i] = read_u32(bytes.data() + 4 + 4 * i);
  replacements_.assign(bytes.substr(4 + size_t{size}));
  fail_if(!is_valid_utf8(replacements_), "expected replacements in UTF-8");
}

template <class Found>
void Charsmap::search(std::string_view text, Found&& found) const {
  size_t at = offset_of(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    at ^= byte;
    if (byte == 0 || at >= units_.size()) return;
    const uint32_t unit = units_[at];
    if (label_of(unit) != byte) return;
    at ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (at >= units_.size()) return;
    if (!found(i + 1, units_[at] & 0x7FFFFFFFu)) return;
  }
}

std::string_view Charsmap::replacement(uint32_t at) const {
  // a place outside, or inside a character, comes from damaged data
  if (at >= replacements_.size() || is_continuation(replacements_[at])) return {};
  return {replacements_.data() + at, strnlen(replacements_.data() + at, replacements_.size() - at)};
}

bool Charsmap::has_path(std::string_view text) const {
  if (empty()) return false;
  size_t at = offset_of(units_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    at ^= byte;
    if (byte == 0 || at >= units_.size() || label_of(units_[at]) != byte) return false;
    at ^= offset_of(units_[at]);
  }
  return true;
}

std::optional<std::string_view> Charsmap::shortest(std::string_view text) const {
  std::optional<std::string_view> out;
  if (empty()) return out;
  search(text, [&](size_t, uint32_t at) {
    out = replacement(at);
    return false;
  });
  return out;
}

std::pair<size_t, std::string_view> Charsmap::longest(std::string_view text) const {
  std::pair<size_t, std::string_view> out{0, {}};
  if (empty()) return out;
  size_t length = 0;
  uint32_t place = 0;
  search(text, [&](size_t n, uint32_t at) {
    length = n;
    place = at;
    return true;
  });
  if (length > 0) out = {length, replacement(place)};
  return out;
}

}  // namespace tenon::text
