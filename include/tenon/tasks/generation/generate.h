// generate(): from a prompt to an answer, token by token, with any model that has a DecodingSession.
#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tenon/models/model.h"
#include "tenon/tasks/generation/config.h"
#include "tenon/tasks/generation/processors.h"

namespace tenon {
namespace models {
class MtpSession;
}

/// Says for each row of ids (R,T) int64 whether it is finished. `scores` has the steps so far if output_scores is set.
using StoppingCriterion = std::function<std::vector<bool>(const Tensor& ids, const std::vector<Tensor>& scores)>;

/// What a caller takes part in generation with. All of it is called on the caller's thread.
struct GenerateHooks {
  generation::Processors logits_processors = {};
  generation::AllowedTokens prefix_allowed_tokens_fn = {};
  std::vector<StoppingCriterion> stopping_criteria = {};
  /// Each new token of each row; rows that are finished get padding. Not with beams.
  std::function<void(std::span<const int64_t> tokens)> on_tokens = {};
  /// Ids as text, for stop_strings.
  std::function<std::string(std::span<const int64_t> ids)> decode = {};
  /// Set by another thread: generation ends with the current token, and what is there is returned.
  const std::atomic<bool>* cancel = nullptr;
  /// Called between steps; an exception thrown here ends generation.
  std::function<void()> poll = {};
  /// For do_sample: the same seed gives the same answer, whatever runs beside it.
  uint64_t seed = 0;
  /// A smaller model with the same vocabulary, which drafts tokens that the model then confirms several at a time.
  const models::Model* assistant = nullptr;
  /// For use_mtp: a DeepseekV3MtpModel of the same checkpoint, which drafts a token a pass. Its text is that without it.
  const models::Model* mtp = nullptr;
  /// What guidance_scale leads away from, one row per prompt; without it the last token of the prompt.
  Tensor negative_prompt_ids = {}, negative_prompt_attention_mask = {};
  /// Encoder-decoders: the beginning of the answers (B,T), which decoder_start_token_id precedes.
  Tensor decoder_input_ids = {};
};

struct GenerateOutput {
  Tensor sequences;                 // (B*num_return_sequences, T) int64: prompt (decoders) and answer, padded on the right
  Tensor sequences_scores;          // beams: (B*num_return_sequences) float32
  Tensor beam_indices;              // beams: (.., new tokens) int32: the row of `scores` that each token came from, or -1
  std::vector<Tensor> scores = {};  // output_scores: per step (rows,V) float32, processed
  std::vector<Tensor> logits = {};  // output_logits: per step (rows,V) float32, as the model gave them
  int64_t prompt_length = 0;        // how many tokens of each sequence are the prompt
  bool cancelled = false;
};

/// Generates as the options say: greedy, sampled, by beams, the first two also with speculation (prompt_lookup_num_tokens or an
/// assistant), which gives the same answer in fewer passes. Prompts of different lengths are padded, on the left as a rule; attention_mask says
/// where (without it, pad_token_id does, unless it also ends texts), and padding is not computed. Without input_ids a decoder starts
/// from bos_token_id. A row whose context is full ends there.
/// With inputs.past_key_values a decoder goes on from what they hold, which stays as it is. input_ids are the whole text, whose beginning they
/// hold, or what is new alone; then attention_mask covers both.
/// Shapes: input_ids, attention_mask (B,T) int32|int64.
/// Errors: Error(Limit) for options out of range or contradictory, an empty prompt, one that is longer than the model's context or
/// reaches max_length, NaN among the logits (unless remove_invalid_values), and where the rules leave no token; Error(Type) for a
/// model that does not generate and for past_key_values of another model, with guidance, an assistant or use_mtp; as the model's.
/// Source: GenerationMixin.generate of Transformers 5.24.
GenerateOutput generate(Context& ctx, const models::Model& model, const models::Inputs& inputs, const GenerationConfig& config,
                        const GenerateHooks& hooks = {});

namespace generation {

/// Prompts ready for a session.
struct Prompt {
  std::vector<Ids> sequences = {};    // as they appear in the output: of one length, with padding
  std::vector<Ids> tokens = {};       // without padding, and without what the session holds
  std::vector<Ids> encoder_ids = {};  // encoder-decoders: the texts, padded
  bool encoder_decoder = false;
  std::vector<int64_t> held = {};  // tokens that the session holds of each; empty: none
  bool shows_held = true;          // whether they stand in `sequences`

  /// The tokens of prompt i, those that the session holds among them.
  int64_t length(size_t i) const { return static_cast<int64_t>(tokens[i].size()) + (held.empty() ? 0 : held[i]); }
  /// The places of sequence i that hold no token.
  int64_t padding(size_t i) const {
    return static_cast<int64_t>(sequences[i].size()) - (shows_held ? length(i) : static_cast<int64_t>(tokens[i].size()));
  }
};

/// generate() over sessions: `session` holds one sequence for each prompt, empty but for prompt.held tokens, `draft` (or nullptr) one for the only prompt; `mtp` (or
/// nullptr) drafts for it; and
/// `negative` (or nullptr), with its tokens already split, one for each prompt.
GenerateOutput generate(Context& ctx, models::DecodingSession& session, const Prompt& prompt, const GenerationConfig& config,
                        const GenerateHooks& hooks = {}, models::DecodingSession* draft = nullptr, models::MtpSession* mtp = nullptr);

}  // namespace generation
}  // namespace tenon
