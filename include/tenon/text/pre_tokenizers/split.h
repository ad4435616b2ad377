// Split: cuts at the matches of a pattern, or with `invert` at what lies between them.
#pragma once

#include "tenon/text/pattern.h"
#include "tenon/text/pre_tokenizer.h"

namespace tenon::text {

class Split : public PreTokenizer {
 public:
  explicit Split(const Json& spec)
      : pattern_(spec.at("pattern")),
        behavior_(parse_delimiter(spec.at("behavior").as_string("behavior"))),
        invert_(spec.value("invert", false)) {}

  void cut(Pieces& pieces) const override {
    pieces.split([this](std::string_view text, auto emit) {
      Joiner joiner(behavior_, emit);
      size_t at = 0;
      pattern_.for_each(text, [&](size_t begin, size_t end) {
        if (at < begin) joiner.add(at, begin, invert_);
        joiner.add(begin, end, !invert_);
        at = end;
      });
      if (at < text.size()) joiner.add(at, text.size(), invert_);
      joiner.finish();
    });
  }

 private:
  Pattern pattern_;
  Delimiter behavior_;
  bool invert_;
};

}  // namespace tenon::text
