// What an Engine runs: which requests are in the batch, which tokens they get in a step, and whose memory gives way.
#pragma once

#include <deque>

#include "engine_drafts.h"
#include "engine_task.h"
#include "tenon/models/decoder.h"
#include "tenon/nn/prefix_index.h"

namespace tenon::engine {

/// Used by one thread at a time.
class Batch {
 public:
  Batch(const models::Decoder& model, const EngineOptions& options);

  int64_t vocab_size() const { return session_.vocab_size(); }
  int64_t context() const { return session_.max_length(); }
  /// Errors: Error(Memory) for a task that would not fit if it were alone. May be called from any thread.
  void check_fits(const Task& task) const;

  /// Queues a task by its number.
  void add(TaskRef task);
  /// One forward pass. Returns the tasks that have finished, which are no longer here.
  std::vector<TaskRef> step(Context& ctx);
  /// Adds what is known here; counts go on from step to step.
  void describe(EngineStats& stats) const;

 private:
  nn::KvCache& cache() { return session_.cache(); }
  int64_t free_pages() const;
  bool fits(const Task& task) const;
  /// What each sequence reads in a step.
  struct Step {
    std::vector<Ids> tokens;
    std::vector<uint8_t> drafted;  // whether the last of them is a guess
    bool any_drafted = false;
  };
  /// What follows the tokens of a step: a row of logits, or behind a guess two.
  struct Scores {
    Tensor all = {};  // (rows, V), where the model lies or of the host
    Ids row = {};     // the first of each sequence; -1: it has none
  };
  void admit();
  Step plan();
  Step next_tokens(bool draft);
  void add_drafts(Step& step) const;
  void share(int64_t i);
  void remember(int64_t i);
  void preempt_youngest();
  Scores feed(Context& ctx, const Step& step, bool& together);
  void write(Context& ctx, const Step& step, const Scores& scores);
  void choose(Context& ctx, const std::vector<size_t>& writers, const Scores& scores, int64_t behind);
  std::vector<size_t> choose_there(Context& ctx, const std::vector<size_t>& writers, const Scores& scores, int64_t behind);
  void follow(Context& ctx, const Step& step, const Ids& before);
  void reorder(const Ids& kept);
  void take_finished(std::vector<TaskRef>& finished);

  EngineOptions options_;
  models::DecoderSession session_;
  std::unique_ptr<Drafts> drafts_;  // or nullptr
  nn::PrefixIndex prefixes_;
  std::vector<TaskRef> running_;  // running_[i] is sequence i of the session
  std::deque<TaskRef> waiting_;   // by number
  int64_t steps_ = 0, preempted_ = 0, prompt_tokens_ = 0, generated_tokens_ = 0, hit_tokens_ = 0;
  int64_t drafted_tokens_ = 0, accepted_tokens_ = 0;
};

}  // namespace tenon::engine
