// NFC, NFD, NFKC, NFKD.
#pragma once

#include <vector>

#include "tenon/text/normalizer.h"
#include "tenon/text/unicode.h"

namespace tenon::text {

template <NormalForm form>
class UnicodeForm : public Normalizer {
 public:
  explicit UnicodeForm(const Json&) {}

  void normalize(Pieces& pieces) const override {
    bool is_normal = true;
    for (const Piece& p : pieces.list()) {
      const std::string_view text = pieces.view(p);
      is_normal = is_normal && (!p.is_open() || normal_prefix(text, form) == text.size());
    }
    if (is_normal) return;
    std::vector<NormalStep> steps;
    pieces.rewrite([&](Rewriter& r) {
      while (!r.done()) {
        r.keep(normal_prefix(r.rest(), form));
        if (r.done()) break;
        steps.clear();
        normal_steps(r.rest().substr(0, normal_segment(r.rest(), form)), form, steps);
        for (const NormalStep& step : steps) {
          if (step.change > 0) {
            r.insert(step.c);
            continue;
          }
          r.replace(step.c);
          for (int i = step.change; i < 0; ++i) r.drop();
        }
      }
    });
  }
};

}  // namespace tenon::text
