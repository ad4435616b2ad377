// Values of a template: Python's as far as chat templates see them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tenon/core/error.h"
#include "tenon/core/json.h"

namespace tenon::text::jinja {

class Interpreter;
class Value;
struct Arguments;

/// What a template cannot do or must not do. Errors: Error(Format).
template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  fail(ErrorCode::Format, "chat template", parts...);
}

using List = std::vector<Value>;
using Dict = std::vector<std::pair<std::string, Value>>;
using Callable = std::function<Value(Interpreter&, const Arguments&)>;

struct Undefined {
  std::string name;
};
struct None {};
struct ListValue {
  List items;
  bool tuple = false;
};
struct DictValue {
  Dict items;
  bool namespace_like = false;
  const Value* find(std::string_view key) const;
  void set(std::string_view key, Value value);
};
struct Function {
  Callable call;
  std::string name;
};

/// Lists and dicts are shared, as Python's references are; nothing but a namespace ever changes.
class Value {
 public:
  using Variant = std::variant<Undefined, None, bool, int64_t, double, std::string, std::shared_ptr<ListValue>, std::shared_ptr<DictValue>,
                               std::shared_ptr<Function>>;

  Value() : v_(Undefined{}) {}
  Value(Undefined u) : v_(std::move(u)) {}
  Value(None) : v_(None{}) {}
  Value(bool b) : v_(b) {}
  Value(int64_t i) : v_(i) {}
  Value(double d) : v_(d) {}
  Value(std::string s) : v_(std::move(s)) {}
  Value(const char* s) : v_(std::string(s)) {}
  Value(std::shared_ptr<DictValue> d) : v_(std::move(d)) {}
  static Value list(List items, bool tuple = false) {
    return Value(Variant(std::make_shared<ListValue>(ListValue{std::move(items), tuple})));
  }
  static Value dict(Dict items) { return Value(Variant(std::make_shared<DictValue>(DictValue{std::move(items), false}))); }
  static Value function(std::string name, Callable call) {
    return Value(Variant(std::make_shared<Function>(Function{std::move(call), std::move(name)})));
  }
  static Value of(const Json& json);

  template <class T>
  bool is() const {
    return std::holds_alternative<T>(v_);
  }
  bool is_undefined() const { return is<Undefined>(); }
  bool is_none() const { return is<None>(); }
  bool is_string() const { return is<std::string>(); }
  bool is_number() const { return is<int64_t>() || is<double>() || is<bool>(); }
  bool is_list() const { return is<std::shared_ptr<ListValue>>(); }
  bool is_dict() const { return is<std::shared_ptr<DictValue>>(); }
  bool is_function() const { return is<std::shared_ptr<Function>>(); }

  /// Errors: Error(Format) if the value is of another kind.
  const std::string& str(std::string_view what = "value") const;
  int64_t integer(std::string_view what = "value") const;  // bool counts
  double number(std::string_view what = "value") const;
  const List& items(std::string_view what = "value") const;
  bool is_tuple() const { return is_list() && std::get<std::shared_ptr<ListValue>>(v_)->tuple; }
  DictValue& dict() const { return *std::get<std::shared_ptr<DictValue>>(v_); }
  const Function& function() const { return *std::get<std::shared_ptr<Function>>(v_); }

  bool truth() const;
  /// Python's name of the type.
  const char* type() const;
  /// str(value); an undefined one is empty.
  std::string text() const;
  /// repr(value).
  std::string repr() const;

 private:
  explicit Value(Variant v) : v_(std::move(v)) {}
  Variant v_;
};

struct Arguments {
  std::vector<Value> positional;
  Dict named;

  /// Argument i, or the one of that name, or the fallback.
  Value get(size_t i, std::string_view name, Value fallback = None{}) const;
  size_t count() const { return positional.size() + named.size(); }
};

bool equal(const Value& a, const Value& b);
/// Below 0, 0 or above 0. Errors: Error(Format) for kinds that Python does not order.
int compare(const Value& a, const Value& b);
/// Errors: Error(Format) for what cannot be searched.
bool contains(const Value& container, const Value& item);
/// What a for loop goes through: items, keys, or characters. Errors: Error(Format) for what is not iterable.
List iterate(const Value& v);
std::string float_repr(double d);
/// json.dumps as Transformers calls it. indent below 0: one line.
std::string to_json(const Value& v, bool ensure_ascii, int indent, const std::string& item_separator, const std::string& key_separator,
                    bool sort_keys);

}  // namespace tenon::text::jinja
