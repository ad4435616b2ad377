// The part of tenon bench that is for models that write text.
#pragma once

#include "cli/profile.h"
#include "tenon/models/registry.h"

namespace tenon::cli {

/// Prints the speed of a prompt, of the tokens after it, and the share of the memory's speed; with a profile, whose table ctx has, also
/// where their time goes. seconds: a clock. Returns the profile for --json.
Json bench_decoder(const models::Model& model, Context& ctx, int64_t prompt, double (*seconds)(), Profile* profile, const Limits& limits);

}  // namespace tenon::cli
