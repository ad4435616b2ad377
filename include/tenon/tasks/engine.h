// Generation for many users at once: one forward pass per step over all requests that are running, which join and leave at any step.
#pragma once

#include <memory>
#include <optional>

#include "tenon/tasks/generation/generate.h"

namespace tenon {

struct EngineOptions {
  size_t max_cache_bytes = size_t{1} << 30;  // keys and values of what is running, and of beginnings kept for later requests
  int64_t max_batch = 64;                    // requests that run at once; others wait
  int64_t max_waiting = 4096;                // more are refused
  int64_t prefill_chunk = 512;               // prompt tokens in one step, so that a long prompt does not hold up those who write
  bool share_prefixes = true;                // prompts that begin alike are computed once
  CacheCodes cache_codes = CacheCodes::None;  // keys and values in bytes: nearly half the memory of bfloat16
  int threads = 0;                           // 0: get_num_threads()
  /// A DeepseekV3MtpModel of the model's checkpoint, or nullptr: it drafts a token for each request and step, and answers are those without
  /// it. Beginnings are then not shared, since it must read a text from the first token on. Its own keys and values, those of one layer, come
  /// on top of max_cache_bytes. It must outlive the engine.
  const models::Model* mtp = nullptr;
};

struct EngineRequest {
  std::vector<int64_t> prompt;  // without padding
  GenerationConfig config = {};
  /// As for generate(), called on the thread that steps; an exception thrown by one ends this request only. on_tokens gets each token
  /// as it is written. Without effect on the answer and ignored: speculation, but for EngineOptions::mtp.
  GenerateHooks hooks = {};
  /// Called once, after the last token.
  std::function<void(const struct EngineResult&)> on_finish = {};
};

enum class FinishReason : uint8_t {
  Stop,       // a token or text that ends, a criterion, or max_time
  Length,     // max_new_tokens, max_length or the model's context
  Cancelled,  // what was written until then is there
  Error,      // likewise, with `error`
};

struct EngineResult {
  int64_t id = 0;
  std::vector<int64_t> tokens = {};  // without the prompt
  FinishReason reason = FinishReason::Stop;
  std::optional<Error> error = {};
  int64_t prompt_tokens = 0;
  int64_t shared_tokens = 0;  // of them, how many were found computed when the request first ran
  int64_t preemptions = 0;    // how often it gave its memory to older requests and was computed again
};

struct EngineStats {
  int64_t running = 0, waiting = 0;
  int64_t finished = 0, cancelled = 0, failed = 0, preempted = 0;  // since the beginning; finished: by Stop or Length
  int64_t steps = 0;
  int64_t prompt_tokens = 0;     // computed, again after preemption
  int64_t generated_tokens = 0;
  int64_t prefix_hit_tokens = 0;  // not computed, since another text begins alike
  int64_t drafted_tokens = 0, accepted_tokens = 0;  // by EngineOptions::mtp, and of these what was written
  double tokens_per_second = 0;   // generated, over about the last five seconds of work
  size_t cache_bytes = 0, max_cache_bytes = 0;  // cache_bytes: pages in use and kept
  size_t kept_bytes = 0;  // of them, pages in the index of beginnings
};

/// Tokens of one request, to be taken from another thread than the one that steps.
class EngineStream {
 public:
  virtual ~EngineStream() = default;
  virtual int64_t id() const = 0;
  /// Waits for the next token; nothing once the request has finished.
  virtual std::optional<int64_t> next() = 0;
  /// Waits for the end.
  virtual EngineResult result() = 0;
};

/// Greedy answers are those that each request would get alone (where shared or repeated computation rounds differently, two tokens would
/// have to be level within it), and sampled ones depend on their own seed only. Requests start in the
/// order in which they came. When the cache is full the youngest running request gives way and goes on later, so none is lost.
/// submit(), stream(), cancel(), stats() and has_work() may be called from any thread and from callbacks.
class Engine {
 public:
  /// Starts no thread. The model must outlive the engine.
  /// Errors: Error(Type) for a model that is not a decoder with a language model's head, and where mtp is not its block; Error(Limit) for
  /// options out of range.
  explicit Engine(const models::Model& model, const EngineOptions& options = {});
  /// Ends the thread; what has not finished is cancelled.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Returns the request's number.
  /// Errors: Error(Limit) for an empty prompt, ids outside the vocabulary, options that are out of range or contradictory, need
  /// several sequences (num_beams, num_return_sequences, guidance_scale) or outputs that nobody gets (output_scores), a prompt longer
  /// than the model's context, or too many waiting; Error(Memory) for a request that would not fit into the cache if it were alone.
  int64_t submit(EngineRequest request);
  /// The same, with the tokens as a stream; on_tokens and on_finish are called too.
  std::unique_ptr<EngineStream> stream(EngineRequest request);
  /// The request finishes with the next step. False if there is no such request any more.
  bool cancel(int64_t id);

  /// For hosts with a loop of their own: computes the next tokens. Returns whether requests are left. Not from callbacks.
  bool step();
  bool has_work() const;
  /// Waits until there is work, or for so many seconds; returns whether there is.
  bool wait(double seconds) const;

  /// Steps on a thread of the engine's own whenever there is work. stop() ends it after the current step; requests stay.
  void start();
  void stop();

  EngineStats stats() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tenon
