// BertPreTokenizer: whitespace goes, every punctuation character stands alone.
#pragma once

#include <array>

#include "tenon/text/pre_tokenizer.h"
#include "tenon/text/unicode.h"

namespace tenon::text {

class BertPreTokenizer : public PreTokenizer {
 public:
  explicit BertPreTokenizer(const Json&) {
    for (char32_t c = 0; c < 128; ++c) ascii_[c] = static_cast<uint8_t>(char_flags(c) & (kSpace | kPunctuation));
  }

  void cut(Pieces& pieces) const override {
    pieces.split([this](std::string_view text, auto emit) {
      size_t begin = 0, i = 0;
      while (i < text.size()) {
        const auto c = static_cast<unsigned char>(text[i]);
        const size_t n = char_length(text[i]);
        const unsigned flags = c < 128 ? ascii_[c] : char_flags(decode(text.data() + i)) & (kSpace | kPunctuation);
        if (flags) {
          if (begin < i) emit(begin, i);
          if (!(flags & kSpace)) emit(i, i + n);
          begin = i + n;
        }
        i += n;
      }
      if (begin < i) emit(begin, i);
    });
  }

 private:
  std::array<uint8_t, 128> ascii_{};
};

}  // namespace tenon::text
