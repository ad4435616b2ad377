// Values of a template: kinds, comparison, and how they are written.
#include "value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "tenon/text/unicode.h"
#include "tenon/text/utf8.h"

namespace tenon::text::jinja {
namespace {

constexpr int kDeepest = 200;  // values from JSON are shallower than 512, those that templates build than their nesting

std::string quoted(const std::string& s) {
  const char quote = s.find('\'') != std::string::npos && s.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t i = 0; i < s.size(); i += char_length(s[i])) {
    const char32_t c = decode(s.data() + i);
    char hex[16];
    if (c == static_cast<unsigned char>(quote) || c == '\\')
      out += {'\\', static_cast<char>(c)};
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (c < 0x20 || (c >= 0x7F && c <= 0xA0) || c == 0xAD)
      std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned>(c)), out += hex;
    else
      append(out, c);
  }
  return out += quote;
}

void write_string(std::string& out, const std::string& s, bool ensure_ascii) {
  out += '"';
  for (size_t i = 0; i < s.size(); i += char_length(s[i])) {
    const char32_t c = decode(s.data() + i);
    char hex[16];
    const auto unit = [&](unsigned u) { std::snprintf(hex, sizeof hex, "\\u%04x", u), out += hex; };
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (c < 0x20 || (ensure_ascii && c >= 0x7F && c < 0x10000))
          unit(static_cast<unsigned>(c));
        else if (ensure_ascii && c >= 0x10000)
          unit(0xD800 + static_cast<unsigned>((c - 0x10000) >> 10)), unit(0xDC00 + static_cast<unsigned>(c & 0x3FF));
        else
          append(out, c);
    }
  }
  out += '"';
}

struct JsonWriter {
  bool ascii;
  int indent;
  const std::string &item, &key;
  bool sorted;
  std::string out;

  void line(int depth) {
    if (indent < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(indent) * static_cast<size_t>(depth), ' ');
  }
  void write(const Value& v, int depth) {
    if (depth > kDeepest) refuse("tojson: nested deeper than ", kDeepest);
    if (v.is_none())
      out += "null";
    else if (v.is<bool>())
      out += v.truth() ? "true" : "false";
    else if (v.is<int64_t>())
      out += std::to_string(v.integer());
    else if (v.is<double>()) {
      const double d = v.number();
      out += std::isnan(d) ? "NaN" : std::isinf(d) ? (d > 0 ? "Infinity" : "-Infinity") : float_repr(d);
    } else if (v.is_string())
      write_string(out, v.str(), ascii);
    else if (v.is_list()) {
      bool first = true;
      out += '[';
      for (const Value& x : v.items()) {
        if (!std::exchange(first, false)) out += item;
        line(depth + 1);
        write(x, depth + 1);
      }
      if (!first) line(depth);
      out += ']';
    } else if (v.is_dict()) {
      Dict items = v.dict().items;
      if (sorted) std::stable_sort(items.begin(), items.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
      bool first = true;
      out += '{';
      for (const auto& [name, x] : items) {
        if (!std::exchange(first, false)) out += item;
        line(depth + 1);
        write_string(out, name, ascii);
        out += key;
        write(x, depth + 1);
      }
      if (!first) line(depth);
      out += '}';
    } else {
      refuse("tojson: a value of type ", v.type(), " is no JSON");
    }
  }
};

std::string repr_of(const Value& v, int depth) {
  if (depth > kDeepest) refuse("a value nested deeper than ", kDeepest, " cannot be written");
  if (v.is_string()) return quoted(v.str());
  if (v.is_list()) {
    std::string out(1, v.is_tuple() ? '(' : '[');
    for (const Value& x : v.items()) out += (out.size() > 1 ? ", " : "") + repr_of(x, depth + 1);
    if (v.is_tuple() && v.items().size() == 1) out += ',';
    return out += v.is_tuple() ? ')' : ']';
  }
  if (v.is_dict()) {
    std::string out = "{";
    for (const auto& [key, x] : v.dict().items) out += (out.size() > 1 ? ", " : "") + quoted(key) + ": " + repr_of(x, depth + 1);
    return out += '}';
  }
  return v.is_undefined() ? "Undefined" : v.text();
}

}  // namespace

const Value* DictValue::find(std::string_view key) const {
  for (const auto& [name, value] : items)
    if (name == key) return &value;
  return nullptr;
}

void DictValue::set(std::string_view key, Value value) {
  for (auto& [name, old] : items)
    if (name == key) {
      old = std::move(value);
      return;
    }
  items.emplace_back(key, std::move(value));
}

Value Value::of(const Json& json) {
  if (json.is_null()) return None{};
  if (json.is_bool()) return json.as_bool();
  if (json.is_int()) return json.as_int();
  if (json.is_number()) return json.as_number();
  if (json.is_string()) return is_valid_utf8(json.as_string()) ? json.as_string() : repair_utf8(json.as_string());
  if (json.is_array()) {
    List items;
    for (const Json& x : json.as_array()) items.push_back(of(x));
    return list(std::move(items));
  }
  Dict items;
  for (const auto& [key, x] : json.as_object()) items.emplace_back(is_valid_utf8(key) ? key : repair_utf8(key), of(x));
  return dict(std::move(items));
}

const std::string& Value::str(std::string_view what) const {
  if (!is_string()) refuse(what, ": expected a string, got ", type());
  return std::get<std::string>(v_);
}

int64_t Value::integer(std::string_view what) const {
  if (is<bool>()) return std::get<bool>(v_);
  if (!is<int64_t>()) refuse(what, ": expected an integer, got ", type());
  return std::get<int64_t>(v_);
}

double Value::number(std::string_view what) const {
  if (is<double>()) return std::get<double>(v_);
  return static_cast<double>(integer(what));
}

const List& Value::items(std::string_view what) const {
  if (!is_list()) refuse(what, ": expected a list, got ", type());
  return std::get<std::shared_ptr<ListValue>>(v_)->items;
}

bool Value::truth() const {
  if (is<bool>()) return std::get<bool>(v_);
  if (is<int64_t>()) return std::get<int64_t>(v_) != 0;
  if (is<double>()) return std::get<double>(v_) != 0;
  if (is_string()) return !std::get<std::string>(v_).empty();
  if (is_list()) return !items().empty();
  if (is_dict()) return dict().namespace_like || !dict().items.empty();
  return is_function();
}

const char* Value::type() const {
  if (is_undefined()) return "undefined";
  if (is_none()) return "None";
  if (is<bool>()) return "bool";
  if (is<int64_t>()) return "int";
  if (is<double>()) return "float";
  if (is_string()) return "str";
  if (is_list()) return is_tuple() ? "tuple" : "list";
  return is_dict() ? "dict" : "function";
}

std::string Value::text() const {
  if (is_undefined()) return "";
  if (is_none()) return "None";
  if (is<bool>()) return truth() ? "True" : "False";
  if (is<int64_t>()) return std::to_string(integer());
  if (is<double>()) return float_repr(number());
  if (is_string()) return str();
  if (is_function()) return "<function " + function().name + ">";
  return repr_of(*this, 0);
}

std::string Value::repr() const { return repr_of(*this, 0); }

Value Arguments::get(size_t i, std::string_view name, Value fallback) const {
  if (i < positional.size()) return positional[i];
  for (const auto& [key, value] : named)
    if (key == name) return value;
  return fallback;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is<double>() || b.is<double>()) return a.number() == b.number();
    return a.integer() == b.integer();
  }
  if (a.is_string() && b.is_string()) return a.str() == b.str();
  if (a.is_list() && b.is_list() && a.is_tuple() == b.is_tuple())
    return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(), equal);
  if (a.is_dict() && b.is_dict()) {
    if (&a.dict() == &b.dict()) return true;
    if (a.dict().items.size() != b.dict().items.size()) return false;
    return std::all_of(a.dict().items.begin(), a.dict().items.end(), [&](const auto& item) {
      const Value* other = b.dict().find(item.first);
      return other && equal(item.second, *other);
    });
  }
  if (a.is_function() && b.is_function()) return &a.function() == &b.function();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

int compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is<double>() || b.is<double>()) return a.number() < b.number() ? -1 : a.number() > b.number();
    return a.integer() < b.integer() ? -1 : a.integer() > b.integer();
  }
  if (a.is_string() && b.is_string()) return a.str().compare(b.str());
  if (a.is_list() && b.is_list()) {
    for (size_t i = 0; i < a.items().size() && i < b.items().size(); ++i)
      if (!equal(a.items()[i], b.items()[i])) return compare(a.items()[i], b.items()[i]);
    return a.items().size() < b.items().size() ? -1 : a.items().size() > b.items().size();
  }
  refuse("a ", a.type(), " and a ", b.type(), " have no order");
}

bool contains(const Value& container, const Value& item) {
  if (container.is_string()) return container.str().find(item.str("in")) != std::string::npos;
  if (container.is_dict()) return item.is_string() && container.dict().find(item.str());
  if (container.is_undefined()) return false;
  const List& items = container.items("in");
  return std::any_of(items.begin(), items.end(), [&](const Value& x) { return equal(x, item); });
}

List iterate(const Value& v) {
  if (v.is_list()) return v.items();
  List items;
  if (v.is_undefined()) return items;
  if (v.is_dict() && !v.dict().namespace_like) {
    for (const auto& [key, _] : v.dict().items) items.emplace_back(key);
  } else if (v.is_string()) {
    const std::string& s = v.str();
    for (size_t i = 0; i < s.size(); i += char_length(s[i])) items.emplace_back(s.substr(i, char_length(s[i])));
  } else {
    refuse("a ", v.type(), " cannot be iterated over");
  }
  return items;
}

std::string float_repr(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto shortest = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::scientific);
  const std::string s(buffer, shortest.ptr);
  const int exponent = std::atoi(s.c_str() + s.find('e') + 1);
  if (exponent < -4 || exponent >= 16) return s;
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::fixed);
  std::string out(buffer, fixed.ptr);
  return out.find('.') == std::string::npos ? out + ".0" : out;
}

std::string to_json(const Value& v, bool ensure_ascii, int indent, const std::string& item_separator, const std::string& key_separator,
                    bool sort_keys) {
  JsonWriter writer{ensure_ascii, indent, item_separator, key_separator, sort_keys, {}};
  writer.write(v, 0);
  return std::move(writer.out);
}

}  // namespace tenon::text::jinja
