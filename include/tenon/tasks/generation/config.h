// What generate() is told: Transformers' options under Transformers' names, from generation_config.json and from the caller.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tenon/core/json.h"
#include "tenon/core/kernels.h"

namespace tenon {

/// When a beam search ends: once num_beams answers are there (Yes), once no better one is likely (No), or is possible (Never).
enum class EarlyStopping : uint8_t { No, Yes, Never };

/// From `start` tokens after the prompt on, the end becomes likelier by the power of `factor`.
struct ExponentialDecay {
  int64_t start = 0;
  double factor = 1;
};

/// `bias` is added to the score of the last of `tokens` wherever those before it have just been written.
struct SequenceBias {
  std::vector<int64_t> tokens;
  float bias = 0;
};

/// Members have Transformers' names, defaults and meanings.
/// Source: GenerationConfig of Transformers 5.24.
struct GenerationConfig {
  // How long
  std::optional<int64_t> max_length = {};      // prompt and answer; for an encoder-decoder the answer. Unset: 20 new tokens
  std::optional<int64_t> max_new_tokens = {};  // goes before max_length
  int64_t min_length = 0;
  std::optional<int64_t> min_new_tokens = {};
  EarlyStopping early_stopping = EarlyStopping::No;
  std::optional<double> max_time = {};         // seconds
  std::vector<std::string> stop_strings = {};  // need a tokenizer
  // How the next token is chosen
  bool do_sample = false;
  int64_t num_beams = 1;
  int64_t num_return_sequences = 1;
  double length_penalty = 1;  // beams: scores are divided by length to this power
  // What sampling leaves to choose from
  double temperature = 1;
  int64_t top_k = 50;  // 0: all
  double top_p = 1;
  std::optional<double> min_p = {}, top_h = {};
  double typical_p = 1, epsilon_cutoff = 0, eta_cutoff = 0;
  // What changes scores
  double repetition_penalty = 1, encoder_repetition_penalty = 1;
  int64_t no_repeat_ngram_size = 0, encoder_no_repeat_ngram_size = 0;
  std::vector<std::vector<int64_t>> bad_words_ids = {};
  std::vector<SequenceBias> sequence_bias = {};
  std::vector<int64_t> suppress_tokens = {}, begin_suppress_tokens = {};
  std::optional<int64_t> forced_bos_token_id = {};
  std::vector<int64_t> forced_eos_token_id = {};
  std::optional<ExponentialDecay> exponential_decay_length_penalty = {};
  std::optional<double> guidance_scale = {};
  bool remove_invalid_values = false, renormalize_logits = false;
  // What is returned
  bool output_scores = false, output_logits = false;
  // Tokens with a role; several may end an answer
  std::optional<int64_t> pad_token_id = {}, bos_token_id = {}, decoder_start_token_id = {};
  std::vector<int64_t> eos_token_id = {};
  // How the past is kept: "quantized" keeps keys and values as kv_cache_dtype says or else as int8 (other implementations of Transformers
  // are all one here)
  std::string cache_implementation = {};  // dynamic, static, sliding_window, hybrid, offloaded, offloaded_static, quantized, ...
  std::string kv_cache_dtype = {};        // auto, int8 or fp8 (e4m3)
  // Speculation
  std::optional<int64_t> prompt_lookup_num_tokens = {};
  bool use_mtp = false;  // draft with the block for multi-token prediction, if the model's checkpoint has one
  int64_t max_matching_ngram_size = 2;
  int64_t num_assistant_tokens = 20;
  double assistant_confidence_threshold = 0.4;  // the draft ends before a token less likely than this; 0: never

  /// Calls f(name, member) for each option, the name being its key in generation_config.json.
  template <class F>
  void visit(F&& f) {
    f("max_length", max_length), f("max_new_tokens", max_new_tokens), f("min_length", min_length), f("min_new_tokens", min_new_tokens);
    f("early_stopping", early_stopping), f("max_time", max_time), f("stop_strings", stop_strings), f("do_sample", do_sample);
    f("num_beams", num_beams), f("num_return_sequences", num_return_sequences), f("length_penalty", length_penalty);
    f("temperature", temperature), f("top_k", top_k), f("top_p", top_p), f("min_p", min_p), f("top_h", top_h), f("typical_p", typical_p);
    f("epsilon_cutoff", epsilon_cutoff), f("eta_cutoff", eta_cutoff), f("repetition_penalty", repetition_penalty);
    f("encoder_repetition_penalty", encoder_repetition_penalty), f("no_repeat_ngram_size", no_repeat_ngram_size);
    f("encoder_no_repeat_ngram_size", encoder_no_repeat_ngram_size), f("bad_words_ids", bad_words_ids);
    f("sequence_bias", sequence_bias), f("suppress_tokens", suppress_tokens), f("begin_suppress_tokens", begin_suppress_tokens);
    f("forced_bos_token_id", forced_bos_token_id), f("forced_eos_token_id", forced_eos_token_id);
    f("exponential_decay_length_penalty", exponential_decay_length_penalty), f("guidance_scale", guidance_scale);
    f("remove_invalid_values", remove_invalid_values), f("renormalize_logits", renormalize_logits);
    f("output_scores", output_scores), f("output_logits", output_logits), f("pad_token_id", pad_token_id);
    f("bos_token_id", bos_token_id), f("decoder_start_token_id", decoder_start_token_id), f("eos_token_id", eos_token_id);
    f("cache_implementation", cache_implementation), f("kv_cache_dtype", kv_cache_dtype);
    f("prompt_lookup_num_tokens", prompt_lookup_num_tokens), f("use_mtp", use_mtp), f("max_matching_ngram_size", max_matching_ngram_size);
    f("num_assistant_tokens", num_assistant_tokens), f("assistant_confidence_threshold", assistant_confidence_threshold);
  }

  /// Takes over the members of an object; null turns an option off. Options that only steer how Transformers computes (use_cache,
  /// cache_implementation, ...) are accepted and have no effect.
  /// Errors: Error(Type) naming the key for a value of another kind; Error(Limit) for an unknown key, or for an option of Transformers
  /// that this library lacks (num_beam_groups, penalty_alpha, ...) with a value that would change the answer.
  GenerationConfig& update(const Json& options);
  /// What a checkpoint says: its generation_config.json, or, where it has none, the same keys of its config.json; tokens with a role
  /// come from config.json where generation_config.json lacks them. Unknown keys have no effect.
  /// Errors: as io::read_config(); Error(Type) naming the key.
  static GenerationConfig from_pretrained(const std::string& folder);
  static GenerationConfig from_json(const Json& model_config, const Json& generation_config);

  CacheCodes cache_codes() const {
    if (kv_cache_dtype == "fp8") return CacheCodes::Fp8;
    return cache_implementation == "quantized" || kv_cache_dtype == "int8" ? CacheCodes::Int8 : CacheCodes::None;
  }
  /// Errors: Error(Limit) naming the option that is outside its range, or the two that contradict each other.
  void check() const;
};

}  // namespace tenon
