// GenerationConfig: reading options from JSON.
#include "tenon/tasks/generation/config.h"

#include <algorithm>

#include "tenon/io/checkpoint.h"
#include "tenon/io/files.h"

namespace tenon {
namespace {

constexpr const char* kWhere = "generation_config";

// Options of Transformers that change how it computes, what it records or what it warns of, never the answer.
constexpr const char* kWithoutEffect[] = {"use_cache",
                                          "cache_config",
                                          "max_cache_len",
                                          "prefill_chunk_size",
                                          "compile_config",
                                          "disable_compile",
                                          "return_dict_in_generate",
                                          "output_attentions",
                                          "output_hidden_states",
                                          "is_assistant",
                                          "num_assistant_tokens_schedule",
                                          "assistant_lookbehind",
                                          "target_lookbehind",
                                          "transformers_version",
                                          "_from_model_config",
                                          "_commit_hash",
                                          "continuous_batching_config",
                                          "speculation_type"};

// Options of Transformers that this library lacks, with the value that turns them off besides null and false.
constexpr std::pair<const char*, double> kLacking[] = {
    {"num_beam_groups", 1}, {"diversity_penalty", 0}, {"penalty_alpha", 0},        {"dola_layers", 0},
    {"constraints", 0},     {"force_words_ids", 0},   {"token_healing", 0},        {"watermarking_config", 0},
    {"low_memory", 0},      {"assistant_early_exit", 0}, {"assistant_ensemble_weight", 0}};

void read(const std::string& key, const Json& v, bool& to) { to = v.as_bool(key); }
void read(const std::string& key, const Json& v, int64_t& to) { to = v.as_int(key); }
void read(const std::string& key, const Json& v, double& to) { to = v.as_number(key); }
void read(const std::string& key, const Json& v, std::optional<int64_t>& to) { to = v.as_int(key); }
void read(const std::string& key, const Json& v, std::optional<double>& to) { to = v.as_number(key); }

void read(const std::string& key, const Json& v, std::string& to) { to = v.as_string(key); }

void read(const std::string& key, const Json& v, std::vector<int64_t>& to) {
  to.clear();
  if (!v.is_array()) return to.push_back(v.as_int(key));
  for (const Json& id : v.as_array()) to.push_back(id.as_int(key));
}

void read(const std::string& key, const Json& v, std::vector<std::string>& to) {
  to.clear();
  if (v.is_string()) return to.push_back(v.as_string());
  for (const Json& s : v.as_array(key)) to.push_back(s.as_string(key));
}

void read(const std::string& key, const Json& v, std::vector<std::vector<int64_t>>& to) {
  to.clear();
  for (const Json& list : v.as_array(key)) {
    list.as_array(key);
    read(key, list, to.emplace_back());
  }
}

void read(const std::string& key, const Json& v, std::vector<SequenceBias>& to) {
  to.clear();
  for (const Json& pair : v.as_array(key)) {
    const Json::Array& parts = pair.as_array(key);
    check(parts.size() == 2, ErrorCode::Limit, kWhere, key, ": expected pairs of token ids and a bias, got ", parts.size(), " values");
    SequenceBias& bias = to.emplace_back();
    read(key, parts[0], bias.tokens);
    bias.bias = static_cast<float>(parts[1].as_number(key));
  }
}

void read(const std::string& key, const Json& v, EarlyStopping& to) {
  if (v.is_bool()) {
    to = v.as_bool() ? EarlyStopping::Yes : EarlyStopping::No;
    return;
  }
  check(v.is_string() && v.as_string() == "never", ErrorCode::Limit, kWhere, key, ": expected true, false or \"never\", got ", v.dump());
  to = EarlyStopping::Never;
}

void read(const std::string& key, const Json& v, std::optional<ExponentialDecay>& to) {
  const Json::Array& parts = v.as_array(key);
  check(parts.size() == 2, ErrorCode::Limit, kWhere, key, ": expected [start, factor], got ", parts.size(), " values");
  to = ExponentialDecay{parts[0].as_int(key), parts[1].as_number(key)};
}

/// Sets the option `key`; false if there is none.
bool set(GenerationConfig& config, const std::string& key, const Json& value) {
  bool known = false;
  GenerationConfig defaults;
  config.visit([&](const char* name, auto& member) {
    if (key != name) return;
    known = true;
    if (!value.is_null()) return read(key, value, member);
    defaults.visit([&](const char* other, auto& fallback) {
      if constexpr (std::is_same_v<decltype(fallback), decltype(member)>)
        if (key == other) member = fallback;
    });
  });
  if (key == "top_k" && value.is_null()) config.top_k = 0;
  return known;
}

bool is_off(const Json& value, double off) {
  if (value.is_null() || (value.is_bool() && !value.as_bool())) return true;
  return value.is_number() && value.as_number() == off;
}

/// The keys that concern generation, all others being left alone.
void take(GenerationConfig& config, const Json& from) {
  if (!from.is_object()) return;
  for (const auto& [key, value] : from.as_object())
    if (!value.is_null()) set(config, key, value);
}

}  // namespace

GenerationConfig& GenerationConfig::update(const Json& options) {
  for (const auto& [key, value] : options.as_object(kWhere)) {
    if (set(*this, key, value)) continue;
    const auto same = [&key = key](const char* name) { return key == name; };
    if (std::any_of(std::begin(kWithoutEffect), std::end(kWithoutEffect), same)) continue;
    const auto lacking = std::find_if(std::begin(kLacking), std::end(kLacking), [&](const auto& l) { return same(l.first); });
    if (lacking != std::end(kLacking)) {
      tenon::check(is_off(value, lacking->second), ErrorCode::Limit, kWhere, key, " is not supported, got ", value.dump());
      continue;
    }
    std::string known;
    visit([&](const char* name, auto&) { known += std::string(known.empty() ? "" : ", ") + name; });
    fail(ErrorCode::Limit, kWhere, "unknown option \"", key, "\"; known are ", known);
  }
  return *this;
}

GenerationConfig GenerationConfig::from_json(const Json& model_config, const Json& generation_config) {
  GenerationConfig config;
  const Json* text = model_config.get("text_config");
  const Json& base = text && text->is_object() ? *text : model_config;
  if (!generation_config.is_object()) {
    take(config, base);
    return config;
  }
  for (const char* role : {"bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"})
    if (const Json* id = base.get(role)) set(config, role, *id);
  take(config, generation_config);
  return config;
}

GenerationConfig GenerationConfig::from_pretrained(const std::string& folder) {
  const Json model_config = io::read_config(folder);
  const std::string path = io::join_path(folder, "generation_config.json");
  return from_json(model_config, io::is_file(path) ? Json::parse_file(path) : Json());
}

}  // namespace tenon
