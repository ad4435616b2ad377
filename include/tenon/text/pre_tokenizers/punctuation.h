// Punctuation and Digits: cuts at characters of a kind.
#pragma once

#include "tenon/text/pattern.h"
#include "tenon/text/pre_tokenizer.h"
#include "tenon/text/unicode.h"

namespace tenon::text {

class Punctuation : public PreTokenizer {
 public:
  explicit Punctuation(const Json& spec) : behavior_(parse_delimiter(spec.value("behavior", "Isolated"))) {}
  void cut(Pieces& pieces) const override {
    split_at_chars(pieces, behavior_, [](char32_t c) { return (char_flags(c) & kPunctuation) != 0; });
  }

 private:
  Delimiter behavior_;
};

class Digits : public PreTokenizer {
 public:
  explicit Digits(const Json& spec) : behavior_(spec.value("individual_digits", false) ? Delimiter::Isolated : Delimiter::Contiguous) {}
  void cut(Pieces& pieces) const override {
    split_at_chars(pieces, behavior_, [](char32_t c) { return (char_flags(c) & kNumeric) != 0; });
  }

 private:
  Delimiter behavior_;
};

}  // namespace tenon::text
