// Scanners: the pieces that the reference library cuts, and those of PCRE2 on random texts.
#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tenon/text/regex.h"
#include "tenon/text/scanner.h"
#include "tenon/text/utf8.h"
#include "tiny.h"

using namespace tenon::text;
using namespace tenon::text::testing;

namespace {

struct NamedPattern {
  const char* name;
  const char* pattern;
};
struct CutText {
  std::string_view text;
  const char* lengths;
};
#include "pieces.inc"

// The lengths of the matches and of what lies between them.
template <class Find>
std::string cut(std::string_view text, Find&& find) {
  std::string out;
  const auto add = [&](size_t n) {
    if (n > 0) out += (out.empty() ? "" : " ") + std::to_string(n);
  };
  size_t from = 0, begin = 0, end = 0;
  for (; from < text.size() && find(from, begin, end); from = end) {
    add(begin - from);
    add(end - begin);
  }
  add(text.size() - from);
  return out;
}

std::string scan(const Scanner& scanner, std::string_view text) {
  return cut(text, [&](size_t from, size_t& begin, size_t& end) { return scanner.find(text, from, begin, end); });
}

// Characters that PCRE2's Unicode knows too.
const char* const kLetters[] = {"a",        "Z",        "s",        "S",        "t",        "l",        "L",        "e",        "v",
                                "E",        " ",        " ",        "\t",       "\r",       "\n",       "'",        "'",        "/",
                                "!",        "-",        "_",        "1",        "9",        "|",        "<",        "\xC3\xA9", "\xC5\xBF",
                                "\xC4\xB0", "\xC7\x85", "\xCA\xB0", "\xCC\x81", "\xD9\xA0", "\xC2\xBD", "\xC2\xA0", "\xC2\x85", "\xE4\xB8\x80",
                                "\xE9\xBE\xA6", "\xE3\x81\x82", "\xEA\xB0\x80", "\xE3\x80\x80", "\xE2\x80\xA8", "\xE2\x80\x8B", "\xE2\x82\xAC",
                                "\xE2\x85\xA7", "\xE0\xA5\x8D", "\xF0\x9F\x98\x80", "\xF0\x9D\x92\xB3", "\xEF\xBF\xBD"};

}  // namespace

TEST_CASE("scanners cut as the reference library does") {
  size_t p = 0;
  for (const NamedPattern& named : kPatterns) {
    CAPTURE(named.name);
    const auto scanner = Scanner::make(named.pattern);
    REQUIRE(scanner);
    for (const CutText& row : kTexts) {
      CAPTURE(row.text);
      std::string_view lengths = row.lengths;
      for (size_t i = 0; i < p; ++i) lengths.remove_prefix(lengths.find('\n') + 1);
      CHECK(scan(*scanner, row.text) == lengths.substr(0, lengths.find('\n')));
    }
    ++p;
  }
}

TEST_CASE("scanners and PCRE2 agree on random texts") {
  uint64_t state = 4;
  const auto next = [&](size_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>(state >> 33) % n;
  };
  const char* const more[] = {R"([^\S\r\n]*+\n|\s++\z|a{2,3}b?|\P{L}\p{Ll}|(?:x|y)z|[\d.]+(?=[a-z]))", R"('(?i:[sdmt]|ll|ve|re)|\s+\z|\s*[\r\n]|\S)"};
  std::vector<std::string> patterns(std::begin(more), std::end(more));
  for (const NamedPattern& named : kPatterns)
    if (std::string_view(named.pattern).find("&&") == std::string_view::npos) patterns.emplace_back(named.pattern);
  for (const std::string& pattern : patterns) {
    CAPTURE(pattern);
    const auto scanner = Scanner::make(pattern);
    REQUIRE(scanner);
    const Regex regex(pattern);
    Regex::Matcher matcher(regex);
    for (int i = 0; i < 400; ++i) {
      std::string text;
      for (size_t n = next(30); n > 0; --n) text += kLetters[next(std::size(kLetters))];
      CAPTURE(text);
      REQUIRE(scan(*scanner, text) == cut(text, [&](size_t from, size_t& begin, size_t& end) { return matcher.find(text, from, begin, end); }));
    }
  }
}

TEST_CASE("scanners leave to PCRE2 what they do not understand") {
  for (const char* pattern : {"", "a?", "a|", "a*?", "(a|b)+", "a(?<=b)", "\\bx", "a$", "^a", ".", "[", "[a", "a{2", "a{1,3}+", "(?i:st)", "(?i:\\p{Lu})", "\\w+",
                              "\\p{Cyrillic}", "[[:alpha:]]", "(a", "a)", "a\\", "[a-\\s]", "[z-a]", "(a*|b)(c|d)(e|f)+", "\xFF", "(?i)a", "\\G"})
    CHECK_MESSAGE(!Scanner::make(pattern), pattern);
}

TEST_CASE("scanning a text that matches nowhere ends with an error, not in the square of its length") {
  const auto scanner = Scanner::make(R"(\s*[\r\n]+x)");
  REQUIRE(scanner);
  const std::string blanks(1 << 20, ' ');
  size_t begin = 0, end = 0;
  CHECK(contains(error_of([&] { scanner->find(blanks, 0, begin, end); }, tenon::ErrorCode::Limit), "steps"));
  // the published patterns take all blanks at once
  for (const NamedPattern& named : kPatterns) {
    const auto published = Scanner::make(named.pattern);
    size_t from = 0, pieces = 0;
    for (; published->find(blanks, from, begin, end); from = end) ++pieces;
    CHECK(pieces <= 1);
  }
}

TEST_CASE("a pattern that goes back without end is an error in PCRE2 too") {
  const Regex regex("(x+x+)+[yz]");
  Regex::Matcher matcher(regex);
  size_t begin = 0, end = 0;
  CHECK(contains(error_of([&] { matcher.find(std::string(60, 'x'), 0, begin, end); }, tenon::ErrorCode::Limit), "match limit"));
}
