// Stage 1: a normalizer rewrites the open pieces of the text, keeping track of where each character came from.
#pragma once

#include <memory>

#include "tenon/core/json.h"
#include "tenon/text/pieces.h"

namespace tenon::text {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void normalize(Pieces& pieces) const = 0;
};

/// Makes the normalizer that a tokenizer.json describes; null gives none.
/// Errors: Error(Format) naming an unknown type and the known ones; Error(Type) for fields of the wrong type.
std::unique_ptr<Normalizer> make_normalizer(const Json& spec);

}  // namespace tenon::text
