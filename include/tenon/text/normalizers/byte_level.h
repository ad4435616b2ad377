// ByteLevel as a normalizer: the text in the byte alphabet, uncut.
#pragma once

#include "tenon/text/byte_level.h"
#include "tenon/text/normalizer.h"

namespace tenon::text {

class ByteLevelNormalizer : public Normalizer {
 public:
  explicit ByteLevelNormalizer(const Json&) {}
  void normalize(Pieces& pieces) const override {
    pieces.rewrite([](Rewriter& r) { write_byte_level(r); });
  }
};

}  // namespace tenon::text
