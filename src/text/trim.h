// White space off the ends of a text, as Python's str.strip() takes it.
#pragma once

#include <string_view>

#include "tenon/text/unicode.h"
#include "tenon/text/utf8.h"

namespace tenon::text {

inline bool is_python_space(char32_t c) { return (char_flags(c) & kSpace) || (c >= 0x1C && c <= 0x1F); }

inline std::string_view trim_front(std::string_view text) {
  while (!text.empty() && is_python_space(decode(text.data()))) text.remove_prefix(char_length(text[0]));
  return text;
}

inline std::string_view trim_back(std::string_view text) {
  while (!text.empty() && is_python_space(last_char(text))) {
    size_t n = 1;
    while (is_continuation(text[text.size() - n])) ++n;
    text.remove_suffix(n);
  }
  return text;
}

}  // namespace tenon::text
