// A small JSON value: what config readers and tokenizer.json readers see. Parsing is in src/core/json.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tenon/core/error.h"

namespace tenon {

/// One JSON value. Objects keep the order of the file; of keys written twice the last wins, as in Python.
/// Every typed access checks and throws Error(Type) naming the key path when the value is of another kind.
class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;

  Json() = default;
  Json(std::nullptr_t) {}
  Json(bool v) : value_(v) {}
  Json(int v) : value_(int64_t{v}) {}
  Json(int64_t v) : value_(v) {}
  Json(double v) : value_(v) {}
  Json(const char* v) : value_(std::string(v)) {}
  Json(std::string v) : value_(std::move(v)) {}
  Json(Array v) : value_(std::move(v)) {}
  Json(Object v) : value_(std::move(v)) {}

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_int() const { return std::holds_alternative<int64_t>(value_); }
  bool is_number() const { return is_int() || std::holds_alternative<double>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }

  /// The value as the named type. `what` names the value in the error message (a key, a file).
  /// Errors: Error(Type) if it is of another kind; as_int also takes a float that is whole (1e3).
  bool as_bool(std::string_view what = "value") const;
  int64_t as_int(std::string_view what = "value") const;
  double as_number(std::string_view what = "value") const;
  const std::string& as_string(std::string_view what = "value") const;
  const Array& as_array(std::string_view what = "value") const;
  const Object& as_object(std::string_view what = "value") const;
  Array& array() { return std::get<Array>(value_); }
  Object& object() { return std::get<Object>(value_); }

  /// The member `key` of an object, or nullptr if this is no object or has no such key.
  const Json* find(std::string_view key) const;
  /// find(), but null members count as absent: Hugging Face writes `null` for "not set".
  const Json* get(std::string_view key) const;
  bool has(std::string_view key) const { return get(key) != nullptr; }
  /// The member `key`. Errors: Error(Format) naming the key if it is absent.
  const Json& at(std::string_view key) const;
  /// Sets the member of an object (null becomes an object), replacing an earlier one.
  void set(std::string_view key, Json value);

  /// The member as a typed value, or `fallback` if it is absent or null. Errors: Error(Type) naming the key.
  bool value(std::string_view key, bool fallback) const;
  int64_t value(std::string_view key, int64_t fallback) const;
  int64_t value(std::string_view key, int fallback) const { return value(key, int64_t{fallback}); }
  double value(std::string_view key, double fallback) const;
  std::string value(std::string_view key, const char* fallback) const;

  /// Parses UTF-8 text. `where` names the source in messages.
  /// Errors: Error(Format) with the position for damaged text, nesting deeper than 512, or trailing content.
  static Json parse(std::string_view text, std::string_view where = "json");
  /// Reads and parses a file of at most 1 GiB. Errors: Error(File), Error(Format), Error(Limit).
  static Json parse_file(const std::string& path);
  /// Writes the value; indent < 0 gives one line. Non-ASCII characters are written as they are (UTF-8).
  std::string dump(int indent = -1) const;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

}  // namespace tenon
