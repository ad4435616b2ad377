// JSON text to values (through simdjson) and back.
#include "tenon/core/json.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace tenon {
namespace {

constexpr size_t kMaxDepth = 512;
constexpr uintmax_t kMaxFileBytes = uintmax_t{1} << 30;

std::string_view kind_of(const Json& v) {
  if (v.is_null()) return "null";
  if (v.is_bool()) return "a boolean";
  if (v.is_number()) return "a number";
  if (v.is_string()) return "a string";
  if (v.is_array()) return "an array";
  return "an object";
}

[[noreturn]] void wrong_kind(std::string_view what, std::string_view expected, const Json& got) {
  fail(ErrorCode::Type, "json", what, ": expected ", expected, ", got ", kind_of(got));
}

Json convert(simdjson::dom::element e) {
  using simdjson::dom::element_type;
  switch (e.type()) {
    case element_type::BOOL: return Json(bool(e));
    case element_type::INT64: return Json(int64_t(e));
    case element_type::UINT64: return Json(static_cast<double>(uint64_t(e)));
    case element_type::DOUBLE: return Json(double(e));
    case element_type::STRING: return Json(std::string(std::string_view(e)));
    case element_type::ARRAY: {
      Json::Array out;
      const simdjson::dom::array array = e;
      out.reserve(array.size());
      for (simdjson::dom::element x : array) out.push_back(convert(x));
      return Json(std::move(out));
    }
    case element_type::OBJECT: {
      Json::Object out;
      const simdjson::dom::object object = e;
      out.reserve(object.size());
      for (auto [key, x] : object) out.emplace_back(std::string(key), convert(x));
      return Json(std::move(out));
    }
    default: return Json();
  }
}

// Integers of more than 18 digits become floats: tokenizers write 1000000000000000019884624838656 for "no limit".
std::string widen_integers(std::string_view text) {
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    out += c;
    if (in_string) {
      if (c == '\\' && i + 1 < text.size()) out += text[++i];
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c < '0' || c > '9') continue;
    const size_t end = std::min(text.find_first_not_of("0123456789.eE+-", i), text.size());
    const std::string_view number = text.substr(i, end - i);
    out += number.substr(1);
    if (number.size() > 18 && number.find_first_not_of("0123456789") == std::string_view::npos) out += ".0";
    i = end - 1;
  }
  return out;
}

void write_string(std::string& out, std::string_view s) {
  out += '"';
  for (const char c : s) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          char buffer[8];
          std::snprintf(buffer, sizeof(buffer), "\\u%04x", c);
          out += buffer;
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

void write_number(std::string& out, double v) {
  if (!std::isfinite(v)) {  // as Python's json writes them
    out += std::isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity";
    return;
  }
  char buffer[32];
  for (int digits = 6; digits <= 17; ++digits) {  // the shortest text that reads back equal
    std::snprintf(buffer, sizeof(buffer), "%.*g", digits, v);
    if (std::strtod(buffer, nullptr) == v) break;
  }
  out += buffer;
  if (out.find_first_of(".eE", out.size() - std::string_view(buffer).size()) == std::string::npos) out += ".0";
}

void write(std::string& out, const Json& v, int indent, int depth) {
  const auto line = [&](int d) {
    if (indent >= 0) out += '\n', out.append(static_cast<size_t>(indent * d), ' ');
  };
  if (v.is_null()) out += "null";
  else if (v.is_bool()) out += v.as_bool() ? "true" : "false";
  else if (v.is_int()) out += std::to_string(v.as_int());
  else if (v.is_number()) write_number(out, v.as_number());
  else if (v.is_string()) write_string(out, v.as_string());
  else if (v.is_array()) {
    const auto& a = v.as_array();
    out += '[';
    for (size_t i = 0; i < a.size(); ++i) {
      if (i) out += indent >= 0 ? "," : ", ";
      line(depth + 1);
      write(out, a[i], indent, depth + 1);
    }
    if (!a.empty()) line(depth);
    out += ']';
  } else {
    const auto& o = v.as_object();
    out += '{';
    for (size_t i = 0; i < o.size(); ++i) {
      if (i) out += indent >= 0 ? "," : ", ";
      line(depth + 1);
      write_string(out, o[i].first);
      out += ": ";
      write(out, o[i].second, indent, depth + 1);
    }
    if (!o.empty()) line(depth);
    out += '}';
  }
}

}  // namespace

bool Json::as_bool(std::string_view what) const {
  if (!is_bool()) wrong_kind(what, "a boolean", *this);
  return std::get<bool>(value_);
}

int64_t Json::as_int(std::string_view what) const {
  if (is_int()) return std::get<int64_t>(value_);
  if (is_number()) {
    const double v = std::get<double>(value_);
    if (v == std::floor(v) && std::abs(v) < 0x1p62) return static_cast<int64_t>(v);
  }
  wrong_kind(what, "an integer", *this);
}

double Json::as_number(std::string_view what) const {
  if (is_int()) return static_cast<double>(std::get<int64_t>(value_));
  if (!is_number()) wrong_kind(what, "a number", *this);
  return std::get<double>(value_);
}

const std::string& Json::as_string(std::string_view what) const {
  if (!is_string()) wrong_kind(what, "a string", *this);
  return std::get<std::string>(value_);
}

const Json::Array& Json::as_array(std::string_view what) const {
  if (!is_array()) wrong_kind(what, "an array", *this);
  return std::get<Array>(value_);
}

const Json::Object& Json::as_object(std::string_view what) const {
  if (!is_object()) wrong_kind(what, "an object", *this);
  return std::get<Object>(value_);
}

const Json* Json::find(std::string_view key) const {
  if (!is_object()) return nullptr;
  const auto& o = std::get<Object>(value_);
  for (size_t i = o.size(); i-- > 0;)
    if (o[i].first == key) return &o[i].second;
  return nullptr;
}

const Json* Json::get(std::string_view key) const {
  const Json* v = find(key);
  return v && !v->is_null() ? v : nullptr;
}

const Json& Json::at(std::string_view key) const {
  const Json* v = find(key);
  check(v != nullptr, ErrorCode::Format, "json", "the key \"", key, "\" is missing");
  return *v;
}

void Json::set(std::string_view key, Json value) {
  if (is_null()) value_ = Object{};
  check(is_object(), ErrorCode::Type, "json", "cannot set \"", key, "\": expected an object, got ", kind_of(*this));
  if (const Json* v = find(key)) *const_cast<Json*>(v) = std::move(value);
  else std::get<Object>(value_).emplace_back(std::string(key), std::move(value));
}

bool Json::value(std::string_view key, bool fallback) const {
  const Json* v = get(key);
  return v ? v->as_bool(key) : fallback;
}

int64_t Json::value(std::string_view key, int64_t fallback) const {
  const Json* v = get(key);
  return v ? v->as_int(key) : fallback;
}

double Json::value(std::string_view key, double fallback) const {
  const Json* v = get(key);
  return v ? v->as_number(key) : fallback;
}

std::string Json::value(std::string_view key, const char* fallback) const {
  const Json* v = get(key);
  return v ? v->as_string(key) : fallback;
}

Json Json::parse(std::string_view text, std::string_view where) {
  simdjson::dom::parser parser;
  if (parser.allocate(std::max<size_t>(text.size(), 1), kMaxDepth) != simdjson::SUCCESS)
    fail(ErrorCode::Memory, where, "cannot allocate a parser for ", text.size(), " bytes");
  simdjson::dom::element root;
  simdjson::error_code error = parser.parse(simdjson::padded_string(text)).get(root);
  if (error == simdjson::NUMBER_ERROR) error = parser.parse(simdjson::padded_string(widen_integers(text))).get(root);
  check(error == simdjson::SUCCESS, ErrorCode::Format, where, "not valid JSON: ", simdjson::error_message(error));
  return convert(root);
}

Json Json::parse_file(const std::string& path) {
  std::error_code ec;
  const uintmax_t bytes = std::filesystem::file_size(path, ec);
  check(!ec, ErrorCode::File, path, "cannot be read: ", ec.message());
  check(bytes <= kMaxFileBytes, ErrorCode::Limit, path, "is ", bytes, " bytes long; JSON files may have ", kMaxFileBytes);
  std::string text(bytes, '\0');
  std::FILE* f = std::fopen(path.c_str(), "rb");
  check(f != nullptr, ErrorCode::File, path, "cannot be opened");
  const size_t got = std::fread(text.data(), 1, text.size(), f);
  std::fclose(f);
  check(got == text.size(), ErrorCode::File, path, "could not be read whole");
  return parse(text, path);
}

std::string Json::dump(int indent) const {
  std::string out;
  write(out, *this, indent, 0);
  return out;
}

}  // namespace tenon
