// Options and hooks of generation from Python, for generate() and the engine.
#pragma once

#include "bindings.h"
#include "tenon/tasks/generation/generate.h"

namespace tenon::python {

/// Errors: as GenerationConfig::update().
GenerationConfig config_of(const py::handle& options);
/// The members of GenerateHooks by name. The functions take the interpreter's lock when they are called.
GenerateHooks hooks_of(const py::dict& given);

}  // namespace tenon::python
