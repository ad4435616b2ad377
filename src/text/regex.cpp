// Regex: the calls to PCRE2.
#include "tenon/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "regex_syntax.h"
#include "tenon/core/error.h"
#include "tenon/text/utf8.h"

namespace tenon::text {
namespace {

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
    const std::string translated = to_pcre2(pattern, plain_scripts);
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
  if (rc < 0) {
    PCRE2_UCHAR message[128] = {};
    pcre2_get_error_message(rc, message, sizeof(message));
    fail(ErrorCode::Limit, "regex", "matching: expected a result, got '", reinterpret_cast<char*>(message), "' on ", text.size(),
         " bytes: the pattern goes back too often");
  }
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(s.data);
  // \K in a lookaround can put the start behind the end
  check(range[0] <= range[1] && range[1] <= text.size(), ErrorCode::Limit, "regex", "match: expected a range of the text");
  begin = range[0];
  end = range[1];
  return true;
}

}  // namespace tenon::text
