// Greedy search and sampling.
#include <algorithm>

#include "job.h"

namespace tenon::generation {
namespace {

/// The rows that are being written, and those that the session still holds.
class Search {
 public:
  explicit Search(Job& job) : job_(job), finished_(static_cast<size_t>(job.texts() * job.width)) {
    for (int64_t i = 0; i < static_cast<int64_t>(finished_.size()); ++i) {
      sequences_.push_back(job.prompt.sequences[static_cast<size_t>(i / job.width)]);
      active_.push_back(i);
    }
    const auto& eos = job.config.eos_token_id;
    // Without tokens that end a text, Transformers goes on with all rows until all are finished.
    pads_ = !eos.empty();
    pad_ = job.config.pad_token_id.value_or(pads_ ? eos.front() : 0);
    there_ = !job.ctx.device().is_cpu();
    job.session.reuse_logits();
  }

  GenerateOutput run() {
    GenerateOutput output;
    Tensor logits = prefill(job_, stays_there());
    for (int64_t step = 0;; ++step) {
      choose(logits, step, output);
      if (mark_finished(output)) break;
      logits = feed();
    }
    output.sequences = to_tensor(sequences_, pad_);
    return output;
  }

 private:
  void choose(Tensor& logits, int64_t step, GenerateOutput& output) {
    Ids chosen;
    if (!logits.device().is_cpu()) {
      chosen = choose_there(logits, step);
      if (chosen.empty()) logits = logits.to(Device{});
    }
    if (chosen.empty()) {
      check_numbers(job_, logits);
      if (job_.config.output_logits) output.logits.push_back(logits.clone());
      process(job_, sequences_, active_, logits);
      if (job_.config.output_scores) output.scores.push_back(logits.clone());
    }
    std::vector<int64_t> tokens(sequences_.size(), pad_);
    for (size_t i = 0; i < active_.size(); ++i) {
      const int64_t r = active_[i];
      if (pads_ && finished_[r]) continue;
      if (!chosen.empty()) {
        tokens[r] = chosen[i];
        continue;
      }
      const auto scores = row_of(logits, static_cast<int64_t>(i));
      tokens[r] = job_.config.do_sample ? draw(scores, job_.hooks.seed, r, step) : likeliest(scores);
    }
    for (size_t r = 0; r < tokens.size(); ++r) sequences_[r].push_back(tokens[r]);
    if (job_.hooks.on_tokens) job_.hooks.on_tokens(tokens);
  }

  /// Whether the device chooses the next token.
  bool stays_there() const { return there_ && job_.rules_of_device.hold(static_cast<int64_t>(sequences_.front().size())); }
  /// Empty where the host is to choose.
  Ids choose_there(const Tensor& logits, int64_t step) const {
    std::vector<Choice> choices;
    for (const int64_t r : active_) choices.push_back({&job_.config, job_.hooks.seed, r, step});
    Ids chosen = generation::choose_there(job_.ctx, logits, choices);
    if (std::find(chosen.begin(), chosen.end(), -1) != chosen.end()) chosen.clear();
    return chosen;
  }

  /// True once no row goes on.
  bool mark_finished(const GenerateOutput& output) {
    const std::vector<uint8_t> done = job_.stopping(sequences_, active_, job_.width, output.scores);
    for (size_t i = 0; i < active_.size(); ++i) finished_[active_[i]] |= done[i];
    return std::all_of(finished_.begin(), finished_.end(), [](uint8_t f) { return f != 0; });
  }

  Tensor feed() {
    if (pads_ && job_.drops()) {
      Ids kept, rows;
      for (size_t i = 0; i < active_.size(); ++i)
        if (!finished_[active_[i]]) kept.push_back(static_cast<int64_t>(i)), rows.push_back(active_[i]);
      if (kept.size() < active_.size()) job_.session.reorder(kept);
      active_ = std::move(rows);
    }
    std::vector<Ids> tokens;
    for (const int64_t r : active_) tokens.push_back({sequences_[static_cast<size_t>(r)].back()});
    return stays_there() ? job_.session.feed(job_.ctx, tokens) : job_.feed(tokens);
  }

  Job& job_;
  std::vector<Ids> sequences_;
  std::vector<uint8_t> finished_;
  Ids active_;  // rows of the session, as indices of sequences_
  bool pads_;
  bool there_;  // the model lies on a device
  int64_t pad_;
};

}  // namespace

GenerateOutput search(Job& job) { return Search(job).run(); }

}  // namespace tenon::generation
