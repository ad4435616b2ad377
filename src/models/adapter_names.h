// How adapters name what they keep of a model.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tenon/io/safetensors.h"
#include "tenon/models/lora_config.h"
#include "tenon/nn/linear.h"

namespace tenon::models {

/// The module of modules_to_save that holds a parameter, or "": the shortest part of its path that ends with one of the names, as PEFT
/// compares them ("classifier" also means "pre_classifier").
inline std::string saved_module(const LoraConfig& config, const std::string& parameter) {
  for (size_t dot = parameter.find('.'); dot != std::string::npos; dot = parameter.find('.', dot + 1)) {
    const std::string module = parameter.substr(0, dot);
    for (const std::string& name : config.modules_to_save)
      if (!name.empty() && module.ends_with(name)) return module;
  }
  return "";
}

/// Transformers 5 keeps the experts of a layer in one tensor, and PEFT's adapters of it in one pair of factors. This gives every expert's
/// layer factors of its own and the config their names; other tensors stay, under the names that the model's layers have.
/// `layer` finds a layer by name, or nullptr. Errors: Error(Format).
void split_experts(Json& config, std::vector<io::NamedTensor>& tensors, const std::vector<std::string>& layers,
                   const std::function<const nn::Linear*(const std::string&)>& layer);
/// The way back, for adapters whose ranks say that they came from one tensor; others stay as they are.
void join_experts(Json& config, std::vector<io::NamedTensor>& tensors, const std::vector<std::string>& layers,
                  const std::function<const nn::Linear*(const std::string&)>& layer);

}  // namespace tenon::models
