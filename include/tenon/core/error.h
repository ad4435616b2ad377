// The one exception type of the library; every failure that a caller can cause or meet becomes one of these.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tenon {

/// What kind of thing went wrong; Python maps each code to a built-in exception (named on the right).
enum class ErrorCode {
  Shape,   // ValueError: sizes do not fit together
  Type,    // TypeError: wrong dtype, wrong JSON type, wrong kind of argument
  Device,  // RuntimeError: no such device, or no kernel there
  File,    // FileNotFoundError: cannot be opened, read or written
  Format,  // ValueError: the content is damaged or of an unknown kind
  Memory,  // MemoryError: an allocation failed or would exceed a limit
  Limit,   // ValueError: a value outside its range (a token id, a length, an option)
};

/// Thrown for every error. The message reads `[where] what: expected ..., got ...`.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

/// Throws Error(code) with the message `[where] ` followed by the parts written one after another.
template <class... Parts>
[[noreturn]] void fail(ErrorCode code, std::string_view where, const Parts&... parts) {
  std::ostringstream message;
  message << '[' << where << "] ";
  (message << ... << parts);
  throw Error(code, message.str());
}

/// Throws as fail() does unless `holds`; the parts are only formatted on failure.
template <class... Parts>
void check(bool holds, ErrorCode code, std::string_view where, const Parts&... parts) {
  if (!holds) [[unlikely]]
    fail(code, where, parts...);
}

}  // namespace tenon
