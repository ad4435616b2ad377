// The order of the rules.
#include <algorithm>

#include "tenon/tasks/generation/processors.h"

namespace tenon::generation {
namespace {

void check_ids(const char* name, const Ids& ids, int64_t vocab_size) {
  for (const int64_t id : ids)
    check(id >= 0 && id < vocab_size, ErrorCode::Limit, "generate", name, ": token ", id, " is outside the vocabulary of ", vocab_size);
}

void add_rules(const GenerationConfig& c, const ProcessorSetup& s, Processors& to) {
  const Ids& eos = c.eos_token_id;
  if (!c.sequence_bias.empty()) to.push_back(sequence_bias(c.sequence_bias, s.vocab_size));
  if (c.encoder_repetition_penalty != 1 && !s.encoder_ids.empty())
    to.push_back(encoder_repetition_penalty(c.encoder_repetition_penalty, s.encoder_ids, s.width));
  if (c.repetition_penalty != 1) to.push_back(repetition_penalty(c.repetition_penalty, s.padding));
  if (c.no_repeat_ngram_size > 0) to.push_back(no_repeat_ngram(c.no_repeat_ngram_size));
  if (c.encoder_no_repeat_ngram_size > 0 && !s.encoder_ids.empty())
    to.push_back(encoder_no_repeat_ngram(c.encoder_no_repeat_ngram_size, s.encoder_ids, s.width));
  if (!c.bad_words_ids.empty()) to.push_back(bad_words(c.bad_words_ids, eos, s.vocab_size));
  const int64_t least = c.min_new_tokens ? s.prompt_length + *c.min_new_tokens : c.min_length;
  if (least > 0 && !eos.empty()) to.push_back(min_length(least, eos));
  if (s.prefix_allowed_tokens) to.push_back(prefix_allowed_tokens(s.prefix_allowed_tokens, s.width));
  if (c.forced_bos_token_id) {
    check_ids("forced_bos_token_id", {*c.forced_bos_token_id}, s.vocab_size);
    to.push_back(forced_bos_token(*c.forced_bos_token_id));
  }
  if (!c.forced_eos_token_id.empty()) {
    check_ids("forced_eos_token_id", c.forced_eos_token_id, s.vocab_size);
    to.push_back(forced_eos_token(c.forced_eos_token_id, s.max_length));
  }
  if (c.remove_invalid_values) to.push_back(remove_invalid_values());
  if (c.exponential_decay_length_penalty)
    to.push_back(exponential_decay_length_penalty(*c.exponential_decay_length_penalty, eos, s.prompt_length));
  if (!c.suppress_tokens.empty()) to.push_back(suppress_tokens(c.suppress_tokens));
  if (!c.begin_suppress_tokens.empty()) {
    const bool forced = s.prompt_length <= 1 && c.forced_bos_token_id;
    to.push_back(suppress_tokens_at_begin(c.begin_suppress_tokens, s.prompt_length + forced));
  }
}

void add_warpers(const GenerationConfig& c, Processors& to) {
  // With beams one token besides those that end must stay, so that there is something to go on with.
  const int64_t keep = c.num_beams > 1 ? std::max<int64_t>(2, static_cast<int64_t>(c.eos_token_id.size()) + 1) : 1;
  if (c.temperature != 1) to.push_back(temperature(c.temperature));
  if (c.top_h) to.push_back(top_h(*c.top_h));
  if (c.top_k != 0) to.push_back(top_k(c.top_k, keep));
  if (c.top_p < 1) to.push_back(top_p(c.top_p, keep));
  if (c.min_p) to.push_back(min_p(*c.min_p, keep));
  if (c.typical_p < 1) to.push_back(typical_p(c.typical_p, keep));
  if (c.epsilon_cutoff > 0) to.push_back(epsilon_cutoff(c.epsilon_cutoff, keep));
  if (c.eta_cutoff > 0) to.push_back(eta_cutoff(c.eta_cutoff, keep));
}

}  // namespace

Processors make_processors(const GenerationConfig& config, const ProcessorSetup& setup) {
  Processors all;
  add_rules(config, setup, all);
  all.insert(all.end(), setup.user.begin(), setup.user.end());
  if (config.do_sample) add_warpers(config, all);
  if (config.renormalize_logits) all.push_back(renormalize_logits());
  return all;
}

}  // namespace tenon::generation
