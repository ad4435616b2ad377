// Whitespace (runs of word characters, runs of others), WhitespaceSplit, CharDelimiterSplit and FixedLength.
#pragma once

#include "tenon/text/pattern.h"
#include "tenon/text/pre_tokenizer.h"
#include "tenon/text/unicode.h"

namespace tenon::text {

class Whitespace : public PreTokenizer {
 public:
  explicit Whitespace(const Json&) {}
  void cut(Pieces& pieces) const override {
    pieces.split([](std::string_view text, auto emit) {
      unsigned run = 0;
      size_t begin = 0, i = 0;
      for (; i < text.size(); i += char_length(text[i])) {
        const unsigned flags = char_flags(decode(text.data() + i));
        const unsigned kind = flags & kWord ? 2 : flags & kSpace ? 0 : 1;
        if (kind == run) continue;
        if (run != 0) emit(begin, i);
        run = kind;
        begin = i;
      }
      if (run != 0) emit(begin, i);
    });
  }
};

class WhitespaceSplit : public PreTokenizer {
 public:
  explicit WhitespaceSplit(const Json&) {}
  void cut(Pieces& pieces) const override {
    pieces.split([](std::string_view text, auto emit) {
      size_t begin = 0, i = 0;
      while (i < text.size()) {
        const size_t n = char_length(text[i]);
        if (is_space(text.data() + i)) {
          if (begin < i) emit(begin, i);
          begin = i + n;
        }
        i += n;
      }
      if (begin < i) emit(begin, i);
    });
  }

 private:
  static bool is_space(const char* p) {
    const auto lead = static_cast<unsigned char>(*p);
    if (lead < 0x80) return lead == ' ' || (lead >= '\t' && lead <= '\r');
    // all others start with one of these
    return (lead == 0xC2 || (lead >= 0xE1 && lead <= 0xE3)) && (char_flags(decode(p)) & kSpace);
  }
};

class CharDelimiterSplit : public PreTokenizer {
 public:
  explicit CharDelimiterSplit(const Json& spec) : delimiter_(one_char(spec.at("delimiter").as_string("delimiter"), "delimiter")) {}
  void cut(Pieces& pieces) const override {
    split_at_chars(pieces, Delimiter::Removed, [this](char32_t c) { return c == delimiter_; });
  }

 private:
  char32_t delimiter_;
};

class FixedLength : public PreTokenizer {
 public:
  explicit FixedLength(const Json& spec) : length_(spec.value("length", 5)) {
    check(length_ > 0, ErrorCode::Format, "tokenizer.json", "FixedLength.length: expected at least 1, got ", length_);
  }
  void cut(Pieces& pieces) const override {
    pieces.split([this](std::string_view text, auto emit) {
      size_t begin = 0, i = 0;
      for (int64_t n = 1; i < text.size(); ++n) {
        i += char_length(text[i]);
        if (n % length_ != 0) continue;
        emit(begin, i);
        begin = i;
      }
      emit(begin, i);
    });
  }

 private:
  int64_t length_;
};

}  // namespace tenon::text
