// Checkpoints: parts of a model whose inner results are computed again for the gradient instead of kept.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "tenon/core/context.h"

namespace tenon::ops {

/// Whether parts are kept as checkpoints.
inline bool checkpointing(const Context& ctx) { return ctx.recorder() && ctx.training().checkpoint; }

/// part(ctx, inputs). With ctx.training().checkpoint and a recorder, only the inputs are kept until the gradient, which runs `part` again
/// with the same random numbers: memory for a third more computation. `part` gets every tensor through its inputs, but for parameters
/// and constants, and owns what else it captures.
/// Source: Chen et al. 2016, "Training deep nets with sublinear memory cost"; torch.utils.checkpoint.
inline std::vector<Tensor> checkpoint(Context& ctx, std::string_view name, std::vector<Tensor> inputs, Part part) {
  if (checkpointing(ctx)) return ctx.recorder()->checkpoint(ctx, name, std::move(inputs), std::move(part));
  return part(ctx, inputs);
}

}  // namespace tenon::ops
