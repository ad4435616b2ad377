// Python's "..." % values.
#pragma once

#include <string>

#include "value.h"

namespace tenon::text::jinja {

/// %s %r %d %i %f %e %g %x %% with flags, width and precision. Errors: Error(Format) for others and for the wrong number of values.
std::string percent_format(const std::string& form, const List& values);

}  // namespace tenon::text::jinja
