// Stage 5: a decoder turns the tokens of an answer back into text.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tenon/core/json.h"

namespace tenon::text {

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Rewrites the list; the text is what its members give one behind the other.
  virtual void decode(std::vector<std::string>& tokens) const = 0;
};

/// Makes the decoder that a tokenizer.json describes; null gives none (tokens are then joined by spaces).
/// Errors: Error(Format) naming an unknown type and the known ones; Error(Type) for fields of the wrong type.
std::unique_ptr<Decoder> make_decoder(const Json& spec);

/// Replaces every occurrence of `from` (not empty), left to right.
inline void replace_all(std::string& text, std::string_view from, std::string_view to) {
  size_t at = text.find(from);
  if (at == std::string::npos) return;
  std::string out;
  size_t last = 0;
  for (; at != std::string::npos; at = text.find(from, last)) {
    out.append(text, last, at - last).append(to);
    last = at + from.size();
  }
  text = out.append(text, last);
}

}  // namespace tenon::text
