// What an adapter_config.json says of a LoRA adapter: which layers, which rank, which scale.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tenon/core/json.h"

namespace tenon::models {

/// A choice of modules by name, as PEFT writes it: names or their endings, or one regular expression for whole names.
struct ModuleChoice {
  std::vector<std::string> endings;  // "q_proj" chooses "q_proj" and whatever ends with ".q_proj"
  std::string pattern;               // "" = none

  bool empty() const { return endings.empty() && pattern.empty(); }
  /// Errors: Error(Format) for a pattern that is no regular expression.
  bool holds(const std::string& module) const;
};

/// Fields and defaults are PEFT's LoraConfig.
struct LoraConfig {
  enum class Init : uint8_t { Kaiming, Gaussian, Random };  // True, "gaussian", False

  int64_t r = 8;
  double lora_alpha = 8, lora_dropout = 0;
  ModuleChoice target_modules, exclude_modules;
  bool all_linear = false;  // "all-linear": every Linear but the output layer
  std::vector<std::string> modules_to_save;
  std::vector<int64_t> layers_to_transform;  // empty = all
  std::vector<std::string> layers_pattern;
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  std::string bias = "none";  // or "all", "lora_only": which biases the adapter has of its own
  bool use_rslora = false;
  Init init_lora_weights = Init::Kaiming;
  std::string task_type;

  /// Errors: Error(Format) for another peft_type, for values out of range, and for parts of PEFT that change the arithmetic and are not
  /// known here (use_dora, ...), by name.
  /// Source: peft/tuners/lora/config.py.
  static LoraConfig from_json(const Json& json);

  /// Whether target_modules, exclude_modules and layers_to_transform choose this layer; all_linear is the caller's.
  /// Source: peft/tuners/tuners_utils.py, check_target_module_exists.
  bool targets(const std::string& module) const;
  /// Whether exclude_modules or layers_to_transform keep the adapter away from this layer.
  bool excludes(const std::string& module) const;
  int64_t rank_of(const std::string& module) const;
  /// alpha / r, or alpha / sqrt(r) with use_rslora.
  float scaling_of(const std::string& module) const;
};

/// The layers that PEFT adapts in a family where nothing is said; empty if it knows none.
std::vector<std::string> default_target_modules(const std::string& model_type);

}  // namespace tenon::models
