// Replace (a pattern by a text) and Prepend (a text before each non-empty piece).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tenon/text/normalizer.h"
#include "tenon/text/pattern.h"

namespace tenon::text {

class Replace : public Normalizer {
 public:
  explicit Replace(const Json& spec) : pattern_(spec.at("pattern")), content_(spec.at("content").as_string("content")) {}

  void normalize(Pieces& pieces) const override {
    bool has_match = false;
    for (const Piece& p : pieces.list())
      if (p.is_open() && !has_match) pattern_.for_each(pieces.view(p), [&](size_t, size_t) { has_match = true; });
    if (!has_match) return;
    std::vector<std::pair<size_t, size_t>> matches;
    pieces.rewrite([&](Rewriter& r) {
      matches.clear();
      pattern_.for_each(r.rest(), [&](size_t begin, size_t end) { matches.emplace_back(begin, end); });
      size_t at = 0;
      for (const auto& [begin, end] : matches) {
        r.keep(begin - at);
        const size_t target = r.rest().size() - (end - begin);
        while (r.rest().size() > target) r.drop();
        r.insert(content_);
        at = end;
      }
    });
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(const Json& spec) : text_(spec.at("prepend").as_string("prepend")) {}

  void normalize(Pieces& pieces) const override {
    pieces.rewrite([this](Rewriter& r) { prepend(r, text_); });
  }

  /// Writes the text with the origin of the piece's first character.
  static void prepend(Rewriter& r, std::string_view text) {
    const Span origin = r.origin();
    for (size_t i = 0; i < text.size(); i += char_length(text[i])) r.put(decode(text.data() + i), origin);
  }

 private:
  std::string text_;
};

}  // namespace tenon::text
