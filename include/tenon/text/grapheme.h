// Extended grapheme clusters (UAX 29): what a reader takes for one character.
#pragma once

#include <cstddef>
#include <string_view>

namespace tenon::text {

/// Bytes of the cluster at the start of a non-empty text of valid UTF-8.
size_t grapheme_length(std::string_view text);

}  // namespace tenon::text
