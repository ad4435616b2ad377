// Filters and tests of templates. Source: jinja2/filters.py and tests.py of Jinja 3.1, by their behaviour.
#include "filters.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "interpreter.h"
#include "percent_format.h"
#include "tenon/text/unicode.h"
#include "tenon/text/utf8.h"

namespace tenon::text::jinja {
namespace {

using FilterFunction = Value (*)(Interpreter&, const Value&, const Arguments&);
using TestFunction = bool (*)(Interpreter&, const Value&, const Arguments&);

/// a.b.0 of a value, for attribute= of map, sort, sum and the like.
Value by_path(const Value& v, const Value& path) {
  if (path.is<int64_t>()) return item(v, path);
  const std::string& p = path.str("attribute");
  Value at = v;
  for (size_t begin = 0; begin <= p.size();) {
    const size_t end = std::min(p.find('.', begin), p.size());
    const std::string part = p.substr(begin, end - begin);
    const bool digits =
        !part.empty() && part.size() < 10 && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    at = digits ? item(at, int64_t{std::atoll(part.c_str())}) : item(at, part);
    begin = end + 1;
  }
  return at;
}

Value folded(const Value& v, bool case_sensitive) {
  return !case_sensitive && v.is_string() ? Value(to_lower(std::string_view(v.str()))) : v;
}

std::vector<size_t> sorted_order(const std::vector<Value>& keys, bool reverse) {
  std::vector<size_t> order(keys.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return compare(keys[reverse ? b : a], keys[reverse ? a : b]) < 0; });
  return order;
}

List items_of(Interpreter& in, const Value& v) {
  List items = iterate(v);
  in.spend(items.size());
  return items;
}

Value extreme(Interpreter& in, const Value& v, const Arguments& args, int sign) {
  const bool exact = args.get(0, "case_sensitive", false).truth();
  const Value path = args.get(1, "attribute");
  const auto key = [&](const Value& x) { return folded(path.is_none() ? x : by_path(x, path), exact); };
  const List items = items_of(in, v);
  if (items.empty()) return Undefined{"no first item, the sequence was empty"};
  size_t best = 0;
  for (size_t i = 1; i < items.size(); ++i)
    if (compare(key(items[i]), key(items[best])) * sign > 0) best = i;
  return items[best];
}

/// select, reject (attribute: selectattr, rejectattr): the items of which a test holds.
Value chosen(Interpreter& in, const Value& v, const Arguments& args, bool keep, bool attribute) {
  const size_t skip = attribute;
  if (attribute && args.positional.empty()) refuse("selectattr: expected an attribute");
  std::string test = "";
  Arguments rest;
  if (args.positional.size() > skip) test = args.positional[skip].str("test");
  for (size_t i = skip + 1; i < args.positional.size(); ++i) rest.positional.push_back(args.positional[i]);
  if (!test.empty() && !is_test(test)) refuse("unknown test '", test, "'");
  List kept;
  for (const Value& x : items_of(in, v)) {
    const Value subject = attribute ? by_path(x, args.positional[0]) : x;
    if ((test.empty() ? subject.truth() : apply_test(in, test, subject, rest)) == keep) kept.push_back(x);
  }
  return Value::list(std::move(kept));
}

Value mapped(Interpreter& in, const Value& v, const Arguments& args) {
  List out;
  if (args.positional.empty()) {
    const Value path = args.get(0, "attribute"), fallback = args.get(1, "default", Undefined{});
    for (const Value& x : items_of(in, v)) {
      Value got = by_path(x, path);
      out.push_back(got.is_undefined() && !fallback.is_undefined() ? fallback : std::move(got));
    }
    return Value::list(std::move(out));
  }
  const std::string& name = args.positional[0].str("map");
  if (!is_filter(name)) refuse("unknown filter '", name, "'");
  Arguments rest{{args.positional.begin() + 1, args.positional.end()}, args.named};
  for (const Value& x : items_of(in, v)) out.push_back(apply_filter(in, name, x, rest));
  return Value::list(std::move(out));
}

Value joined(Interpreter& in, const Value& v, const Arguments& args) {
  const std::string between = args.get(0, "d", "").text();
  const Value path = args.get(1, "attribute");
  std::string text;
  bool first = true;
  for (const Value& x : items_of(in, v)) {
    if (!std::exchange(first, false)) text += between;
    text += path.is_none() ? x.text() : by_path(x, path).text();
    in.spend_bytes(text.size() > kMostBytes ? text.size() : between.size() + 16);
  }
  return text;
}

Value replaced(Interpreter& in, const Value& v, const Arguments& args) {
  const std::string text = v.text(), from = args.get(0, "old").text(), to = args.get(1, "new").text();
  const Value most = args.get(2, "count");
  int64_t left = most.is_none() ? INT64_MAX : most.integer("replace");
  if (left < 0) left = INT64_MAX;
  std::string out;
  size_t at = 0;
  for (; left > 0 && at <= text.size(); --left) {
    const size_t hit = from.empty() ? at : text.find(from, at);
    if (hit == std::string::npos) break;
    out.append(text, at, hit - at) += to;
    in.spend_bytes(out.size() > kMostBytes ? out.size() : to.size() + 16);
    at = hit + from.size();
    if (!from.empty()) continue;
    if (at == text.size()) return out;
    const size_t n = char_length(text[at]);
    out.append(text, at, n), at += n;
  }
  return at < text.size() ? out.append(text, at) : out;
}

std::string capitalized(std::string_view s) {
  if (s.empty()) return {};
  const size_t n = char_length(s[0]);
  return to_upper(s.substr(0, n)) + to_lower(s.substr(n));
}

/// Words begin behind white space, brackets and dashes, as in Jinja's filter.
std::string titled(const std::string& s) {
  std::string out, word;
  for (size_t i = 0; i < s.size(); i += char_length(s[i])) {
    const std::string_view c = std::string_view(s).substr(i, char_length(s[i]));
    if (c.size() == 1 && std::string_view(" \t\n\r\f\v-([{<").find(c[0]) != std::string_view::npos)
      out += capitalized(word) + std::string(c), word.clear();
    else
      word += c;
  }
  return out + capitalized(word);
}

Value indented(Interpreter& in, const Value& v, const Arguments& args) {
  const Value width = args.get(0, "width", int64_t{4});
  const bool first = args.get(1, "first", false).truth(), blank = args.get(2, "blank", false).truth();
  const std::string by =
      width.is_string() ? width.str() : std::string(static_cast<size_t>(std::clamp<int64_t>(width.integer("indent"), 0, 10000)), ' ');
  const std::string text = v.text();
  std::string out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if ((begin > 0 || first) && (end > begin || blank || (begin == 0 && first))) out += by;
    out.append(text, begin, end - begin);
    if (end < text.size()) out += '\n';
    in.spend_bytes(out.size() > kMostBytes ? out.size() : by.size() + 16);
    begin = end + 1;
  }
  return out;
}

Value rounded(const Value& v, const Arguments& args) {
  const int64_t digits = std::clamp<int64_t>(args.get(0, "precision", int64_t{0}).integer("round"), -300, 300);
  const std::string how = args.get(1, "method", "common").str("round");
  const double factor = std::pow(10.0, static_cast<double>(digits)), x = v.number("round");
  if (how == "ceil") return std::ceil(x * factor) / factor;
  if (how == "floor") return std::floor(x * factor) / factor;
  if (how != "common") refuse("round: expected common, ceil or floor, got ", how);
  if (digits < 0) return std::nearbyint(x * factor) / factor;
  const std::string s = percent_format("%." + std::to_string(std::min<int64_t>(digits, 20)) + "f", {Value(x)});
  return std::strtod(s.c_str(), nullptr);
}

Value to_integer(const Value& v, const Arguments& args) {
  const Value fallback = args.get(0, "default", int64_t{0});
  const int64_t base = args.get(1, "base", int64_t{10}).integer("int");
  if (v.is<int64_t>() || v.is<bool>()) return v.integer();
  const auto of_double = [&](double d) -> Value {
    return std::isfinite(d) && std::abs(d) < 9.2e18 ? Value(static_cast<int64_t>(d)) : fallback;
  };
  if (v.is<double>()) return of_double(v.number());
  if (!v.is_string() || base < 2 || base > 36) return fallback;
  const std::string s = strip(v.str(), "", true, true);
  const char *begin = s.c_str() + (s.starts_with("+") ? 1 : 0), *end = s.c_str() + s.size();
  int64_t i = 0;
  const auto got = std::from_chars(begin, end, i, static_cast<int>(base));
  if (begin != end && got.ec == std::errc() && got.ptr == end) return i;
  char* stop = nullptr;
  const double d = std::strtod(s.c_str(), &stop);
  return !s.empty() && *stop == '\0' ? of_double(d) : fallback;
}

Value to_real(const Value& v, const Arguments& args) {
  if (v.is_number()) return v.number();
  if (!v.is_string()) return args.get(0, "default", 0.0);
  const std::string s = strip(v.str(), "", true, true);
  char* stop = nullptr;
  const double d = std::strtod(s.c_str(), &stop);
  return !s.empty() && *stop == '\0' ? Value(d) : args.get(0, "default", 0.0);
}

Value json(const Value& v, const Arguments& args) {
  const Value indent = args.get(1, "indent"), separators = args.get(2, "separators");
  std::string item = indent.is_none() ? ", " : ",", key = ": ";
  if (!separators.is_none()) {
    const List& both = separators.items("separators");
    if (both.size() != 2) refuse("tojson: expected two separators, got ", both.size());
    item = both[0].str("separators"), key = both[1].str("separators");
  }
  const int64_t by = indent.is_none() ? -1 : std::clamp<int64_t>(indent.integer("indent"), 0, 64);
  return to_json(v, args.get(0, "ensure_ascii", false).truth(), static_cast<int>(by), item, key, args.get(3, "sort_keys", false).truth());
}

Value sum_of(Interpreter& in, const Value& v, const Arguments& args) {
  const Value path = args.get(0, "attribute");
  Value sum = args.get(1, "start", int64_t{0});
  for (const Value& x : items_of(in, v)) {
    const Value term = path.is_none() ? x : by_path(x, path);
    if (sum.is<double>() || term.is<double>()) {
      sum = sum.number("sum") + term.number("sum");
      continue;
    }
    int64_t r = 0;
    if (__builtin_add_overflow(sum.integer("sum"), term.integer("sum"), &r)) refuse("sum: it exceeds 64 bits");
    sum = r;
  }
  return sum;
}

Value sorted(Interpreter& in, const Value& v, const Arguments& args) {
  const bool reverse = args.get(0, "reverse", false).truth(), exact = args.get(1, "case_sensitive", false).truth();
  const Value path = args.get(2, "attribute");
  const List items = items_of(in, v);
  std::vector<Value> keys;
  for (const Value& x : items) keys.push_back(folded(path.is_none() ? x : by_path(x, path), exact));
  List out;
  for (const size_t i : sorted_order(keys, reverse)) out.push_back(items[i]);
  return Value::list(std::move(out));
}

Value pairs_of(const Value& v) {
  List out;
  if (v.is_undefined()) return Value::list({});
  if (!v.is_dict()) refuse("items: expected a dict, got ", v.type());
  for (const auto& [key, x] : v.dict().items) out.push_back(Value::list({key, x}, true));
  return Value::list(std::move(out));
}

Value sorted_pairs(const Value& v, const Arguments& args) {
  const bool exact = args.get(0, "case_sensitive", false).truth(), by_value = args.get(1, "by", "key").text() == "value";
  const List pairs = pairs_of(v).items();
  std::vector<Value> keys;
  for (const Value& p : pairs) keys.push_back(folded(p.items()[by_value], exact));
  List out;
  for (const size_t i : sorted_order(keys, args.get(2, "reverse", false).truth())) out.push_back(pairs[i]);
  return Value::list(std::move(out));
}

Value unique(Interpreter& in, const Value& v, const Arguments& args) {
  const bool exact = args.get(0, "case_sensitive", false).truth();
  const Value path = args.get(1, "attribute");
  List out, keys;
  for (const Value& x : items_of(in, v)) {
    const Value key = folded(path.is_none() ? x : by_path(x, path), exact);
    in.spend(keys.size());
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& k) { return equal(k, key); })) continue;
    keys.push_back(key), out.push_back(x);
  }
  return Value::list(std::move(out));
}

Value backwards(Interpreter& in, const Value& v) {
  List items = items_of(in, v);
  std::reverse(items.begin(), items.end());
  if (!v.is_string()) return Value::list(std::move(items));
  std::string text;
  for (const Value& c : items) text += c.str();
  return text;
}

Value escaped(const Value& v) {
  std::string out;
  for (const char c : v.text())
    out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&#34;" : c == '\'' ? "&#39;" : std::string(1, c);
  return out;
}

Value length(const Value& v) {
  if (v.is_string()) return static_cast<int64_t>(count_chars(v.str()));
  return static_cast<int64_t>(v.is_dict() ? v.dict().items.size() : iterate(v).size());
}

Value words_in(const Value& v) {
  int64_t n = 0;
  bool inside = false;
  const std::string text = v.text();
  for (size_t i = 0; i < text.size(); i += char_length(text[i])) {
    const bool word = char_flags(decode(text.data() + i)) & kWord;
    n += word && !inside, inside = word;
  }
  return n;
}

Value defaulted(Interpreter&, const Value& v, const Arguments& a) {
  const bool missing = v.is_undefined() || (a.get(1, "boolean", false).truth() && !v.truth());
  return missing ? a.get(0, "default_value", "") : v;
}

bool is_sequence(Interpreter&, const Value& v, const Arguments&) {
  return v.is_undefined() || v.is_list() || v.is_string() || (v.is_dict() && !v.dict().namespace_like);
}

constexpr std::pair<std::string_view, FilterFunction> kFilters[] = {
    {"tojson", [](Interpreter&, const Value& v, const Arguments& a) { return json(v, a); }},
    {"trim",
     [](Interpreter&, const Value& v, const Arguments& a) -> Value {
       return strip(v.text(), a.get(0, "chars").is_none() ? "" : a.get(0, "chars").text(), true, true);
     }},
    {"length", [](Interpreter&, const Value& v, const Arguments&) { return length(v); }},
    {"count", [](Interpreter&, const Value& v, const Arguments&) { return length(v); }},
    {"join", joined},
    {"replace", replaced},
    {"lower", [](Interpreter&, const Value& v, const Arguments&) -> Value { return to_lower(std::string_view(v.text())); }},
    {"upper", [](Interpreter&, const Value& v, const Arguments&) -> Value { return to_upper(v.text()); }},
    {"capitalize", [](Interpreter&, const Value& v, const Arguments&) -> Value { return capitalized(v.text()); }},
    {"title", [](Interpreter&, const Value& v, const Arguments&) -> Value { return titled(v.text()); }},
    {"first",
     [](Interpreter&, const Value& v, const Arguments&) -> Value {
       const List l = iterate(v);
       return l.empty() ? Value(Undefined{"first"}) : l.front();
     }},
    {"last",
     [](Interpreter&, const Value& v, const Arguments&) -> Value {
       const List l = iterate(v);
       return l.empty() ? Value(Undefined{"last"}) : l.back();
     }},
    {"default", defaulted},
    {"d", defaulted},
    {"list", [](Interpreter& in, const Value& v, const Arguments&) { return Value::list(items_of(in, v)); }},
    {"string", [](Interpreter&, const Value& v, const Arguments&) -> Value { return v.text(); }},
    {"safe", [](Interpreter&, const Value& v, const Arguments&) -> Value { return v.text(); }},
    {"int", [](Interpreter&, const Value& v, const Arguments& a) { return to_integer(v, a); }},
    {"float", [](Interpreter&, const Value& v, const Arguments& a) { return to_real(v, a); }},
    {"abs",
     [](Interpreter&, const Value& v, const Arguments&) -> Value {
       return v.is<double>() ? Value(std::abs(v.number())) : Value(v.integer() < 0 ? -v.integer() : v.integer());
     }},
    {"round", [](Interpreter&, const Value& v, const Arguments& a) { return rounded(v, a); }},
    {"sum", sum_of},
    {"min", [](Interpreter& in, const Value& v, const Arguments& a) { return extreme(in, v, a, -1); }},
    {"max", [](Interpreter& in, const Value& v, const Arguments& a) { return extreme(in, v, a, 1); }},
    {"sort", sorted},
    {"unique", unique},
    {"reverse", [](Interpreter& in, const Value& v, const Arguments&) { return backwards(in, v); }},
    {"map", mapped},
    {"select", [](Interpreter& in, const Value& v, const Arguments& a) { return chosen(in, v, a, true, false); }},
    {"reject", [](Interpreter& in, const Value& v, const Arguments& a) { return chosen(in, v, a, false, false); }},
    {"selectattr", [](Interpreter& in, const Value& v, const Arguments& a) { return chosen(in, v, a, true, true); }},
    {"rejectattr", [](Interpreter& in, const Value& v, const Arguments& a) { return chosen(in, v, a, false, true); }},
    {"items", [](Interpreter&, const Value& v, const Arguments&) { return pairs_of(v); }},
    {"dictsort", [](Interpreter&, const Value& v, const Arguments& a) { return sorted_pairs(v, a); }},
    {"indent", indented},
    {"escape", [](Interpreter&, const Value& v, const Arguments&) { return escaped(v); }},
    {"e", [](Interpreter&, const Value& v, const Arguments&) { return escaped(v); }},
    {"wordcount", [](Interpreter&, const Value& v, const Arguments&) { return words_in(v); }},
    {"format", [](Interpreter&, const Value& v, const Arguments& a) -> Value { return percent_format(v.text(), a.positional); }},
    {"attr", [](Interpreter&, const Value& v, const Arguments& a) { return attribute(v, a.get(0, "name").str("attr")); }},
};

bool is_integer(const Value& v) { return v.is<int64_t>(); }
bool is_parity(const Value& v, int64_t rest) { return ((v.integer("odd or even") % 2) + 2) % 2 == rest; }
template <int kLow, int kHigh>
bool ordered(Interpreter&, const Value& v, const Arguments& a) {
  const int c = compare(v, a.get(0, "other"));
  return kLow <= (c > 0) - (c < 0) && (c > 0) - (c < 0) <= kHigh;
}
bool is_equal(Interpreter&, const Value& v, const Arguments& a) { return equal(v, a.get(0, "other")); }
bool is_other(Interpreter&, const Value& v, const Arguments& a) { return !equal(v, a.get(0, "other")); }

constexpr std::pair<std::string_view, TestFunction> kTests[] = {
    {"defined", [](Interpreter&, const Value& v, const Arguments&) { return !v.is_undefined(); }},
    {"undefined", [](Interpreter&, const Value& v, const Arguments&) { return v.is_undefined(); }},
    {"none", [](Interpreter&, const Value& v, const Arguments&) { return v.is_none(); }},
    {"string", [](Interpreter&, const Value& v, const Arguments&) { return v.is_string(); }},
    {"number", [](Interpreter&, const Value& v, const Arguments&) { return v.is_number(); }},
    {"integer", [](Interpreter&, const Value& v, const Arguments&) { return is_integer(v); }},
    {"float", [](Interpreter&, const Value& v, const Arguments&) { return v.is<double>(); }},
    {"boolean", [](Interpreter&, const Value& v, const Arguments&) { return v.is<bool>(); }},
    {"true", [](Interpreter&, const Value& v, const Arguments&) { return v.is<bool>() && v.truth(); }},
    {"false", [](Interpreter&, const Value& v, const Arguments&) { return v.is<bool>() && !v.truth(); }},
    {"mapping", [](Interpreter&, const Value& v, const Arguments&) { return v.is_dict() && !v.dict().namespace_like; }},
    {"iterable", is_sequence},
    {"sequence", is_sequence},
    {"callable", [](Interpreter&, const Value& v, const Arguments&) { return v.is_function() || v.is_undefined(); }},
    {"sameas",
     [](Interpreter&, const Value& v, const Arguments& a) {
       const Value other = a.get(0, "other");
       return v.is<bool>() == other.is<bool>() && equal(v, other);
     }},
    {"eq", is_equal},
    {"equalto", is_equal},
    {"ne", is_other},
    {"lt", ordered<-1, -1>},
    {"lessthan", ordered<-1, -1>},
    {"le", ordered<-1, 0>},
    {"gt", ordered<1, 1>},
    {"greaterthan", ordered<1, 1>},
    {"ge", ordered<0, 1>},
    {"in", [](Interpreter&, const Value& v, const Arguments& a) { return contains(a.get(0, "seq"), v); }},
    {"odd", [](Interpreter&, const Value& v, const Arguments&) { return is_parity(v, 1); }},
    {"even", [](Interpreter&, const Value& v, const Arguments&) { return is_parity(v, 0); }},
    {"divisibleby",
     [](Interpreter&, const Value& v, const Arguments& a) {
       const int64_t n = a.get(0, "num").integer("divisibleby");
       if (n == 0) refuse("division by zero");
       return n == -1 || v.integer("divisibleby") % n == 0;
     }},
    {"lower", [](Interpreter&, const Value& v,
                 const Arguments&) { return to_lower(std::string_view(v.text())) == v.text() && to_upper(v.text()) != v.text(); }},
    {"upper", [](Interpreter&, const Value& v,
                 const Arguments&) { return to_upper(v.text()) == v.text() && to_lower(std::string_view(v.text())) != v.text(); }},
    {"filter", [](Interpreter&, const Value& v, const Arguments&) { return v.is_string() && is_filter(v.str()); }},
    {"test", [](Interpreter&, const Value& v, const Arguments&) { return v.is_string() && is_test(v.str()); }},
};

template <class Table>
auto* find(const Table& table, std::string_view name) {
  const auto row = std::find_if(std::begin(table), std::end(table), [&](const auto& r) { return r.first == name; });
  return row == std::end(table) ? nullptr : &row->second;
}

}  // namespace

bool is_filter(std::string_view name) { return find(kFilters, name); }
bool is_test(std::string_view name) { return find(kTests, name); }
Value apply_filter(Interpreter& in, std::string_view name, const Value& value, const Arguments& args) {
  in.spend(value.is_string() ? value.str().size() / 16 : value.is_list() ? value.items().size() : 0);
  return (*find(kFilters, name))(in, value, args);
}
bool apply_test(Interpreter& in, std::string_view name, const Value& value, const Arguments& args) {
  return (*find(kTests, name))(in, value, args);
}

}  // namespace tenon::text::jinja
