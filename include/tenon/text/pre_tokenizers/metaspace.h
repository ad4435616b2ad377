// Metaspace: spaces become a visible character, U+2581, at which the text is cut.
#pragma once

#include <string>

#include "tenon/text/normalizers/replace.h"
#include "tenon/text/pattern.h"
#include "tenon/text/pre_tokenizer.h"

namespace tenon::text {

enum class PrependScheme { First, Never, Always };

/// Reads prepend_scheme and the older add_prefix_space. Errors: Error(Format) for an unknown scheme or a contradiction.
inline PrependScheme parse_prepend_scheme(const Json& spec) {
  const std::string name = spec.value("prepend_scheme", "always");
  check(name == "first" || name == "never" || name == "always", ErrorCode::Format, "tokenizer.json",
        "Metaspace.prepend_scheme: expected first, never or always, got '", name, "'");
  const bool is_off = !spec.value("add_prefix_space", true);
  check(!is_off || name == "never" || !spec.has("prepend_scheme"), ErrorCode::Format, "tokenizer.json",
        "Metaspace: expected add_prefix_space and prepend_scheme to agree, got false and '", name, "'");
  if (is_off) return PrependScheme::Never;
  return name == "first" ? PrependScheme::First : name == "never" ? PrependScheme::Never : PrependScheme::Always;
}

class Metaspace : public PreTokenizer {
 public:
  explicit Metaspace(const Json& spec)
      : mark_(spec.value("replacement", "\xE2\x96\x81")), scheme_(parse_prepend_scheme(spec)), split_(spec.value("split", true)) {
    code_ = one_char(mark_, "Metaspace.replacement");
  }

  void cut(Pieces& pieces) const override {
    pieces.rewrite([this](Rewriter& r) {
      const bool is_marked = r.rest()[0] == ' ' || r.peek() == code_;
      const bool is_wanted = scheme_ == PrependScheme::Always || (scheme_ == PrependScheme::First && r.origin().begin == 0);
      if (is_wanted && !is_marked) Prepend::prepend(r, mark_);
      while (!r.done()) {
        const size_t space = r.rest().find(' ');
        r.keep(space == std::string_view::npos ? r.rest().size() : space);
        if (!r.done()) r.replace(code_);
      }
    });
    if (!split_) return;
    pieces.split([this](std::string_view text, auto emit) {
      size_t begin = 0;
      for (size_t mark = text.find(mark_, 1); mark != std::string_view::npos; mark = text.find(mark_, mark + 1)) {
        emit(begin, mark);
        begin = mark;
      }
      emit(begin, text.size());
    });
  }
  bool reads_origins() const override { return scheme_ == PrependScheme::First; }

 private:
  std::string mark_;
  PrependScheme scheme_;
  bool split_;
  char32_t code_;
};

}  // namespace tenon::text
