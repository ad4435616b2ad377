// Cutting at delimiters: what becomes of them, and cuts at single characters.
#pragma once

#include <string_view>

#include "tenon/text/pieces.h"

namespace tenon::text {

/// What becomes of the delimiters that a pattern finds, for `the-final--countdown` and '-':
enum class Delimiter {
  Removed,             // the final countdown
  Isolated,            // the - final - - countdown
  MergedWithPrevious,  // the- final- - countdown
  MergedWithNext,      // the -final - -countdown
  Contiguous,          // the - final -- countdown
};

/// Takes the parts of a text in order, each a match of the delimiter or not, and emits them joined as `Delimiter` says.
template <class Emit>
class Joiner {
 public:
  Joiner(Delimiter behavior, Emit& emit) : behavior_(behavior), emit_(emit) {}

  void add(size_t begin, size_t end, bool is_match) {
    switch (behavior_) {
      case Delimiter::Removed:
        if (!is_match) emit_(begin, end);
        return;
      case Delimiter::Isolated:
        emit_(begin, end);
        return;
      case Delimiter::Contiguous:
        join(begin, end, is_match, is_match == last_is_match_);
        return;
      case Delimiter::MergedWithPrevious:
        join(begin, end, is_match, is_match && !last_is_match_);
        return;
      case Delimiter::MergedWithNext:
        join(begin, end, is_match, has_held_ && last_is_match_ && !is_match);
        return;
    }
  }
  void finish() {
    if (has_held_) emit_(begin_, end_);
    has_held_ = false;
  }

 private:
  void join(size_t begin, size_t end, bool is_match, bool is_joined) {
    if (!(is_joined && has_held_)) {
      finish();
      begin_ = begin;
    }
    end_ = end;
    has_held_ = true;
    last_is_match_ = is_match;
  }

  Delimiter behavior_;
  Emit& emit_;
  size_t begin_ = 0, end_ = 0;
  bool has_held_ = false, last_is_match_ = false;
};

/// Cuts the open pieces at the characters for which is_delimiter(code point) holds.
template <class IsDelimiter>
void split_at_chars(Pieces& pieces, Delimiter behavior, IsDelimiter&& is_delimiter) {
  pieces.split([&](std::string_view text, auto emit) {
    Joiner joiner(behavior, emit);
    size_t begin = 0;
    for (size_t i = 0; i < text.size();) {
      const size_t n = char_length(text[i]);
      if (is_delimiter(decode(text.data() + i))) {
        if (begin < i) joiner.add(begin, i, false);
        joiner.add(i, i + n, true);
        begin = i + n;
      }
      i += n;
    }
    if (begin < text.size()) joiner.add(begin, text.size(), false);
    joiner.finish();
  });
}

}  // namespace tenon::text
