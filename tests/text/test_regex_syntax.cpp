// Patterns of Oniguruma whose syntax PCRE2 does not have; what is expected was recorded from the reference library.
#include "tenon/text/regex.h"
#include "tiny.h"

using namespace tenon;
using namespace tenon::text;
using namespace tenon::text::testing;

namespace {

// The matches and what lies between them, joined by '|'.
std::string parts(const char* pattern, const std::string& text) {
  const Regex regex(pattern);
  Regex::Matcher matcher(regex);
  std::string out;
  size_t at = 0, begin = 0, end = 0;
  const auto add = [&](size_t from, size_t to) {
    if (from < to) out += (out.empty() ? "" : "|") + text.substr(from, to - from);
  };
  while (at < text.size() && matcher.find(text, at, begin, end) && begin < end) {
    add(at, begin);
    add(begin, end);
    at = end;
  }
  add(at, text.size());
  return out;
}

}  // namespace

TEST_CASE("regex: classes inside classes") {
  const std::string text = "abc]x\xE4\xBD\xA0 a3c4di_e";
  CHECK(parts(R"([\p{L}&&[^\p{Han}]]+)", text) == "abc|]|x|\xE4\xBD\xA0 |a|3|c|4|di|_|e");
  CHECK(parts(R"([a-f[0-9]&&[^c3]]+)", text) == "ab|c]x\xE4\xBD\xA0 |a|3c|4d|i_|e");
  CHECK(parts(R"([a-z&&[aeiou]&&[^i]])", text) == "a|bc]x\xE4\xBD\xA0 |a|3c4di_|e");
  CHECK(parts(R"([\w&&[^\d_]]+)", text) == "abc|]|x\xE4\xBD\xA0| |a|3|c|4|di|_|e");
  CHECK(parts(R"([[:alpha:]&&[^x]]+)", text) == "abc|]x|\xE4\xBD\xA0| |a|3|c|4|di|_|e");
  CHECK(parts(R"([^a-z&&[^b-d]]+)", "x]yabcd!") == "x|]|ya|bcd!");
  CHECK(parts(R"([]a]+)", text) == "a|bc|]|x\xE4\xBD\xA0 |a|3c4di_e");
  CHECK(parts(R"([^]a]+)", text) == "a|bc|]|x\xE4\xBD\xA0 |a|3c4di_e");
}

TEST_CASE("regex: damaged classes") {
  for (const char* pattern : {"[a", "[a&&]", "[&&a]", "[[:alpha]", "[a[b]", "["})
    CHECK(contains(error_of([&] { Regex{pattern}; }, ErrorCode::Format), "class"));
  CHECK(contains(error_of([] { Regex{std::string(1000, '[')}; }, ErrorCode::Format), "nested"));
}
