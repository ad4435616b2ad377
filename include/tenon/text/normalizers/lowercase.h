// Lowercase.
#pragma once

#include "tenon/text/normalizer.h"
#include "tenon/text/unicode.h"

namespace tenon::text {

class Lowercase : public Normalizer {
 public:
  explicit Lowercase(const Json&) {}

  void normalize(Pieces& pieces) const override {
    if (pieces.is_open_ascii()) {
      for (const Piece& p : pieces.list()) {
        if (!p.is_open()) continue;
        char* bytes = pieces.bytes(p);
        for (uint32_t i = 0; i < p.end - p.begin; ++i)
          if (bytes[i] >= 'A' && bytes[i] <= 'Z') bytes[i] = static_cast<char>(bytes[i] + ('a' - 'A'));
      }
      return;
    }
    pieces.rewrite([](Rewriter& r) {
      while (!r.done()) {
        char32_t low[2];
        const int n = to_lower(r.peek(), low);
        r.replace(low[0]);
        if (n > 1) r.insert(low[1]);
      }
    });
  }
};

}  // namespace tenon::text
