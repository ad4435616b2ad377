// What text generation needs of a model: sequences that grow token by token, whatever keeps their past.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/core/error.h"
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
  /// From now on the logits of a feed() may be overwritten by the next. On a device a step of one token for each sequence is then recorded once
  /// as a graph and launched again and again, where the model needs nothing of the host on the way (TENON_CUDA_GRAPHS=0: never).
  virtual void reuse_logits() {}
  /// Sequence i becomes a copy of what sequence parents[i] was; size() becomes parents.size(). Beams, several samples of one prompt,
  /// and dropping what has finished are all this. Pasts are shared, not copied. Errors: Error(Limit) for a parent outside [0, size()).
  virtual void reorder(std::span<const int64_t> parents) = 0;
  /// Forgets the tokens of sequence i beyond the first `length`. Errors: Error(Limit) if it holds fewer.
  virtual void truncate(int64_t i, int64_t length) = 0;
  /// The same sequences once more, sharing their pasts. Errors: Error(Type) for a session that cannot be copied.
  virtual std::unique_ptr<DecodingSession> clone() const {
    fail(ErrorCode::Type, "session", "it cannot be copied");
  }
};

/// What a pass with use_cache leaves behind for the next: sequences, and the columns of the padded batch in which their tokens stood.
class PastKeyValues {
 public:
  explicit PastKeyValues(std::unique_ptr<DecodingSession> session)
      : session_(std::move(session)), places_(static_cast<size_t>(session_->size())) {}

  DecodingSession& session() const { return *session_; }
  /// The columns so far, padding among them.
  int64_t columns() const { return columns_; }
  int64_t size() const { return session_->size(); }
  /// The column of each token of sequence i.
  const std::vector<int64_t>& places(int64_t i) const { return places_[static_cast<size_t>(i)]; }
  /// Tokens were fed: rows are positions in (B, columns), and each sequence's follow each other.
  void extend(std::span<const int64_t> rows, int64_t columns) {
    for (const int64_t r : rows) places_[static_cast<size_t>(r / columns)].push_back(columns_ + r % columns);
    columns_ += columns;
  }
  /// As DecodingSession::reorder().
  void reorder(std::span<const int64_t> parents) {
    session_->reorder(parents);
    std::vector<std::vector<int64_t>> next;
    for (const int64_t p : parents) next.push_back(places_[static_cast<size_t>(p)]);
    places_ = std::move(next);
  }
  /// Forgets all columns beyond the first `columns`. Errors: Error(Limit) if there are fewer.
  void crop(int64_t columns) {
    check(columns >= 0 && columns <= columns_, ErrorCode::Limit, "past_key_values", "crop: expected 0 to ", columns_, " columns, got ", columns);
    for (size_t i = 0; i < places_.size(); ++i) {
      std::vector<int64_t>& p = places_[i];
      p.erase(std::lower_bound(p.begin(), p.end(), columns), p.end());
      session_->truncate(static_cast<int64_t>(i), static_cast<int64_t>(p.size()));
    }
    columns_ = columns;
  }
  std::shared_ptr<PastKeyValues> clone() const {
    auto copy = std::make_shared<PastKeyValues>(session_->clone());
    copy->columns_ = columns_, copy->places_ = places_;
    return copy;
  }

 private:
  std::unique_ptr<DecodingSession> session_;
  int64_t columns_ = 0;
  std::vector<std::vector<int64_t>> places_;
};

}  // namespace tenon::models
