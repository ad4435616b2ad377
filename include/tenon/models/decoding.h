// What text generation needs of a model: sequences that grow token by token, whatever keeps their past.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/core/tensor.h"

namespace tenon::models {

/// Sequences being generated with one model, which must outlive them. Made by Model::start(). Not for concurrent use; several sessions
/// of one model are independent, and a call that throws leaves the session's sequences as they were.
class DecodingSession {
 public:
  static constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

  virtual ~DecodingSession() = default;
  virtual int64_t vocab_size() const = 0;
  /// The most tokens that a sequence may hold (max_position_embeddings), or kUnlimited.
  virtual int64_t max_length() const = 0;
  /// How many sequences there are, and how many tokens sequence i holds. Encoder-decoders count decoder tokens.
  virtual int64_t size() const = 0;
  virtual int64_t length(int64_t i) const = 0;

  /// Appends tokens[i] to sequence i (none: it waits) and computes the logits that follow.
  /// Shapes: -> float32 (rows, V): one row for each sequence that got tokens, in their order; with all_positions one for each token.
  /// Errors: Error(Limit) for an id outside the vocabulary or a sequence that would exceed max_length(); Error(Shape) if there are not
  /// size() lists; Error(Memory) if the cache cannot grow.
  virtual Tensor feed(Context& ctx, std::span<const std::vector<int64_t>> tokens, bool all_positions = false) = 0;
  /// Sequence i becomes a copy of what sequence parents[i] was; size() becomes parents.size(). Beams, several samples of one prompt,
  /// and dropping what has finished are all this. Pasts are shared, not copied. Errors: Error(Limit) for a parent outside [0, size()).
  virtual void reorder(std::span<const int64_t> parents) = 0;
  /// Forgets the tokens of sequence i beyond the first `length`. Errors: Error(Limit) if it holds fewer.
  virtual void truncate(int64_t i, int64_t length) = 0;
};

}  // namespace tenon::models
