// Oniguruma's syntax in the words of PCRE2: what the class escapes mean, scripts, classes inside classes.
#include "regex_syntax.h"

#include <vector>

#include "tenon/core/error.h"

namespace tenon::text {
namespace {

// White_Space; PCRE2's own \s has U+180E as well.
constexpr const char* kSpaceSet = R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr const char* kNotSpaceSet =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e})"
    R"(\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
constexpr const char* kWordSet = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc})";

// The members of a class escape of Oniguruma where PCRE2's escape means another set; null where they agree.
const char* class_members(char escape) {
  switch (escape) {
    case 's':
      return kSpaceSet;
    case 'S':
      return kNotSpaceSet;
    case 'w':
      return kWordSet;
    case 'h':
      return "0-9a-fA-F";
    default:
      return nullptr;
  }
}

constexpr int kMaxDepth = 64;

class Translator {
 public:
  Translator(std::string_view pattern, bool plain_scripts) : pattern_(pattern), plain_scripts_(plain_scripts) {}

  std::string run() {
    std::string out;
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\' && at_ + 1 < pattern_.size()) {
        out += escape(false);
      } else if (c == '[') {
        ++at_;
        out += char_class(0);
      } else {
        out += c;
        ++at_;
      }
    }
    return out;
  }

 private:
  bool is_next(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }

  // The escape at the current place, as an expression or as members of a class.
  std::string escape(bool in_class) {
    const char name = pattern_[at_ + 1];
    at_ += 2;
    if (const char* members = class_members(name)) return in_class ? std::string(members) : '[' + std::string(members) + ']';
    if (name == 'W' && !in_class) return "[^" + std::string(kWordSet) + ']';
    std::string out{'\\', name};
    if ((name != 'p' && name != 'P') || !plain_scripts_ || !is_next("{")) return out;
    // the bare name of a script means scx (script extensions) to PCRE2
    const size_t close = pattern_.find('}', at_);
    const bool is_script = close != std::string_view::npos && close - at_ > 3 && pattern_[at_ + 1] != '^';
    if (!is_script) return out;
    ++at_;
    return out + "{sc:";
  }

  // One operand of an intersection: members of its own and classes inside it.
  struct Part {
    std::string members;
    std::vector<std::string> classes;

    std::string expression() const {
      if (classes.empty()) return '[' + members + ']';
      std::string out = "(?:";
      if (!members.empty()) out += '[' + members + "]|";
      for (size_t i = 0; i < classes.size(); ++i) (out += i ? "|" : "") += classes[i];
      return out + ')';
    }
  };

  Part part(int depth, bool is_first) {
    Part out;
    while (at_ < pattern_.size() && !is_next("&&")) {
      const char c = pattern_[at_];
      if (c == ']' && !is_first) break;
      is_first = false;
      if (c == '\\' && at_ + 1 < pattern_.size()) {
        out.members += escape(true);
      } else if (is_next("[:")) {
        const size_t close = pattern_.find(":]", at_);
        check(close != std::string_view::npos, ErrorCode::Format, "regex", "[: in a class: expected :], got ", pattern_);
        out.members.append(pattern_, at_, close + 2 - at_);
        at_ = close + 2;
      } else if (c == '[') {
        ++at_;
        out.classes.push_back(char_class(depth + 1));
      } else {
        // a ']' right behind the opening is a member
        if (c == ']') out.members += '\\';
        out.members += c;
        ++at_;
      }
    }
    check(!out.members.empty() || !out.classes.empty(), ErrorCode::Format, "regex", "character class: expected members, got ", pattern_);
    return out;
  }

  // The class behind an opening bracket, as an expression for one character.
  std::string char_class(int depth) {
    check(depth < kMaxDepth, ErrorCode::Format, "regex", "nested character classes: expected at most ", kMaxDepth);
    const bool is_negated = is_next("^");
    at_ += is_negated;
    std::vector<Part> parts{part(depth, true)};
    while (is_next("&&")) {
      at_ += 2;
      parts.push_back(part(depth, false));
    }
    check(is_next("]"), ErrorCode::Format, "regex", "character class: expected ], got the end of ", pattern_);
    ++at_;
    if (parts.size() == 1 && parts[0].classes.empty()) return (is_negated ? "[^" : "[") + parts[0].members + ']';
    std::string all;
    for (size_t i = 1; i < parts.size(); ++i) all += "(?=" + parts[i].expression() + ')';
    all += parts[0].expression();
    return is_negated ? "(?:(?!" + all + R"()[\x{0}-\x{10ffff}]))" : "(?:" + all + ')';
  }

  std::string_view pattern_;
  size_t at_ = 0;
  bool plain_scripts_;
};

}  // namespace

std::string to_pcre2(std::string_view pattern, bool plain_scripts) { return Translator(pattern, plain_scripts).run(); }

}  // namespace tenon::text
