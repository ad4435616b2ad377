// Templates to syntax trees.
#pragma once

#include <string_view>

#include "ast.h"

namespace tenon::text::jinja {

/// Errors: Error(Format) with the line, for what is no Jinja, for tags and filters that this library lacks, and for nesting that is too
/// deep.
Body parse(std::string_view source);

}  // namespace tenon::text::jinja
