// Stage 2: a pre-tokenizer cuts the open pieces into words that the model sees one by one.
#pragma once

#include <memory>

#include "tenon/core/json.h"
#include "tenon/text/pieces.h"

namespace tenon::text {

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual void cut(Pieces& pieces) const = 0;
  /// Asks the last stage not to write its words in the byte alphabet, for a model that reads bytes. Returns whether there is such a stage.
  virtual bool leave_bytes() { return false; }
  /// Whether cut() asks where characters came from, so that the pieces must be traced.
  virtual bool reads_origins() const { return false; }
};

/// Makes the pre-tokenizer that a tokenizer.json describes; null gives none.
/// Errors: Error(Format) naming an unknown type and the known ones; Error(Type) for fields of the wrong type.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& spec);

}  // namespace tenon::text
