// Extended grapheme clusters (UAX 29): what a reader takes for one character.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tenon::text {

/// Bytes of the cluster at the start of a non-empty text of valid UTF-8.
size_t grapheme_length(std::string_view text);

/// How a character of the Basic Multilingual Plane meets its neighbours, for loops that read many.
enum GraphemeKind : uint8_t {
  kAlone = 1,  // a cluster of its own unless the next character has kJoins
  kJoins = 2,  // goes with the character before it
};
/// Bits of GraphemeKind for U+0000 to U+FFFF.
const std::array<uint8_t, 0x10000>& grapheme_kinds();

}  // namespace tenon::text
