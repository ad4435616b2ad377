// simdjson's view of a file, for the large files whose vocabularies should not become Json values first.
#pragma once

#include <simdjson.h>

#include <string>
#include <string_view>

#include "tenon/core/json.h"

namespace tenon::text {

/// Reads a whole file of at most 1 GiB. Errors: Error(File), Error(Limit).
std::string read_file(const std::string& path);
bool file_exists(const std::string& path);
/// Writes under a temporary name, then renames. Errors: Error(File).
void write_file(const std::string& path, std::string_view text);

/// Parses JSON; the element lives as long as the parser. Errors: Error(Format) naming `where`.
simdjson::dom::element parse_dom(simdjson::dom::parser& parser, std::string_view json, std::string_view where);

/// The element as a Json value. Errors: Error(Format) if it is nested deeper than stages can be.
Json dom_value(simdjson::dom::element element, int depth = 0);

}  // namespace tenon::text
