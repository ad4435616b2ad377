// Stopping: lengths, tokens that end, texts that end, time, the caller's criteria and cancellation.
#include "stopping.h"

#include <algorithm>

#include "job.h"

namespace tenon::generation {

Stopping::Stopping(const GenerationConfig& config, const GenerateHooks& hooks, int64_t max_length, Ids limits)
    : config_(config), hooks_(hooks), max_length_(max_length), limits_(std::move(limits)) {
  for (const std::string& s : config.stop_strings) longest_stop_ = std::max(longest_stop_, s.size());
  check(config.stop_strings.empty() || hooks.decode, ErrorCode::Limit, "generate",
        "stop_strings need a tokenizer, which turns tokens into text");
}

bool Stopping::interrupted() {
  if (hooks_.poll) hooks_.poll();
  if (hooks_.cancel && hooks_.cancel->load(std::memory_order_relaxed)) cancelled_ = true;
  return cancelled_ ||
         (config_.max_time && std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count() > *config_.max_time);
}

bool Stopping::stops(const Ids& sequence) const {
  // Every token that counts gives at least a byte, but for a few at the beginning that a decoder swallows.
  constexpr size_t kSwallowed = 8;
  const std::span<const int64_t> tail = std::span(sequence).last(std::min(sequence.size(), longest_stop_ + kSwallowed));
  const std::string text = hooks_.decode(tail), before = hooks_.decode(tail.first(tail.size() - 1));
  const size_t old = static_cast<size_t>(std::mismatch(before.begin(), before.end(), text.begin(), text.end()).first - before.begin());
  for (const std::string& stop : config_.stop_strings) {
    const size_t at = text.find(stop, old >= stop.size() ? old - stop.size() + 1 : 0);
    if (at != std::string::npos) return true;
  }
  return false;
}

std::vector<uint8_t> Stopping::operator()(const std::vector<Ids>& sequences, std::span<const int64_t> rows, int64_t width,
                                          const std::vector<Tensor>& scores) {
  const bool all = interrupted();
  std::vector<uint8_t> done(rows.size(), all);
  for (size_t i = 0; i < rows.size(); ++i) {
    const Ids& ids = sequences[static_cast<size_t>(rows[i])];
    const int64_t length = static_cast<int64_t>(ids.size());
    done[i] |= length >= max_length_ || length >= limits_[static_cast<size_t>(rows[i] / width)];
    done[i] |= std::find(config_.eos_token_id.begin(), config_.eos_token_id.end(), ids.back()) != config_.eos_token_id.end();
    if (!done[i] && longest_stop_ > 0) done[i] |= stops(ids);
  }
  if (hooks_.stopping_criteria.empty()) return done;
  std::vector<Ids> chosen;
  for (const int64_t r : rows) chosen.push_back(sequences[static_cast<size_t>(r)]);
  const Tensor ids = to_tensor(chosen, 0);
  for (const StoppingCriterion& criterion : hooks_.stopping_criteria) {
    const std::vector<bool> finished = criterion(ids, scores);
    check(finished.size() == done.size(), ErrorCode::Shape, "generate", "stopping criterion: expected ", done.size(), " answers, got ",
          finished.size());
    for (size_t i = 0; i < done.size(); ++i) done[i] |= finished[i];
  }
  return done;
}

}  // namespace tenon::generation
