// Ids and nothing else: the way of bulk work, without alignment, words or an object for each text.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "tenon/text/tokenizer.h"

namespace tenon::text {

/// Encodes texts one after another, on one thread; further threads have encoders of their own. The tokenizer must outlive it.
class IdEncoder {
 public:
  /// Of the options, padding is not looked at, and of a truncated text the first window alone is kept.
  /// Errors: as Tokenizer::encode()'s for contradictory options.
  IdEncoder(const Tokenizer& tokenizer, const EncodeOptions& options);
  ~IdEncoder();
  IdEncoder(const IdEncoder&) = delete;
  IdEncoder& operator=(const IdEncoder&) = delete;

  /// Appends the ids that Tokenizer::encode() gives. Nothing is allocated but what the ids need. Errors: as encode()'s.
  void append(const TextInput& input, std::vector<int32_t>& ids);

 private:
  struct State;
  void tokenize(std::string_view text, std::vector<int32_t>& ids);

  const Tokenizer& tokenizer_;
  std::unique_ptr<State> state_;
};

}  // namespace tenon::text
