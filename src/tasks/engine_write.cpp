// What a step of an Engine writes: each sequence's next token, chosen where its scores lie if its rules allow that.
#include <numeric>

#include "engine_batch.h"

namespace tenon::engine {

/// The next token of those whose rules a device knows, of scores that lie there. Returns the others.
std::vector<size_t> Batch::choose_there(Context& ctx, const std::vector<size_t>& writers, const Scores& scores, int64_t behind) {
  std::vector<generation::Choice> choices(static_cast<size_t>(scores.all.size(0)));
  for (const size_t i : writers)
    if (running_[i]->rules_of_device()) choices[static_cast<size_t>(scores.row[i] + behind)] = running_[i]->choice();
  const Ids tokens = generation::choose_there(ctx, scores.all, choices);
  std::vector<size_t> left;
  for (const size_t i : writers) {
    const int64_t token = tokens[static_cast<size_t>(scores.row[i] + behind)];
    token < 0 ? left.push_back(i) : running_[i]->take(token);
  }
  return left;
}

/// The next token of each writer, from this row of its logits. Of a device's logits only those come to the host whose rules need it.
void Batch::choose(Context& ctx, const std::vector<size_t>& writers, const Scores& scores, int64_t behind) {
  const bool there = !writers.empty() && !scores.all.device().is_cpu();
  const std::vector<size_t> left = there ? choose_there(ctx, writers, scores, behind) : writers;
  Ids rows;
  for (const size_t i : left) rows.push_back(scores.row[i] + behind);
  Tensor logits = scores.all;
  if (there && !left.empty()) {
    logits = (static_cast<int64_t>(rows.size()) < logits.size(0) ? ops::gather_rows(ctx, logits, rows) : logits).to(Device{});
    std::iota(rows.begin(), rows.end(), int64_t{0});
  }
  HostContext host(ctx);
  const auto next = [&](size_t k) { running_[left[k]]->choose(*host, logits.rows(rows[k], rows[k] + 1)); };
  std::vector<size_t> ready;
  for (size_t k = 0; k < left.size(); ++k)
    if (!running_[left[k]]->has_own_rules()) ready.push_back(k);
  host->over_rows(static_cast<int64_t>(ready.size()), 8 * vocab_size(), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) next(ready[static_cast<size_t>(r)]);
  });
  for (size_t k = 0; k < left.size(); ++k)
    if (running_[left[k]]->has_own_rules()) next(k);
  for (const size_t i : writers) {
    generated_tokens_ += !running_[i]->is_finished();
    running_[i]->settle();
  }
}

void Batch::write(Context& ctx, const Step& step, const Scores& scores) {
  std::vector<size_t> writers, right;
  for (size_t i = 0; i < step.tokens.size(); ++i) {
    if (step.tokens[i].empty() || running_[i]->is_finished()) continue;
    const auto sequence = static_cast<int64_t>(i);
    const int64_t read = static_cast<int64_t>(step.tokens[i].size()) - step.drafted[i];
    const bool is_prompt = read > 1 || session_.length(sequence) - step.drafted[i] <= running_[i]->result.prompt_tokens;
    if (is_prompt) prompt_tokens_ += read, remember(sequence);
    if (session_.length(sequence) >= running_[i]->length()) writers.push_back(i);
  }
  choose(ctx, writers, scores, 0);
  for (const size_t i : writers) {
    if (!step.drafted[i]) continue;
    ++drafted_tokens_;
    if (!running_[i]->is_finished() && running_[i]->text().back() == step.tokens[i].back()) right.push_back(i);
  }
  accepted_tokens_ += static_cast<int64_t>(right.size());
  choose(ctx, right, scores, 1);
  for (const size_t i : writers) {  // what a guess got wrong is no part of the text
    const auto sequence = static_cast<int64_t>(i);
    if (session_.length(sequence) >= running_[i]->length()) session_.truncate(sequence, running_[i]->length() - 1);
  }
}

}  // namespace tenon::engine
