// Reading adapter_config.json, and which modules it means.
#include "tenon/models/lora_config.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "tenon/io/files.h"
#include "tenon/text/regex.h"

namespace tenon::models {
namespace {

using io::Printable;

bool ends_with(const std::string& s, const std::string& end) {
  return s.size() >= end.size() && s.compare(s.size() - end.size(), end.size(), end) == 0;
}

/// Whether the pattern matches the whole text, as Python's re.fullmatch.
bool matches_whole(const std::string& pattern, const std::string& text) {
  const text::Regex regex("\\A(?:" + pattern + ")\\z");
  text::Regex::Matcher matcher(regex);
  size_t begin = 0, end = 0;
  return matcher.find(text, 0, begin, end);
}

std::vector<std::string> names_of(const Json* json, const char* key) {
  std::vector<std::string> names;
  if (!json) return names;
  if (json->is_string()) return {json->as_string(key)};
  for (const Json& name : json->as_array(key)) names.push_back(name.as_string(key));
  return names;
}

ModuleChoice choice_of(const Json* json, const char* key) {
  ModuleChoice choice;
  if (json && json->is_string())
    choice.pattern = json->as_string(key);
  else
    choice.endings = names_of(json, key);
  return choice;
}

/// Whether a field is set to something else than null, false, 0 or nothing.
bool is_set(const Json& json, const char* key) {
  const Json* v = json.get(key);
  if (!v || (v->is_bool() && !v->as_bool()) || (v->is_number() && v->as_number() == 0)) return false;
  return !(v->is_array() && v->as_array().empty()) && !(v->is_object() && v->as_object().empty()) &&
         !(v->is_string() && v->as_string().empty());
}

LoraConfig::Init init_of(const Json* json) {
  if (!json || (json->is_bool() && json->as_bool())) return LoraConfig::Init::Kaiming;
  if (json->is_bool()) return LoraConfig::Init::Random;
  const std::string& name = json->as_string("init_lora_weights");
  if (name == "gaussian") return LoraConfig::Init::Gaussian;
  // These give the factors another start and leave the weights as they are: no matter once the factors are read from a file.
  if (name == "eva" || name == "orthogonal") return LoraConfig::Init::Kaiming;
  fail(ErrorCode::Format, "adapter", "init_lora_weights: expected true, false or \"gaussian\", got ", Printable{name},
       " (others change the base model's weights)");
}

/// The layer's number: the first one that stands alone behind one of the names, or behind any name but the first. -1: none.
int64_t layer_of(const std::string& module, const std::vector<std::string>& names) {
  for (size_t dot = module.find('.'); dot != std::string::npos; dot = module.find('.', dot + 1)) {
    const size_t end = module.find('.', dot + 1), before = dot == 0 ? std::string::npos : module.rfind('.', dot - 1);
    if (end == std::string::npos) break;
    if (end == dot + 1 || end - dot > 10 || module.find_first_not_of("0123456789", dot + 1) != end) continue;
    const size_t begin = before == std::string::npos ? 0 : before + 1;
    const bool named = std::find(names.begin(), names.end(), module.substr(begin, dot - begin)) != names.end();
    if (names.empty() ? before != std::string::npos : named) return std::stoll(module.substr(dot + 1, end - dot - 1));
  }
  return -1;
}

template <class T>
const T* pattern_value(const std::vector<std::pair<std::string, T>>& patterns, const std::string& module) {
  for (const auto& [pattern, value] : patterns)
    if (matches_whole("(?:.*\\.)?(?:" + pattern + ")", module)) return &value;
  return nullptr;
}

}  // namespace

bool ModuleChoice::holds(const std::string& module) const {
  if (!pattern.empty()) return matches_whole(pattern, module);
  return std::any_of(endings.begin(), endings.end(), [&](const std::string& e) { return module == e || ends_with(module, "." + e); });
}

LoraConfig LoraConfig::from_json(const Json& json) {
  const std::string type = json.value("peft_type", "LORA");
  check(type == "LORA", ErrorCode::Format, "adapter", "peft_type: expected \"LORA\", got ", Printable{type});
  for (const char* key : {"use_dora", "use_qalora", "use_bdlora", "alora_invocation_tokens", "trainable_token_indices", "layer_replication",
                          "lora_bias", "arrow_config", "kasa_config", "velora_config", "monteclora_config"})
    check(!is_set(json, key), ErrorCode::Format, "adapter", key, " is not supported");
  LoraConfig c;
  c.r = json.value("r", c.r);
  c.lora_alpha = json.value("lora_alpha", c.lora_alpha);
  c.lora_dropout = json.value("lora_dropout", c.lora_dropout);
  check(c.r > 0 && c.r <= 1 << 20, ErrorCode::Format, "adapter", "r: expected a positive rank, got ", c.r);
  check(c.lora_dropout >= 0 && c.lora_dropout <= 1, ErrorCode::Format, "adapter", "lora_dropout: expected 0 to 1, got ", c.lora_dropout);
  check(std::isfinite(c.lora_alpha), ErrorCode::Format, "adapter", "lora_alpha: expected a number, got ", c.lora_alpha);
  c.target_modules = choice_of(json.get("target_modules"), "target_modules");
  std::string lower = c.target_modules.pattern;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char ch) { return static_cast<char>(std::tolower(ch)); });
  c.all_linear = lower == "all-linear";
  if (c.all_linear) c.target_modules.pattern.clear();
  c.exclude_modules = choice_of(json.get("exclude_modules"), "exclude_modules");
  c.modules_to_save = names_of(json.get("modules_to_save"), "modules_to_save");
  if (const Json* layers = json.get("layers_to_transform")) {
    if (layers->is_int())
      c.layers_to_transform = {layers->as_int()};
    else
      for (const Json& i : layers->as_array("layers_to_transform")) c.layers_to_transform.push_back(i.as_int("layers_to_transform"));
  }
  c.layers_pattern = names_of(json.get("layers_pattern"), "layers_pattern");
  if (const Json* ranks = json.get("rank_pattern"))
    for (const auto& [pattern, rank] : ranks->as_object("rank_pattern")) {
      c.rank_pattern.emplace_back(pattern, rank.as_int("rank_pattern"));
      check(c.rank_pattern.back().second > 0 && c.rank_pattern.back().second <= 1 << 20, ErrorCode::Format, "adapter",
            "rank_pattern: expected positive ranks, got ", c.rank_pattern.back().second);
    }
  if (const Json* alphas = json.get("alpha_pattern"))
    for (const auto& [pattern, alpha] : alphas->as_object("alpha_pattern"))
      c.alpha_pattern.emplace_back(pattern, alpha.as_number("alpha_pattern"));
  c.bias = json.value("bias", "none");
  check(c.bias == "none" || c.bias == "all" || c.bias == "lora_only", ErrorCode::Format, "adapter",
        "bias: expected \"none\", \"all\" or \"lora_only\", got ", Printable{c.bias});
  c.use_rslora = json.value("use_rslora", false);
  c.init_lora_weights = init_of(json.get("init_lora_weights"));
  c.task_type = json.value("task_type", "");
  return c;
}

bool LoraConfig::excludes(const std::string& module) const {
  if (!exclude_modules.empty() && exclude_modules.holds(module)) return true;
  if (layers_to_transform.empty()) return false;
  return std::find(layers_to_transform.begin(), layers_to_transform.end(), layer_of(module, layers_pattern)) == layers_to_transform.end();
}

bool LoraConfig::targets(const std::string& module) const {
  if (!exclude_modules.empty() && exclude_modules.holds(module)) return false;
  // A pattern or a whole name says all; layers_to_transform is for endings.
  if (!target_modules.pattern.empty()) return target_modules.holds(module);
  if (std::find(target_modules.endings.begin(), target_modules.endings.end(), module) != target_modules.endings.end()) return true;
  return target_modules.holds(module) && !excludes(module);
}

int64_t LoraConfig::rank_of(const std::string& module) const {
  const int64_t* rank = pattern_value(rank_pattern, module);
  return rank ? *rank : r;
}

float LoraConfig::scaling_of(const std::string& module) const {
  const double* alpha = pattern_value(alpha_pattern, module);
  const auto rank = static_cast<double>(rank_of(module));
  return static_cast<float>((alpha ? *alpha : lora_alpha) / (use_rslora ? std::sqrt(rank) : rank));
}

std::vector<std::string> default_target_modules(const std::string& model_type) {
  const auto is = [&](std::initializer_list<const char*> types) {
    return std::any_of(types.begin(), types.end(), [&](const char* t) { return model_type == t; });
  };
  if (is({"t5", "mt5"})) return {"q", "v"};
  if (is({"gpt2"})) return {"c_attn"};
  if (is({"bert", "roberta", "xlm-roberta"})) return {"query", "value"};
  if (is({"distilbert"})) return {"q_lin", "v_lin"};
  if (is({"llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "olmoe", "marian", "m2m_100", "clip"}))
    return {"q_proj", "v_proj"};
  return {};
}

}  // namespace tenon::models
