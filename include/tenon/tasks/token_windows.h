// Text as windows of token ids of one length: what calibrates quantisers and measures perplexity.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "tenon/text/tokenizer.h"

namespace tenon::tasks {

struct TokenWindows {
  int64_t length = 0;
  std::vector<int64_t> ids;  // one window after another

  int64_t size() const { return length ? static_cast<int64_t>(ids.size()) / length : 0; }
  /// Windows [begin, end).
  std::span<const int64_t> part(int64_t begin, int64_t end) const {
    return std::span(ids).subspan(static_cast<size_t>(begin * length), static_cast<size_t>((end - begin) * length));
  }
};

/// `count` windows at most, evenly spread over the texts, each with the special tokens that the tokenizer frames a text with. Where the
/// texts are shorter than one window, there is one of what they have. Long texts are tokenized in parts only. Errors: Error(Limit) for
/// texts of less than `least` tokens.
TokenWindows token_windows(const text::Tokenizer& tokenizer, std::span<const std::string> texts, int64_t length, int64_t count,
                           int64_t least = 32);

}  // namespace tenon::tasks
