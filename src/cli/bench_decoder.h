// The part of tenon bench that is for models that write text.
#pragma once

#include "tenon/models/registry.h"

namespace tenon::cli {

/// Prints the speed of a prompt, of the tokens after it, and the share of the memory's speed. seconds: a clock.
void bench_decoder(const models::Model& model, Context& ctx, int64_t prompt, double (*seconds)());

}  // namespace tenon::cli
