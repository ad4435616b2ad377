// Regex: translation from Oniguruma's syntax to PCRE2's where they differ, and the calls to PCRE2.
#include "tenon/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "tenon/core/error.h"
#include "tenon/text/utf8.h"

namespace tenon::text {
namespace {

// White_Space; PCRE2's own \s has U+180E as well.
constexpr const char* kSpaceSet = R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr const char* kNotSpaceSet =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e})"
    R"(\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
constexpr const char* kWordSet = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc})";

// The members of a class escape of Oniguruma where PCRE2's escape means another set; null where they agree.
const char* class_members(char escape) {
  switch (escape) {
    case 's':
      return kSpaceSet;
    case 'S':
      return kNotSpaceSet;
    case 'w':
      return kWordSet;
    case 'h':
      return "0-9a-fA-F";
    default:
      return nullptr;
  }
}

std::string translate(std::string_view pattern, bool plain_scripts) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c != '\\' || i + 1 == pattern.size()) {
      if (c == '[' && in_class && (i + 1 == pattern.size() || pattern[i + 1] != ':'))
        fail(ErrorCode::Format, "regex", "nested character class: expected none, got ", pattern);
      if (in_class && c == '&' && i + 1 < pattern.size() && pattern[i + 1] == '&')
        fail(ErrorCode::Format, "regex", "class intersection: expected none, got ", pattern);
      if (c == '[' && !in_class) {
        in_class = true;
        out += c;
        // a ']' right behind the opening is a member
        if (i + 1 < pattern.size() && pattern[i + 1] == '^') out += pattern[++i];
        if (i + 1 < pattern.size() && pattern[i + 1] == ']') (out += '\\') += pattern[++i];
        continue;
      }
      if (c == '[') {
        const size_t close = pattern.find(":]", i);
        if (close != std::string_view::npos) {
          out.append(pattern, i, close + 2 - i);
          i = close + 1;
          continue;
        }
      }
      if (c == ']') in_class = false;
      out += c;
      continue;
    }
    const char escape = pattern[++i];
    if (const char* members = class_members(escape)) {
      out += in_class ? std::string(members) : '[' + std::string(members) + ']';
    } else if (escape == 'W' && !in_class) {
      out += "[^" + std::string(kWordSet) + ']';
    } else if ((escape == 'p' || escape == 'P') && plain_scripts && i + 4 < pattern.size() && pattern[i + 1] == '{') {
      // the bare name of a script means scx (script extensions) to PCRE2
      const size_t close = pattern.find('}', i);
      const bool is_script = close != std::string_view::npos && close - i > 4 && pattern[i + 2] != '^';
      (out += '\\') += escape;
      if (is_script) {
        out += "{sc:";
        ++i;
      }
    } else {
      (out += '\\') += escape;
    }
  }
  return out;
}

constexpr uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_UTF_CHECK;

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  bool is_jit = false;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(std::string_view pattern) : code_(std::make_unique<Code>()) {
  check(is_valid_utf8(pattern), ErrorCode::Format, "regex", "pattern: expected UTF-8, got damaged text");
  int error = 0;
  PCRE2_SIZE where = 0;
  for (const bool plain_scripts : {true, false}) {
    const std::string translated = translate(pattern, plain_scripts);
    code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), kOptions, &error, &where, nullptr);
    if (code_->code) break;
  }
  if (!code_->code) {
    PCRE2_UCHAR message[128] = {};
    pcre2_get_error_message(error, message, sizeof(message));
    fail(ErrorCode::Format, "regex", "pattern: expected a regular expression, got '", pattern, "' (", reinterpret_cast<char*>(message),
         ")");
  }
  code_->is_jit = pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE) == 0;
}
Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

struct Regex::Matcher::State {
  const Code* code;
  pcre2_match_data* data;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;
  ~State() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

Regex::Matcher::Matcher(const Regex& regex)
    : state_(new State{regex.code_.get(), pcre2_match_data_create_from_pattern(regex.code_->code, nullptr)}) {
  check(state_->data != nullptr, ErrorCode::Memory, "regex", "working memory: expected some, got none");
}
Regex::Matcher::~Matcher() = default;

bool Regex::Matcher::find(std::string_view text, size_t from, size_t& begin, size_t& end) {
  State& s = *state_;
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  int rc = s.code->is_jit ? pcre2_jit_match(s.code->code, subject, text.size(), from, 0, s.data, s.context)
                          : pcre2_match(s.code->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, s.data, s.context);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT && !s.stack) {
    // the 32 KiB that matching starts with are not enough for this pattern
    s.context = pcre2_match_context_create(nullptr);
    s.stack = pcre2_jit_stack_create(size_t{64} << 10, size_t{64} << 20, nullptr);
    pcre2_jit_stack_assign(s.context, nullptr, s.stack);
    rc = pcre2_jit_match(s.code->code, subject, text.size(), from, 0, s.data, s.context);
  }
  if (rc == PCRE2_ERROR_NOMATCH) return false;
  check(rc >= 0, ErrorCode::Limit, "regex", "matching: expected a result, got PCRE2 error ", rc, " on ", text.size(), " bytes");
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(s.data);
  // \K in a lookaround can put the start behind the end
  check(range[0] <= range[1] && range[1] <= text.size(), ErrorCode::Limit, "regex", "match: expected a range of the text");
  begin = range[0];
  end = range[1];
  return true;
}

}  // namespace tenon::text
