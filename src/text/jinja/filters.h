// The filters, tests, methods and global functions of templates.
#pragma once

#include <string_view>

#include "value.h"

namespace tenon::text::jinja {

bool is_filter(std::string_view name);
bool is_test(std::string_view name);
/// Errors: Error(Format) for arguments that do not fit.
Value apply_filter(Interpreter& in, std::string_view name, const Value& value, const Arguments& args);
bool apply_test(Interpreter& in, std::string_view name, const Value& value, const Arguments& args);

/// A method of a string, list or dict, bound to it; undefined if there is none. Those that change a value are not there.
Value method(const Value& object, const std::string& name);

/// range, dict, namespace, raise_exception, joiner, cycler.
const Dict& global_functions();

std::string strip(std::string_view s, std::string_view chars, bool left, bool right);
std::string to_upper(std::string_view s);
/// Characters [begin, end) of valid text.
std::string substring(std::string_view s, size_t begin, size_t end);

}  // namespace tenon::text::jinja
