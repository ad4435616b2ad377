// The rules of Transformers for the scores of the next token, and the order in which they apply. All arithmetic is float32.
#pragma once

#include <functional>
#include <optional>

#include "tenon/tasks/generation/config.h"
#include "tenon/tasks/generation/processor.h"

namespace tenon::generation {

using Processor = std::shared_ptr<LogitsProcessor>;

// Penalties. Scores of tokens that were written before: s < 0 ? s * penalty : s / penalty.
/// `ignore` is how many tokens at the beginning of each row do not count (padding); empty for none.
Processor repetition_penalty(double penalty, Ids ignore = {});
/// The reverse for tokens of the encoder's text: they become likelier. encoder_ids has one text per `width` rows.
Processor encoder_repetition_penalty(double penalty, std::vector<Ids> encoder_ids, int64_t width);
/// Errors: Error(Limit) for an id outside the vocabulary.
Processor sequence_bias(std::vector<SequenceBias> biases, int64_t vocab_size);
/// For more than decay.start tokens after the prompt: s + |s| * (factor^excess - 1) for the tokens that end.
Processor exponential_decay_length_penalty(ExponentialDecay decay, Ids eos, int64_t prompt_length);

// Bans: scores become -inf.
/// A token that would complete an n-gram that is already there.
Processor no_repeat_ngram(int64_t size);
Processor encoder_no_repeat_ngram(int64_t size, std::vector<Ids> encoder_ids, int64_t width);
/// Words of one token that end a text are not banned. Errors: Error(Limit) for an id outside the vocabulary.
Processor bad_words(std::vector<Ids> words, const Ids& eos, int64_t vocab_size);
/// No end while a row has fewer than min_length tokens, prompt included.
Processor min_length(int64_t min_length, Ids eos);
Processor suppress_tokens(Ids tokens);
/// Only for rows of exactly begin_index tokens.
Processor suppress_tokens_at_begin(Ids tokens, int64_t begin_index);

// What is allowed or forced.
using AllowedTokens = std::function<Ids(int64_t text, std::span<const int64_t> sequence)>;
/// All tokens but those that f allows get -inf. If none of those allowed is left in any row of a text, they get 0.
/// Errors: Error(Limit) if f allows nothing or an id outside the vocabulary.
Processor prefix_allowed_tokens(AllowedTokens f, int64_t width);
/// The first token after a prompt of one.
Processor forced_bos_token(int64_t token);
/// The last token before max_length.
Processor forced_eos_token(Ids tokens, int64_t max_length);
/// NaN becomes 0, infinities the largest and least float.
Processor remove_invalid_values();

// What sampling leaves to choose from; the rest becomes -inf. At least min_tokens_to_keep stay.
Processor temperature(double t);
Processor top_k(int64_t k, int64_t min_tokens_to_keep = 1);
/// The likeliest tokens whose probabilities together reach p.
Processor top_p(double p, int64_t min_tokens_to_keep = 1);
/// Tokens at least p times as likely as the likeliest.
Processor min_p(double p, int64_t min_tokens_to_keep = 1);
/// Of the 100 likeliest, the first whose terms -p ln p together stay within h times the entropy.
Processor top_h(double h);
/// Tokens whose information is nearest to the entropy, until their probabilities reach mass.
Processor typical_p(double mass, int64_t min_tokens_to_keep = 1);
Processor epsilon_cutoff(double epsilon, int64_t min_tokens_to_keep = 1);
/// Threshold min(epsilon, sqrt(epsilon) * exp(-entropy)).
Processor eta_cutoff(double epsilon, int64_t min_tokens_to_keep = 1);
/// log softmax.
Processor renormalize_logits();

/// What the rules need to know besides the options.
struct ProcessorSetup {
  int64_t prompt_length = 0, max_length = 0, vocab_size = 0;
  int64_t width = 1;  // rows per text: num_beams or num_return_sequences
  Ids padding = {};   // per row, how many tokens of padding stand before the prompt; empty for none
  std::vector<Ids> encoder_ids = {};
  AllowedTokens prefix_allowed_tokens = {};
  Processors user = {};  // apply behind the rules and before what sampling leaves out
};

/// The rules that the options ask for, in Transformers' order. Errors: as the rules; Error(Limit) for ids outside the vocabulary.
/// Source: GenerationMixin._get_logits_processor of Transformers 5.24.
Processors make_processors(const GenerationConfig& config, const ProcessorSetup& setup);

}  // namespace tenon::generation
