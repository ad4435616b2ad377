// Drafts for the sequences of an Engine, by the block that a checkpoint stores for multi-token prediction.
#pragma once

#include <span>

#include "generation/job.h"
#include "tenon/models/mtp.h"

namespace tenon::engine {

using generation::Ids;

/// Follows the sequences of `main`, one for one, with a cache of the block's own. A sequence that it could not follow from its first token
/// on gets no drafts.
class Drafts {
 public:
  /// Both must outlive this. Errors: Error(Type) unless they are of one checkpoint's sizes.
  Drafts(const models::MtpModel& block, models::DecoderSession& main);

  void add();
  void reorder(std::span<const int64_t> parents);
  /// What may come after the last token of sequence i, which `main` does not hold yet; -1: nothing is known.
  int64_t guess(int64_t i) const { return guesses_[static_cast<size_t>(i)]; }
  void forget_guesses() { std::fill(guesses_.begin(), guesses_.end(), -1); }
  /// After a step: main's last pass read the rows first_row[i] .. of sequence i, which held before[i] tokens, and of what it read holds
  /// what it holds now. texts[i] is the text of sequence i, a token longer than that at least.
  void follow(Context& ctx, std::span<const int64_t> first_row, std::span<const int64_t> before, std::span<const Ids* const> texts);

 private:
  const models::MtpModel& block_;
  models::DecoderSession& main_;
  nn::KvCache cache_;
  Ids guesses_;
};

}  // namespace tenon::engine
