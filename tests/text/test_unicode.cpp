// Unicode: flags, case, decomposition; UTF-8: repair.
#include <doctest/doctest.h>

#include "tenon/text/unicode.h"
#include "tenon/text/utf8.h"

using namespace tenon::text;

namespace {

std::string normal(std::string_view text, NormalForm form) {
  std::vector<NormalStep> steps;
  normal_steps(text, form, steps);
  std::string out;
  for (const NormalStep& s : steps) append(out, s.c);
  return out;
}

}  // namespace

TEST_CASE("flags") {
  CHECK((char_flags(' ') & ((1 << kCategoryShift) - 1)) == kSpace);
  CHECK(kCategoryNames[char_flags(' ') >> kCategoryShift] == "Zs");
  CHECK(kCategoryNames[char_flags(0x1C89) >> kCategoryShift] == "Lu");  // of Unicode 16
  CHECK(kCategoryNames[char_flags(0x10FFFF) >> kCategoryShift] == "Cn");
  CHECK(scan_kind(char_flags(0x85)) == 32 + 25);
  CHECK((char_flags('\n') & (kSpace | kControl)) == kSpace);
  CHECK((char_flags(0x85) & (kSpace | kControl)) == (kSpace | kControl));
  CHECK((char_flags('$') & kPunctuation) != 0);
  CHECK((char_flags(0x20AC) & kPunctuation) == 0);
  CHECK((char_flags(0x301) & kNonspacing) != 0);
  CHECK((char_flags(0xFFFD) & kControl) != 0);
  CHECK((char_flags(0x4F60) & (kChinese | kWord | kLetter)) == (kChinese | kWord | kLetter));
  CHECK((char_flags(0xBD) & (kNumeric | kNumber | kWord)) == (kNumeric | kNumber));
  CHECK(char_flags(0x110000) == 0);
  CHECK(char_flags(0xFFFFFFFF) == 0);
}

TEST_CASE("case and combining classes") {
  char32_t low[2];
  CHECK(to_lower('A', low) == 1);
  CHECK(low[0] == 'a');
  CHECK(to_lower(0x130, low) == 2);
  CHECK(low[1] == 0x307);
  CHECK(to_lower(0x1C89, low) == 1);
  CHECK(low[0] == 0x1C8A);
  CHECK(combining_class(0x301) == 230);
  CHECK(combining_class(0x323) == 220);
  CHECK(combining_class('a') == 0);
}

TEST_CASE("lower case of a text") {
  CHECK(to_lower("Hello, W\xC3\x96RLD 1") == "hello, w\xC3\xB6rld 1");
  CHECK(to_lower("\xC4\xB0") == "i\xCC\x87");
  // sigma inside a word, at its end, alone
  CHECK(to_lower("\xCE\xA3\xCE\xA3 \xCE\xA3") == "\xCF\x83\xCF\x82 \xCF\x83");
}

TEST_CASE("normal forms") {
  CHECK(normal("\xC3\xA9", NormalForm::NFD) == "e\xCC\x81");
  CHECK(normal("e\xCC\x81", NormalForm::NFC) == "\xC3\xA9");
  CHECK(normal("\xED\x95\x9C", NormalForm::NFD) == "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB");
  CHECK(normal("\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", NormalForm::NFC) == "\xED\x95\x9C");
  CHECK(normal("\xE2\x84\xAB", NormalForm::NFC) == "\xC3\x85");                  // Angstrom sign
  CHECK(normal("\xE0\xA5\x98", NormalForm::NFC) == "\xE0\xA4\x95\xE0\xA4\xBC");  // excluded from composition
  CHECK(normal_prefix("abc", NormalForm::NFC) == 3);
  CHECK(normal_prefix("abe\xCC\x81", NormalForm::NFC) == 2);
  CHECK(normal_prefix("abe\xCC\x81", NormalForm::NFD) == 3);
  CHECK(normal_segment("e\xCC\x81x", NormalForm::NFC) == 3);
}

TEST_CASE("NFC is idempotent and equals NFC of NFD, every code point") {
  int wrong = 0;
  for (char32_t c = 1; c < 0x30000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append(text, c);
    const std::string nfc = normal(text, NormalForm::NFC);
    wrong += normal(nfc, NormalForm::NFC) != nfc || normal(normal(text, NormalForm::NFD), NormalForm::NFC) != nfc;
    wrong += normal_prefix(text, NormalForm::NFC) == text.size() && nfc != text;
  }
  CHECK(wrong == 0);
}

TEST_CASE("UTF-8") {
  CHECK(is_ascii("plain text of more than eight bytes"));
  CHECK_FALSE(is_ascii("plain text\xC3\xA9"));
  CHECK(count_chars("a\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80") == 4);
  for (const char32_t c :
       {char32_t{0x7F}, char32_t{0x80}, char32_t{0x7FF}, char32_t{0x800}, char32_t{0xFFFF}, char32_t{0x10000}, char32_t{0x10FFFF}}) {
    std::string text;
    append(text, c);
    CHECK(decode(text.data()) == c);
    CHECK(char_length(text[0]) == text.size());
    CHECK(is_valid_utf8(text));
  }
  std::vector<uint32_t> positions;
  CHECK(repair_utf8("a\xF0\x9F\x98"
                    "b\x80\xC0\xAF",
                    &positions) ==
        "a\xEF\xBF\xBD"
        "b\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(positions == std::vector<uint32_t>{0, 1, 4, 5, 6, 7, 8});
}
