// Oniguruma's syntax (Ruby) in the words of PCRE2.
#pragma once

#include <string>
#include <string_view>

namespace tenon::text {

/// The pattern for PCRE2. `plain_scripts`: a property of a long name is taken to be a script.
/// Errors: Error(Format) for character classes that do not end or have empty parts.
std::string to_pcre2(std::string_view pattern, bool plain_scripts);

}  // namespace tenon::text
