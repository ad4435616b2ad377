// One request of an Engine on its way: its text so far, how its next token is chosen, and whether it has finished.
#pragma once

#include <atomic>
#include <memory>

#include "generation/job.h"
#include "tenon/tasks/engine.h"

namespace tenon::engine {

using generation::Ids;

class Task {
 public:
  /// Errors: Error(Limit) for what cannot be served; see Engine::submit().
  Task(EngineRequest request, int64_t vocab_size, int64_t context);
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  int64_t id() const { return result.id; }
  /// The prompt and what was written.
  const Ids& text() const { return texts_.front(); }
  int64_t length() const { return static_cast<int64_t>(text().size()); }
  /// The most tokens that the cache will hold: the last one is never read.
  int64_t longest() const { return longest_; }
  /// Whether choosing calls the caller's code, which expects one thread.
  bool has_own_rules() const { return !request_.hooks.logits_processors.empty() || request_.hooks.prefix_allowed_tokens_fn; }

  /// Whether a device can choose the next token, and how.
  bool rules_of_device() const { return rules_of_device_.hold(length()); }
  generation::Choice choice() const { return {&request_.config, request_.hooks.seed, 0, static_cast<int64_t>(result.tokens.size())}; }
  /// Writes a token that was chosen so.
  void take(int64_t token) noexcept;
  /// Writes the next token. Shapes: logits (1,V) float32, overwritten. What goes wrong ends this request alone.
  void choose(Context& ctx, Tensor logits) noexcept;
  /// Tells the caller of the token just written, and sees whether it was the last.
  void settle() noexcept;
  void finish(FinishReason reason);
  void fail_with(const std::exception& e);
  bool is_finished() const { return finished_; }
  /// Calls on_finish.
  void report() noexcept;

  EngineResult result;
  std::atomic<bool> cancelled{false};

 private:
  EngineRequest request_;  // stopping_ refers to it
  std::vector<Ids> texts_;
  generation::Processors processors_;
  generation::DeviceRules rules_of_device_;
  std::unique_ptr<generation::Stopping> stopping_;
  int64_t limit_ = 0, longest_ = 0;
  bool finished_ = false;
};

using TaskRef = std::shared_ptr<Task>;

}  // namespace tenon::engine
