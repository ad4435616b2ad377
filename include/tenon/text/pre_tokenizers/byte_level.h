// ByteLevel: GPT-2's way to cut a text, then the byte alphabet.
#pragma once

#include "tenon/text/byte_level.h"
#include "tenon/text/normalizers/replace.h"
#include "tenon/text/pre_tokenizer.h"
#include "tenon/text/unicode.h"

namespace tenon::text {

class ByteLevel : public PreTokenizer {
 public:
  explicit ByteLevel(const Json& spec)
      : add_prefix_space_(spec.value("add_prefix_space", true)), use_regex_(spec.value("use_regex", true)) {}

  void cut(Pieces& pieces) const override {
    if (add_prefix_space_) {
      pieces.rewrite([](Rewriter& r) {
        if (r.rest()[0] != ' ') Prepend::prepend(r, " ");
      });
    }
    if (use_regex_) pieces.split([](std::string_view text, auto emit) { cut_words(text, emit); });
    pieces.rewrite([](Rewriter& r) { write_byte_level(r); });
  }

 private:
  enum Kind : uint8_t { kBlank, kLetters, kDigits, kOthers };

  static Kind kind_of(char32_t c) {
    if (c < 128) {
      if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') return kLetters;
      if (c >= '0' && c <= '9') return kDigits;
      return c == ' ' || (c >= 9 && c <= 13) ? kBlank : kOthers;
    }
    const uint16_t flags = char_flags(c);
    return flags & kLetter ? kLetters : flags & kNumber ? kDigits : flags & kSpace ? kBlank : kOthers;
  }

  static size_t run_end(std::string_view text, size_t i, Kind kind) {
    while (i < text.size() && kind_of(decode(text.data() + i)) == kind) i += char_length(text[i]);
    return i;
  }

  // Length of 's 't 're 've 'm 'll 'd at the start of the text, or 0.
  static size_t contraction(std::string_view text) {
    if (text.size() < 2 || text[0] != '\'') return 0;
    const char a = text[1], b = text.size() > 2 ? text[2] : '\0';
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
  }

  // The parts that 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ matches, four times faster.
  template <class Emit>
  static void cut_words(std::string_view text, Emit& emit) {
    for (size_t i = 0; i < text.size();) {
      const size_t begin = i;
      if (const size_t n = contraction(text.substr(i))) {
        i += n;
      } else {
        const size_t word = text[i] == ' ' && i + 1 < text.size() ? i + 1 : i;
        const Kind kind = kind_of(decode(text.data() + word));
        if (kind != kBlank) {
          i = run_end(text, word, kind);
        } else {
          i = run_end(text, i, kBlank);
          // the last blank of several goes with what follows
          if (i < text.size()) {
            size_t last = i - 1;
            while (is_continuation(text[last])) --last;
            if (last > begin) i = last;
          }
        }
      }
      emit(begin, i);
    }
  }

  bool add_prefix_space_, use_regex_;
};

}  // namespace tenon::text
