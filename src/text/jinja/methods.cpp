// Methods of strings, lists and dicts, and the global functions of templates. Source: Python's, by their behaviour.
#include <algorithm>
#include <map>

#include "filters.h"
#include "interpreter.h"
#include "tenon/text/unicode.h"
#include "tenon/text/utf8.h"

namespace tenon::text::jinja {
namespace {

constexpr int64_t kLongestRange = 100000;  // Jinja's sandbox has the same

/// Upper-case letters by their lower-case ones.
const std::map<char32_t, char32_t>& upper_letters() {
  static const std::map<char32_t, char32_t> letters = [] {
    std::map<char32_t, char32_t> m;
    for (char32_t c = 'A'; c < 0x1F000; ++c) {
      char32_t lower[2];
      if (c >= 0xD800 && c < 0xE000) continue;
      if (to_lower(c, lower) == 1 && lower[0] != c && lower[0] != 0xDF) m.emplace(lower[0], c);
    }
    return m;
  }();
  return letters;
}

bool is_space(char32_t c) { return (c >= 0x1C && c <= 0x1F) || char_flags(c) & kSpace; }

bool is_decimal(char32_t c) { return unsigned{char_flags(c)} >> kCategoryShift == kDecimal; }

bool every(const std::string& s, bool (*holds)(char32_t)) {
  for (size_t i = 0; i < s.size(); i += char_length(s[i]))
    if (!holds(decode(s.data() + i))) return false;
  return !s.empty();
}

/// str.split and rsplit. Without a separator words between white space.
List split(Interpreter& in, const std::string& s, const Arguments& args, bool from_right) {
  const Value by = args.get(0, "sep"), most = args.get(1, "maxsplit", int64_t{-1});
  int64_t left = most.integer("split");
  if (left < 0) left = INT64_MAX;
  List parts;
  const auto add = [&](std::string_view part) {
    parts.emplace_back(std::string(part));
    in.spend(1);
  };
  const std::string_view text(s);
  if (by.is_none()) {
    std::vector<std::pair<size_t, size_t>> words;
    for (size_t i = 0; i < s.size();) {
      const size_t n = char_length(s[i]);
      if (is_space(decode(s.data() + i))) {
        i += n;
        continue;
      }
      size_t end = i;
      while (end < s.size() && !is_space(decode(s.data() + end))) end += char_length(s[end]);
      words.emplace_back(i, end), i = end;
    }
    const auto extra = static_cast<int64_t>(words.size()) - 1 - left;  // words that stay together
    for (size_t w = 0; w < words.size(); ++w) {
      const auto at = static_cast<int64_t>(w);
      if (extra <= 0 || (from_right ? at > extra : at < left))
        add(text.substr(words[w].first, words[w].second - words[w].first));
      else if (from_right && at == extra)
        add(text.substr(0, words[w].second));
      else if (!from_right && at == left)
        add(text.substr(words[w].first));
    }
    return parts;
  }
  const std::string& sep = by.str("split");
  if (sep.empty()) refuse("split: empty separator");
  if (from_right) {
    size_t end = s.size();
    for (; left > 0; --left) {
      const size_t hit = end < sep.size() ? std::string::npos : s.rfind(sep, end - sep.size());
      if (hit == std::string::npos) break;
      add(text.substr(hit + sep.size(), end - hit - sep.size())), end = hit;
    }
    add(text.substr(0, end));
    std::reverse(parts.begin(), parts.end());
    return parts;
  }
  size_t begin = 0;
  for (size_t hit; left > 0 && (hit = s.find(sep, begin)) != std::string::npos; --left)
    add(text.substr(begin, hit - begin)), begin = hit + sep.size();
  add(text.substr(begin));
  return parts;
}

List lines_of(const std::string& s, bool keep) {
  List lines;
  for (size_t begin = 0; begin < s.size();) {
    const size_t end = std::min(s.find_first_of("\n\r\v\f", begin), s.size());
    const size_t next = end == s.size() ? end : end + 1 + (s[end] == '\r' && end + 1 < s.size() && s[end + 1] == '\n');
    lines.emplace_back(s.substr(begin, (keep ? next : end) - begin));
    begin = next;
  }
  return lines;
}

/// startswith and endswith, with one text or a tuple of them.
bool borders(const std::string& s, const Value& what, bool end) {
  const auto one = [&](const Value& v) { return end ? s.ends_with(v.str("endswith")) : s.starts_with(v.str("startswith")); };
  if (!what.is_list()) return one(what);
  return std::any_of(what.items().begin(), what.items().end(), one);
}

int64_t position(const std::string& s, size_t byte) {
  return byte == std::string::npos ? -1 : static_cast<int64_t>(count_chars(std::string_view(s).substr(0, byte)));
}

int64_t occurrences(const std::string& s, const std::string& what) {
  if (what.empty()) return static_cast<int64_t>(count_chars(s)) + 1;
  int64_t n = 0;
  for (size_t at = s.find(what); at != std::string::npos; at = s.find(what, at + what.size())) ++n;
  return n;
}

/// "{} {0} {name}".format(...), without format specifications.
std::string formatted(const std::string& s, const Arguments& args) {
  std::string out;
  size_t automatic = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    if ((s[i] == '{' || s[i] == '}') && i + 1 < s.size() && s[i + 1] == s[i]) {
      out += s[i++];
    } else if (s[i] == '{') {
      const size_t end = s.find('}', i);
      if (end == std::string::npos) refuse("format: a '{' has no end");
      const std::string field = s.substr(i + 1, end - i - 1);
      const bool number = std::all_of(field.begin(), field.end(), [](char c) { return c >= '0' && c <= '9'; });
      if (field.find_first_of(".[:!") != std::string::npos || field.size() > 64)
        refuse("format: expected {}, {number} or {name}, got {", field, "}");
      const size_t at = field.empty() ? automatic++ : number ? static_cast<size_t>(std::atoll(field.c_str())) : 0;
      const Value v = number ? args.get(at, "", Undefined{}) : args.get(args.positional.size(), field, Undefined{});
      if (v.is_undefined()) refuse("format: there is no value for {", field, "}");
      out += v.text(), i = end;
    } else {
      out += s[i];
    }
  }
  return out;
}

Value padded(const std::string& s, const Arguments& args, int side) {
  const int64_t width = args.get(0, "width").integer("width"),
                missing = std::clamp<int64_t>(width - static_cast<int64_t>(count_chars(s)), 0, 10000);
  const std::string fill = args.get(1, "fillchar", " ").str("fillchar");
  std::string before, after;
  const int64_t left = side < 0 ? 0 : side > 0 ? missing : missing / 2 + (missing & width & 1);
  for (int64_t i = 0; i < missing; ++i) (i < left ? before : after) += fill;
  return before + s + after;
}

Value parted(const std::string& s, const std::string& by, bool last) {
  if (by.empty()) refuse("partition: empty separator");
  const size_t at = last ? s.rfind(by) : s.find(by);
  if (at == std::string::npos) return last ? Value::list({"", "", s}, true) : Value::list({s, "", ""}, true);
  return Value::list({s.substr(0, at), by, s.substr(at + by.size())}, true);
}

using StringMethod = Value (*)(Interpreter&, const std::string&, const Arguments&);
std::string chars_of(const Arguments& a) { return a.get(0, "chars").is_none() ? "" : a.get(0, "chars").str("strip"); }
bool cased(const std::string& s, bool upper) {
  const std::string up = to_upper(s), low = to_lower(std::string_view(s));
  return up != low && s == (upper ? up : low);
}

constexpr std::pair<std::string_view, StringMethod> kStringMethods[] = {
    {"strip", [](Interpreter&, const std::string& s, const Arguments& a) -> Value { return strip(s, chars_of(a), true, true); }},
    {"lstrip", [](Interpreter&, const std::string& s, const Arguments& a) -> Value { return strip(s, chars_of(a), true, false); }},
    {"rstrip", [](Interpreter&, const std::string& s, const Arguments& a) -> Value { return strip(s, chars_of(a), false, true); }},
    {"split", [](Interpreter& in, const std::string& s, const Arguments& a) { return Value::list(split(in, s, a, false)); }},
    {"rsplit", [](Interpreter& in, const std::string& s, const Arguments& a) { return Value::list(split(in, s, a, true)); }},
    {"splitlines",
     [](Interpreter&, const std::string& s, const Arguments& a) { return Value::list(lines_of(s, a.get(0, "keepends", false).truth())); }},
    {"startswith", [](Interpreter&, const std::string& s, const Arguments& a) -> Value { return borders(s, a.get(0, "prefix"), false); }},
    {"endswith", [](Interpreter&, const std::string& s, const Arguments& a) -> Value { return borders(s, a.get(0, "suffix"), true); }},
    {"removeprefix",
     [](Interpreter&, const std::string& s, const Arguments& a) -> Value {
       const std::string p = a.get(0, "prefix").str("removeprefix");
       return s.starts_with(p) ? s.substr(p.size()) : s;
     }},
    {"removesuffix",
     [](Interpreter&, const std::string& s, const Arguments& a) -> Value {
       const std::string p = a.get(0, "suffix").str("removesuffix");
       return s.ends_with(p) ? s.substr(0, s.size() - p.size()) : s;
     }},
    {"upper", [](Interpreter&, const std::string& s, const Arguments&) -> Value { return to_upper(s); }},
    {"lower", [](Interpreter&, const std::string& s, const Arguments&) -> Value { return to_lower(std::string_view(s)); }},
    {"capitalize", [](Interpreter& in, const std::string& s, const Arguments&) { return apply_filter(in, "capitalize", s, {}); }},
    {"title",
     [](Interpreter&, const std::string& s, const Arguments&) -> Value {
       std::string out;
       bool inside = false;
       for (size_t i = 0; i < s.size(); i += char_length(s[i])) {
         const std::string_view c = std::string_view(s).substr(i, char_length(s[i]));
         out += inside ? to_lower(c) : to_upper(c);
         inside = char_flags(decode(c.data())) & kLetter;
       }
       return out;
     }},
    {"replace", [](Interpreter& in, const std::string& s, const Arguments& a) { return apply_filter(in, "replace", s, a); }},
    {"join",
     [](Interpreter& in, const std::string& s, const Arguments& a) {
       for (const Value& x : iterate(a.get(0, "iterable"))) x.str("join");
       return apply_filter(in, "join", a.get(0, "iterable"), {{s}, {}});
     }},
    {"find",
     [](Interpreter&, const std::string& s, const Arguments& a) -> Value { return position(s, s.find(a.get(0, "sub").str("find"))); }},
    {"rfind",
     [](Interpreter&, const std::string& s, const Arguments& a) -> Value { return position(s, s.rfind(a.get(0, "sub").str("rfind"))); }},
    {"index",
     [](Interpreter&, const std::string& s, const Arguments& a) -> Value {
       const int64_t at = position(s, s.find(a.get(0, "sub").str("index")));
       if (at < 0) refuse("index: substring not found");
       return at;
     }},
    {"count", [](Interpreter&, const std::string& s, const Arguments& a) -> Value { return occurrences(s, a.get(0, "sub").str("count")); }},
    {"format", [](Interpreter&, const std::string& s, const Arguments& a) -> Value { return formatted(s, a); }},
    {"partition",
     [](Interpreter&, const std::string& s, const Arguments& a) { return parted(s, a.get(0, "sep").str("partition"), false); }},
    {"rpartition",
     [](Interpreter&, const std::string& s, const Arguments& a) { return parted(s, a.get(0, "sep").str("rpartition"), true); }},
    {"ljust", [](Interpreter&, const std::string& s, const Arguments& a) { return padded(s, a, -1); }},
    {"rjust", [](Interpreter&, const std::string& s, const Arguments& a) { return padded(s, a, 1); }},
    {"center", [](Interpreter&, const std::string& s, const Arguments& a) { return padded(s, a, 0); }},
    {"zfill",
     [](Interpreter&, const std::string& s, const Arguments& a) {
       const bool sign = s.starts_with("-") || s.starts_with("+");
       const Value digits = padded(s.substr(sign), {{a.get(0, "width").integer("zfill") - sign, "0"}, {}}, 1);
       return Value(s.substr(0, sign) + digits.str());
     }},
    {"isdigit", [](Interpreter&, const std::string& s, const Arguments&) -> Value { return every(s, is_decimal); }},
    {"isdecimal", [](Interpreter&, const std::string& s, const Arguments&) -> Value { return every(s, is_decimal); }},
    {"isnumeric",
     [](Interpreter&, const std::string& s,
        const Arguments&) -> Value { return every(s, [](char32_t c) { return (char_flags(c) & kNumber) != 0; }); }},
    {"isalpha",
     [](Interpreter&, const std::string& s,
        const Arguments&) -> Value { return every(s, [](char32_t c) { return (char_flags(c) & kLetter) != 0; }); }},
    {"isalnum",
     [](Interpreter&, const std::string& s,
        const Arguments&) -> Value { return every(s, [](char32_t c) { return (char_flags(c) & (kLetter | kNumber)) != 0; }); }},
    {"isspace", [](Interpreter&, const std::string& s, const Arguments&) -> Value { return every(s, is_space); }},
    {"isupper", [](Interpreter&, const std::string& s, const Arguments&) -> Value { return cased(s, true); }},
    {"islower", [](Interpreter&, const std::string& s, const Arguments&) -> Value { return cased(s, false); }},
};

Value dict_method(const Value& object, const std::string& name) {
  if (name == "get")
    return Value::function("get", [object](Interpreter&, const Arguments& a) {
      const Value key = a.get(0, "key");
      const Value* found = object.dict().find(key.is_string() ? key.str() : key.text());
      return found ? *found : a.get(1, "default");
    });
  if (name == "copy") return Value::function("copy", [object](Interpreter&, const Arguments&) { return Value::dict(object.dict().items); });
  if (name == "items")
    return Value::function("items", [object](Interpreter& in, const Arguments&) { return apply_filter(in, "items", object, {}); });
  if (name == "keys" || name == "values")
    return Value::function(name, [object, keys = name == "keys"](Interpreter&, const Arguments&) {
      List out;
      for (const auto& [key, value] : object.dict().items) out.push_back(keys ? Value(key) : value);
      return Value::list(std::move(out));
    });
  return {};
}

Value list_method(const Value& object, const std::string& name) {
  if (name != "index" && name != "count") return {};
  return Value::function(name, [object, name](Interpreter&, const Arguments& a) -> Value {
    const Value what = a.get(0, "value");
    int64_t n = 0, at = 0;
    for (const Value& x : object.items()) {
      if (equal(x, what) && ++n && name == "index") return at;
      ++at;
    }
    if (name == "index") refuse("index: ", what.repr(), " is not in the list");
    return n;
  });
}

Value range(Interpreter& in, const Arguments& a) {
  const auto part = [&](size_t i) { return a.positional[i].integer("range"); };
  if (a.positional.empty() || a.positional.size() > 3) refuse("range: expected 1 to 3 numbers, got ", a.positional.size());
  const bool one = a.positional.size() == 1;
  const int64_t begin = one ? 0 : part(0), end = one ? part(0) : part(1), step = a.positional.size() == 3 ? part(2) : 1;
  if (step == 0) refuse("range: the step is 0");
  List items;
  for (int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<int64_t>(items.size()) == kLongestRange) refuse("range: more than ", kLongestRange, " numbers");
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  in.spend(items.size());
  return Value::list(std::move(items));
}

DictValue dict_of(const Arguments& a) {
  DictValue d;
  for (const Value& from : a.positional) {
    if (from.is_dict())
      for (const auto& [key, value] : from.dict().items) d.set(key, value);
    else
      for (const Value& pair : iterate(from)) {
        const List& both = pair.items("dict");
        if (both.size() != 2) refuse("dict: expected pairs, got ", both.size(), " values");
        d.set(both[0].text(), both[1]);
      }
  }
  for (const auto& [key, value] : a.named) d.set(key, value);
  return d;
}

}  // namespace

std::string to_upper(std::string_view s) {
  std::string out;
  for (size_t i = 0; i < s.size(); i += char_length(s[i])) {
    const char32_t c = decode(s.data() + i);
    if (c == 0xDF) {
      out += "SS";
      continue;
    }
    const auto upper = c >= 'a' && c <= 'z' ? upper_letters().end() : upper_letters().find(c);
    append(out, c >= 'a' && c <= 'z' ? c - 32 : upper == upper_letters().end() ? c : upper->second);
  }
  return out;
}

std::string strip(std::string_view s, std::string_view chars, bool left, bool right) {
  const auto goes = [&](std::string_view c) {
    if (chars.empty()) return is_space(decode(c.data()));
    for (size_t i = 0; i < chars.size(); i += char_length(chars[i]))
      if (chars.substr(i, char_length(chars[i])) == c) return true;
    return false;
  };
  while (left && !s.empty() && goes(s.substr(0, char_length(s[0])))) s.remove_prefix(char_length(s[0]));
  while (right && !s.empty()) {
    size_t at = s.size() - 1;
    while (at > 0 && is_continuation(s[at])) --at;
    if (!goes(s.substr(at))) break;
    s = s.substr(0, at);
  }
  return std::string(s);
}

std::string substring(std::string_view s, size_t begin, size_t end) {
  size_t from = 0, n = 0;
  while (n < begin && from < s.size()) from += char_length(s[from]), ++n;
  size_t to = from;
  while (n < end && to < s.size()) to += char_length(s[to]), ++n;
  return std::string(s.substr(from, to - from));
}

Value method(const Value& object, const std::string& name) {
  if (object.is_dict()) return dict_method(object, name);
  if (object.is_list()) return list_method(object, name);
  if (!object.is_string()) return {};
  for (const auto& row : kStringMethods)
    if (row.first == name)
      return Value::function(name, [f = row.second, s = object.str()](Interpreter& in, const Arguments& args) {
        in.spend(1 + s.size() / 16);
        return f(in, s, args);
      });
  return {};
}

const Dict& global_functions() {
  static const Dict functions = {
      {"range", Value::function("range", range)},
      {"dict", Value::function("dict", [](Interpreter&, const Arguments& a) { return Value::dict(dict_of(a).items); })},
      {"namespace", Value::function("namespace",
                                    [](Interpreter& in, const Arguments& a) -> Value {
                                      auto space = std::make_shared<DictValue>(dict_of(a));
                                      for (const auto& [name, _] : space->items)
                                        if (name.starts_with("_"))
                                          refuse("namespace: expected names without a leading underscore, got ", name);
                                      space->namespace_like = true;
                                      in.empty_at_the_end(space);
                                      return space;
                                    })},
      {"raise_exception",
       Value::function("raise_exception", [](Interpreter&, const Arguments& a) -> Value { refuse(a.get(0, "message").text()); })},
  };
  return functions;
}

}  // namespace tenon::text::jinja
