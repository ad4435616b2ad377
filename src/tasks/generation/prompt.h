// Prompts from a model's inputs.
#pragma once

#include "tenon/tasks/generation/generate.h"

namespace tenon::generation {

/// Rows of ids and masks as prompts; see generate(). Errors: Error(Shape), Error(Type), Error(Limit) for an empty one.
Prompt make_prompt(const Json& model_config, const models::Inputs& inputs, const GenerationConfig& config, const GenerateHooks& hooks);
/// Rows of ids without the positions that the mask (may be undefined) turns off.
std::vector<Ids> unpadded(const Tensor& ids, const Tensor& mask, const char* name);

}  // namespace tenon::generation
