// GenerationConfig::check(): what is outside its range, and what contradicts what.
#include <algorithm>

#include "tenon/tasks/generation/config.h"

namespace tenon {
namespace {

constexpr const char* kWhere = "generate";

template <class Value>
void in_range(const char* name, Value value, bool holds, const char* expected) {
  check(holds, ErrorCode::Limit, kWhere, name, ": expected ", expected, ", got ", value);
}

void check_lengths(const GenerationConfig& c) {
  if (c.max_new_tokens) in_range("max_new_tokens", *c.max_new_tokens, *c.max_new_tokens > 0, "at least 1");
  if (c.max_length) in_range("max_length", *c.max_length, *c.max_length > 0, "at least 1");
  in_range("min_length", c.min_length, c.min_length >= 0, "0 or more");
  if (c.min_new_tokens) in_range("min_new_tokens", *c.min_new_tokens, *c.min_new_tokens >= 0, "0 or more");
  if (c.min_new_tokens && c.max_new_tokens)
    check(*c.min_new_tokens <= *c.max_new_tokens, ErrorCode::Limit, kWhere, "min_new_tokens (", *c.min_new_tokens,
          ") is more than max_new_tokens (", *c.max_new_tokens, ")");
  if (c.max_time) in_range("max_time", *c.max_time, *c.max_time > 0, "seconds above 0");
  for (const std::string& s : c.stop_strings) check(!s.empty(), ErrorCode::Limit, kWhere, "stop_strings: an empty text stops nothing");
}

void check_sampling(const GenerationConfig& c) {
  if (c.do_sample)
    in_range("temperature", c.temperature, c.temperature > 0, "a number above 0 (without do_sample the likeliest token is taken)");
  in_range("top_k", c.top_k, c.top_k >= 0, "0 (all) or more");
  in_range("top_p", c.top_p, c.top_p > 0 && c.top_p <= 1, "a number in (0, 1]");
  if (c.min_p) in_range("min_p", *c.min_p, *c.min_p >= 0 && *c.min_p <= 1, "a number in [0, 1]");
  if (c.top_h) in_range("top_h", *c.top_h, *c.top_h > 0 && *c.top_h <= 1, "a number in (0, 1]");
  in_range("typical_p", c.typical_p, c.typical_p > 0 && c.typical_p <= 1, "a number in (0, 1]");
  in_range("epsilon_cutoff", c.epsilon_cutoff, c.epsilon_cutoff >= 0 && c.epsilon_cutoff < 1, "a number in [0, 1)");
  in_range("eta_cutoff", c.eta_cutoff, c.eta_cutoff >= 0 && c.eta_cutoff < 1, "a number in [0, 1)");
}

void check_cache(const GenerationConfig& c) {
  static constexpr const char* kKnown[] = {"", "dynamic", "dynamic_full", "static", "offloaded", "offloaded_static", "offloaded_hybrid",
                                           "offloaded_hybrid_chunked", "sliding_window", "hybrid", "hybrid_chunked", "paged", "quantized"};
  const bool known = std::any_of(std::begin(kKnown), std::end(kKnown), [&](const char* name) { return c.cache_implementation == name; });
  in_range("cache_implementation", c.cache_implementation, known, "dynamic, static, quantized or another of Transformers' names");
  in_range("kv_cache_dtype", c.kv_cache_dtype, c.kv_cache_dtype.empty() || c.kv_cache_dtype == "auto" || c.kv_cache_dtype == "int8" || c.kv_cache_dtype == "fp8",
           "auto, int8 or fp8");
}

void check_beams(const GenerationConfig& c) {
  in_range("num_beams", c.num_beams, c.num_beams >= 1, "at least 1");
  in_range("num_return_sequences", c.num_return_sequences, c.num_return_sequences >= 1, "at least 1");
  if (c.num_beams > 1)
    check(c.num_return_sequences <= c.num_beams, ErrorCode::Limit, kWhere, "num_return_sequences (", c.num_return_sequences,
          ") is more than num_beams (", c.num_beams, ")");
  else
    check(c.num_return_sequences == 1 || c.do_sample, ErrorCode::Limit, kWhere, "num_return_sequences is ", c.num_return_sequences,
          ", but greedy search has one answer: set do_sample or num_beams");
  check(c.num_beams == 1 || c.guidance_scale.value_or(1) == 1, ErrorCode::Limit, kWhere,
        "guidance_scale cannot be used with num_beams > 1");
}

void check_scores(const GenerationConfig& c) {
  in_range("repetition_penalty", c.repetition_penalty, c.repetition_penalty > 0, "a number above 0");
  in_range("encoder_repetition_penalty", c.encoder_repetition_penalty, c.encoder_repetition_penalty > 0, "a number above 0");
  in_range("no_repeat_ngram_size", c.no_repeat_ngram_size, c.no_repeat_ngram_size >= 0, "0 (off) or more");
  in_range("encoder_no_repeat_ngram_size", c.encoder_no_repeat_ngram_size, c.encoder_no_repeat_ngram_size >= 0, "0 (off) or more");
  for (const auto& word : c.bad_words_ids)
    check(!word.empty(), ErrorCode::Limit, kWhere, "bad_words_ids: expected at least one id per word");
  for (const SequenceBias& b : c.sequence_bias)
    check(!b.tokens.empty(), ErrorCode::Limit, kWhere, "sequence_bias: expected at least one id per sequence");
  check(!c.exponential_decay_length_penalty || !c.eos_token_id.empty(), ErrorCode::Limit, kWhere,
        "exponential_decay_length_penalty needs an eos_token_id");
  const auto suppressed = [&](int64_t id) {
    return std::find(c.suppress_tokens.begin(), c.suppress_tokens.end(), id) != c.suppress_tokens.end();
  };
  check(!c.forced_bos_token_id || !suppressed(*c.forced_bos_token_id), ErrorCode::Limit, kWhere,
        "forced_bos_token_id is also in suppress_tokens");
  const auto& eos = c.forced_eos_token_id;
  check(eos.empty() || !std::all_of(eos.begin(), eos.end(), suppressed), ErrorCode::Limit, kWhere,
        "every token of forced_eos_token_id is also in suppress_tokens");
}

void check_speculation(const GenerationConfig& c) {
  if (c.prompt_lookup_num_tokens)
    in_range("prompt_lookup_num_tokens", *c.prompt_lookup_num_tokens, *c.prompt_lookup_num_tokens > 0, "at least 1");
  in_range("max_matching_ngram_size", c.max_matching_ngram_size, c.max_matching_ngram_size > 0, "at least 1");
  in_range("num_assistant_tokens", c.num_assistant_tokens, c.num_assistant_tokens > 0, "at least 1");
}

}  // namespace

void GenerationConfig::check() const {
  check_lengths(*this);
  check_sampling(*this);
  check_cache(*this);
  check_beams(*this);
  check_scores(*this);
  check_speculation(*this);
}

}  // namespace tenon
