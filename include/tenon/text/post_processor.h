// Stage 4: a post-processor puts special tokens around the texts and says which type each part has.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tenon/core/json.h"

namespace tenon::text {

/// A token with its place in the original text.
struct Token {
  int32_t id;
  uint32_t begin, end;  // offsets, in the caller's unit
  int32_t word;         // -1 for none
  bool is_added = false;
  int32_t text = -1;  // which of the texts that the vocabulary does not have, -1: it is the vocabulary's
};

/// A run of tokens that will be written one behind the other; what belongs to all of them.
struct Part {
  std::span<const Token> tokens;
  int32_t type_id = 0;
  int8_t sequence = -1;  // 0 or 1; -1 for special tokens
  bool is_special = false;
  uint8_t trims = 0;                // how often to take leading and trailing spaces out of the offsets
  bool keeps_prefix_space = false;  // while trimming: the first token's single space was added, it is not in the text
};

class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  /// Special tokens that process() adds.
  virtual size_t added(bool is_pair) const = 0;
  /// Turns the parts, at first one per text, into the parts of the result.
  virtual void process(std::vector<Part>& parts, bool add_special_tokens) const = 0;
};

/// Makes the post-processor that a tokenizer.json describes; null gives none.
/// Errors: Error(Format) naming an unknown type and the known ones, templates with unknown tokens; Error(Type).
std::unique_ptr<PostProcessor> make_post_processor(const Json& spec);

}  // namespace tenon::text
