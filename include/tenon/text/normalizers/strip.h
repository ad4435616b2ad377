// Strip (whitespace at the ends), StripAccents (combining marks) and Nmt (control characters and odd spaces).
#pragma once

#include "tenon/text/normalizer.h"
#include "tenon/text/unicode.h"

namespace tenon::text {

class Strip : public Normalizer {
 public:
  explicit Strip(const Json& spec) : left_(spec.value("strip_left", true)), right_(spec.value("strip_right", true)) {}

  void normalize(Pieces& pieces) const override {
    // cutting the ends off moves nothing
    pieces.split([this](std::string_view text, auto emit) {
      size_t begin = 0, end = text.size();
      while (left_ && begin < end && (char_flags(decode(text.data() + begin)) & kSpace)) begin += char_length(text[begin]);
      while (right_ && begin < end && (char_flags(last_char(text.substr(begin, end - begin))) & kSpace)) {
        --end;
        while (is_continuation(text[end])) --end;
      }
      emit(begin, end);
    });
  }

 private:
  bool left_, right_;
};

class StripAccents : public Normalizer {
 public:
  explicit StripAccents(const Json&) {}

  void normalize(Pieces& pieces) const override {
    if (pieces.is_open_ascii()) return;
    pieces.rewrite([](Rewriter& r) {
      while (!r.done()) {
        if (char_flags(r.peek()) & kMark)
          r.drop();
        else
          r.keep(char_length(r.rest()[0]));
      }
    });
  }
};

class Nmt : public Normalizer {
 public:
  explicit Nmt(const Json&) {}

  void normalize(Pieces& pieces) const override {
    pieces.rewrite([](Rewriter& r) {
      while (!r.done()) {
        const char32_t c = r.peek();
        if (is_removed(c))
          r.drop();
        else
          r.replace(is_space(c) ? U' ' : c);
      }
    });
  }

 private:
  static bool is_removed(char32_t c) {
    return (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
  }
  static bool is_space(char32_t c) {
    switch (c) {
      case 0x9:
      case 0xA:
      case 0xC:
      case 0xD:
      case 0x1680:
      case 0x2028:
      case 0x2029:
      case 0x2581:
      case 0xFEFF:
      case 0xFFFD:
        return true;
      default:
        return c >= 0x200B && c <= 0x200F;
    }
  }
};

}  // namespace tenon::text
