// One call of generate(): what all ways of searching share.
#pragma once

#include "stopping.h"
#include "tenon/tasks/generation/generate.h"
#include "tenon/tasks/generation/processors.h"

namespace tenon::generation {

/// When a device can choose a token: nothing looks at the scores, or changes them, but what it samples with (temperature, top_k, top_p).
class DeviceRules {
 public:
  DeviceRules() = default;
  DeviceRules(const GenerationConfig& config, const ProcessorSetup& setup);
  /// For the token behind `length` tokens, prompt included.
  bool hold(int64_t length) const { return possible_ && length >= least_ && length != bos_ && length != eos_; }

 private:
  bool possible_ = false;
  int64_t least_ = 0, bos_ = -1, eos_ = -1;  // the length from which a text may end, and the lengths at which tokens are forced
};

struct Job {
  Context& ctx;   // of the model
  Context& host;  // of the scores
  models::DecodingSession& session;
  const Prompt& prompt;
  const GenerationConfig& config;
  const GenerateHooks& hooks;
  int64_t width;       // rows per text
  int64_t max_length;  // of a sequence, padding included
  Processors processors;
  Stopping stopping;
  DeviceRules rules_of_device;

  /// The session's, with the scores where rules and search read them.
  Tensor feed(std::span<const Ids> tokens, bool all_positions = false) const { return session.feed(ctx, tokens, all_positions).to(Device{}); }
  int64_t texts() const { return static_cast<int64_t>(prompt.sequences.size()); }
  int64_t prompt_length() const { return static_cast<int64_t>(prompt.sequences.front().size()); }
  bool records() const { return config.output_scores || config.output_logits; }
  /// Whether finished rows may leave the batch: only if nobody looks at them.
  bool drops() const { return !records() && hooks.logits_processors.empty() && hooks.stopping_criteria.empty(); }
};

/// The length, prompt included, that the options end a text at. Errors: Error(Limit) if the prompt is as long.
int64_t length_limit(const GenerationConfig& config, int64_t prompt_length);
/// Feeds the prompts and makes `width` rows of each. Shapes: -> (texts * width, V) logits; of the host, or where the session gave them.
Tensor prefill(Job& job, bool there = false);
/// Applies the rules in place. Errors: Error(Limit) if a score is NaN, unless remove_invalid_values.
void process(Job& job, const std::vector<Ids>& sequences, std::span<const int64_t> rows, Tensor& scores);
void check_numbers(const Job& job, const Tensor& logits);
/// The likeliest token, the lower id among equals. Errors: Error(Limit) if all are forbidden.
int64_t likeliest(std::span<const float> scores);
/// A token drawn by softmax(scores); `row` and `step` choose the random number. Errors: Error(Limit) if all are forbidden.
int64_t draw(std::span<const float> scores, uint64_t seed, int64_t row, int64_t step);
/// How a row's token is chosen; seed, row and step as in draw().
struct Choice {
  const GenerationConfig* config = nullptr;  // nullptr: no token is wanted
  uint64_t seed = 0;
  int64_t row = 0, step = 0;
};
/// Tokens for rows of scores on a device, of which nothing else comes to the host; the same as the host would choose. -1 where none is wanted,
/// or where a score is not finite: then the host is to choose. Shapes: scores (N,V) float32, N choices -> N tokens.
Ids choose_there(Context& ctx, const Tensor& scores, std::span<const Choice> choices);
/// Rows of different lengths as one tensor.
Tensor to_tensor(const std::vector<Ids>& rows, int64_t fill);
inline std::span<float> row_of(Tensor& t, int64_t i) { return {t.data<float>() + i * t.size(1), static_cast<size_t>(t.size(1))}; }

GenerateOutput search(Job& job);
GenerateOutput beam_search(Job& job);
/// Greedy or sampled, with drafts: from `mtp`, from `draft`, or where both are nullptr from the text itself.
GenerateOutput speculate(Job& job, models::DecodingSession* draft, models::MtpSession* mtp);

}  // namespace tenon::generation
