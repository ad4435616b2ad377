// The block's pass behind each step of an Engine.
#include "engine_drafts.h"

#include <algorithm>

namespace tenon::engine {

Drafts::Drafts(const models::MtpModel& block, models::DecoderSession& main) : block_(block), main_(main), cache_(block.cache_layout()) {
  models::MtpSession(block, main);  // checks the sizes; from now on the session keeps its hidden states
}

void Drafts::add() {
  cache_.add();
  guesses_.push_back(-1);
}

void Drafts::reorder(std::span<const int64_t> parents) {
  cache_.reorder(parents);
  Ids next;
  for (const int64_t p : parents) next.push_back(guesses_[static_cast<size_t>(p)]);
  guesses_ = std::move(next);
}

void Drafts::follow(Context& ctx, std::span<const int64_t> first_row, std::span<const int64_t> before, std::span<const Ids* const> texts) {
  forget_guesses();
  std::vector<int64_t> counts(guesses_.size()), ids, rows, last;
  std::vector<size_t> guessing;
  for (size_t i = 0; i < counts.size(); ++i) {
    const auto sequence = static_cast<int64_t>(i);
    const Ids& text = *texts[i];
    if (cache_.length(sequence) != before[i]) continue;  // its beginning was not computed here
    counts[i] = main_.length(sequence) - before[i];
    for (int64_t t = 0; t < counts[i]; ++t) {
      ids.push_back(text[static_cast<size_t>(before[i] + t + 1)]);
      rows.push_back(first_row[i] + t);
    }
    if (counts[i] == 0 || main_.length(sequence) + 1 < static_cast<int64_t>(text.size())) continue;  // it still reads its prompt
    guessing.push_back(i);
    last.push_back(static_cast<int64_t>(ids.size()) - 1);
  }
  if (ids.empty()) return;
  nn::CacheStep step(cache_, counts);
  const Tensor h = block_.predict(ctx, main_.embed(ctx, ids), ops::gather_rows(ctx, main_.hidden(), rows), step);
  step.commit();
  if (guessing.empty()) return;
  Tensor logits = main_.logits(ctx, ops::gather_rows(ctx, h, last)).to(Device{});
  for (size_t i = 0; i < guessing.size(); ++i) {
    const auto scores = generation::row_of(logits, static_cast<int64_t>(i));
    guesses_[guessing[i]] = std::max_element(scores.begin(), scores.end()) - scores.begin();
  }
}

}  // namespace tenon::engine
