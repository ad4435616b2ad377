// The pattern of Split and Replace: {"String": "..."} or {"Regex": "..."}.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tenon/core/json.h"
#include "tenon/text/delimiter.h"
#include "tenon/text/regex.h"
#include "tenon/text/scanner.h"

namespace tenon::text {

class Pattern {
 public:
  /// Errors: Error(Format) if the value has neither key or the expression cannot be compiled; Error(Type).
  explicit Pattern(const Json& spec) {
    if (const Json* text = spec.get("String")) literal_ = text->as_string("pattern.String");
    const Json* regex = spec.get("Regex");
    check(regex || spec.get("String"), ErrorCode::Format, "tokenizer.json", "pattern: expected {\"String\"} or {\"Regex\"}, got ",
          spec.dump());
    // an empty literal matches between all characters, as an empty expression does
    const std::string expression = regex ? regex->as_string("pattern.Regex") : std::string();
    if (regex) scanner_ = Scanner::make(expression);
    if (!scanner_ && (regex || literal_.empty())) regex_.emplace(expression);
  }

  /// Calls found(begin, end) for each match, in order and without overlap.
  template <class Found>
  void for_each(std::string_view text, Found&& found) const {
    if (scanner_) {
      size_t begin = 0, end = 0;
      for (size_t from = 0; scanner_->find(text, from, begin, end); from = end) found(begin, end);
      return;
    }
    if (!regex_) {
      for (size_t at = text.find(literal_); at != std::string_view::npos; at = text.find(literal_, at + literal_.size()))
        found(at, at + literal_.size());
      return;
    }
    Regex::Matcher matcher(*regex_);
    size_t from = 0, begin = 0, end = 0, last_end = std::string_view::npos;
    while (from <= text.size() && matcher.find(text, from, begin, end)) {
      if (begin == end && end == last_end) {
        // an empty match right behind the last one would be found for ever
        from += from < text.size() ? char_length(text[from]) : 1;
        continue;
      }
      found(begin, end);
      from = last_end = end;
    }
  }

 private:
  std::string literal_;
  std::shared_ptr<const Scanner> scanner_;  // what it understands it does, PCRE2 the rest
  std::optional<Regex> regex_;
};

/// Reads a delimiter behaviour as tokenizer.json spells it. Errors: Error(Format) for an unknown one.
inline Delimiter parse_delimiter(const std::string& name) {
  if (name == "Removed") return Delimiter::Removed;
  if (name == "Isolated") return Delimiter::Isolated;
  if (name == "MergedWithPrevious") return Delimiter::MergedWithPrevious;
  if (name == "MergedWithNext") return Delimiter::MergedWithNext;
  if (name == "Contiguous") return Delimiter::Contiguous;
  fail(ErrorCode::Format, "tokenizer.json", "behavior: expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous, got '",
       name, "'");
}

/// The first character of a string field that must hold exactly one.
inline char32_t one_char(const std::string& text, std::string_view what) {
  check(!text.empty() && char_length(text[0]) == text.size(), ErrorCode::Format, "tokenizer.json", what, ": expected one character, got '",
        text, "'");
  return decode(text.data());
}

}  // namespace tenon::text
