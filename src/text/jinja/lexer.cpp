// Whitespace control and tokens of Jinja templates. Source: the syntax of Jinja 3.1, checked against its renderings.
#include "lexer.h"

#include <algorithm>
#include <cctype>

#include "tenon/text/unicode.h"
#include "tenon/text/utf8.h"
#include "value.h"

namespace tenon::text::jinja {
namespace {

constexpr std::string_view kSpaces = " \t\n\r\f\v";

std::string one_kind_of_newline(std::string_view s) {
  std::string out;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '\r')
      out += s[i];
    else if (out += '\n'; i + 1 < s.size() && s[i + 1] == '\n')
      ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool starts_name(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_' || static_cast<unsigned char>(c) >= 0x80; }
bool in_name(char c) { return starts_name(c) || std::isdigit(static_cast<unsigned char>(c)); }

class Lexer {
 public:
  explicit Lexer(std::string source) : s_(std::move(source)) {}

  std::vector<Token> run() {
    while (at_ < s_.size()) {
      const size_t tag = next_tag();
      if (tag == std::string::npos) {
        emit_text(s_.substr(at_));
        break;
      }
      begin_tag(tag);
    }
    add(TokenKind::End, "");
    return std::move(tokens_);
  }

 private:
  int line() {
    for (; counted_ < std::min(at_, s_.size()); ++counted_) line_ += s_[counted_] == '\n';
    return line_;
  }
  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), kind == TokenKind::Text ? 0 : line()}); }
  void emit_text(std::string text) {
    if (!text.empty()) add(TokenKind::Text, std::move(text));
  }

  size_t next_tag() const {
    for (size_t i = s_.find('{', at_); i != std::string::npos && i + 1 < s_.size(); i = s_.find('{', i + 1))
      if (s_[i + 1] == '{' || s_[i + 1] == '%' || s_[i + 1] == '#') return i;
    return std::string::npos;
  }

  /// The text before a tag: without spaces for '-', without the spaces of its line for blocks and comments.
  std::string before(size_t tag, char sign, bool variable) const {
    std::string text = s_.substr(at_, tag - at_);
    if (sign == '-') {
      text.erase(text.find_last_not_of(kSpaces) + 1);
    } else if (sign != '+' && !variable) {
      const size_t line = text.rfind('\n') + 1;  // 0 without a newline
      if ((line > 0 || line_starting_) && text.find_first_not_of(kSpaces, line) == std::string::npos) text.resize(line);
    }
    return text;
  }

  void begin_tag(size_t tag) {
    const char kind = s_[tag + 1];
    const char sign = tag + 2 < s_.size() && (s_[tag + 2] == '-' || s_[tag + 2] == '+') ? s_[tag + 2] : '\0';
    emit_text(before(tag, sign, kind == '{'));
    at_ = tag + 2 + (sign != '\0');
    line_starting_ = false;
    if (kind == '#') return skip_comment();
    if (kind == '%' && skip_raw()) return;
    add(kind == '{' ? TokenKind::VariableBegin : TokenKind::BlockBegin, "");
    const std::string_view end = kind == '{' ? "}}" : "%}";
    std::string open;  // brackets: a '}}' may close two dicts
    while (!ends(end, open)) expression_token(open);
    add(kind == '{' ? TokenKind::VariableEnd : TokenKind::BlockEnd, "");
  }

  /// Steps over the end of a tag if it is here. A block's takes a newline with it.
  bool ends(std::string_view end, const std::string& open) {
    at_ = std::min(s_.find_first_not_of(kSpaces, at_), s_.size());
    if (at_ >= s_.size()) refuse("line ", line(), ": expected ", end, ", got the end of the template");
    if (!open.empty()) return false;
    const std::string_view rest = std::string_view(s_).substr(at_);
    const char sign = rest[0] == '-' || (rest[0] == '+' && end != "}}") ? rest[0] : '\0';
    if (!rest.substr(sign != '\0').starts_with(end)) return false;
    at_ += end.size() + (sign != '\0');
    after(sign, end != "}}");
    return true;
  }

  void after(char sign, bool block) {
    const size_t begin = at_;
    if (sign == '-')
      at_ = std::min(s_.find_first_not_of(kSpaces, at_), s_.size());
    else if (sign != '+' && block && at_ < s_.size() && s_[at_] == '\n')
      ++at_;
    line_starting_ = at_ > begin && s_[at_ - 1] == '\n';
  }

  void skip_comment() {
    const size_t end = s_.find("#}", at_);
    if (end == std::string::npos) refuse("line ", line(), ": a comment has no end");
    const char sign = end > at_ && (s_[end - 1] == '-' || s_[end - 1] == '+') ? s_[end - 1] : '\0';
    at_ = end + 2;
    after(sign, true);
  }

  /// {% raw %} ... {% endraw %}: text as it stands.
  bool skip_raw() {
    size_t end = 0;
    char sign = '\0';
    if (!block_of("raw", at_, end, sign)) return false;
    at_ = end;
    if (sign == '-')
      at_ = std::min(s_.find_first_not_of(kSpaces, at_), s_.size());
    else if (at_ < s_.size() && s_[at_] == '\n')
      ++at_;
    for (size_t tag = s_.find("{%", at_); tag != std::string::npos; tag = s_.find("{%", tag + 2)) {
      const char first = tag + 2 < s_.size() && (s_[tag + 2] == '-' || s_[tag + 2] == '+') ? s_[tag + 2] : '\0';
      char last = '\0';
      if (!block_of("endraw", tag + 2 + (first != '\0'), end, last)) continue;
      line_starting_ = at_ > 0 && s_[at_ - 1] == '\n';
      emit_text(before(tag, first, false));
      at_ = end;
      after(last, true);
      return true;
    }
    refuse("line ", line(), ": raw has no endraw");
  }

  bool block_of(std::string_view name, size_t from, size_t& end, char& sign) const {
    size_t i = std::min(s_.find_first_not_of(kSpaces, from), s_.size());
    if (!std::string_view(s_).substr(i).starts_with(name)) return false;
    i = std::min(s_.find_first_not_of(kSpaces, i + name.size()), s_.size());
    sign = i < s_.size() && (s_[i] == '-' || s_[i] == '+') ? s_[i] : '\0';
    if (!std::string_view(s_).substr(i + (sign != '\0')).starts_with("%}")) return false;
    end = i + 2 + (sign != '\0');
    return true;
  }

  void expression_token(std::string& open) {
    const char c = s_[at_];
    if (starts_name(c)) {
      const size_t begin = at_;
      while (at_ < s_.size() && in_name(s_[at_])) ++at_;
      return add(TokenKind::Name, s_.substr(begin, at_ - begin));
    }
    if (std::isdigit(static_cast<unsigned char>(c))) return number();
    if (c == '"' || c == '\'') return string(c);
    static constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", "<=", ">=", "+", "-", "/", "*", "%", "~", "[",
                                                      "]",  "(",  ")",  "{",  "}",  "=",  "<", ">", ".", ":", "|", ",", ";"};
    for (const std::string_view op : kOperators) {
      if (!std::string_view(s_).substr(at_).starts_with(op)) continue;
      if (op == "(" || op == "[" || op == "{") open += op == "(" ? ')' : op == "[" ? ']' : '}';
      if (op == ")" || op == "]" || op == "}") {
        if (open.empty() || open.back() != op[0]) refuse("line ", line(), ": unexpected '", op, "'");
        open.pop_back();
      }
      at_ += op.size();
      return add(TokenKind::Operator, std::string(op));
    }
    refuse("line ", line(), ": unexpected character '", std::string_view(s_).substr(at_, char_length(c)), "'");
  }

  void number() {
    std::string digits;
    bool real = false;
    const auto take = [&] {
      while (at_ < s_.size() && (std::isdigit(static_cast<unsigned char>(s_[at_])) || s_[at_] == '_'))
        if (s_[at_++] != '_') digits += s_[at_ - 1];
    };
    take();
    const auto digit_at = [&](size_t i) { return i < s_.size() && std::isdigit(static_cast<unsigned char>(s_[i])); };
    if (at_ < s_.size() && s_[at_] == '.' && digit_at(at_ + 1)) real = true, digits += '.', ++at_, take();
    if (at_ < s_.size() && (s_[at_] == 'e' || s_[at_] == 'E')) {
      const size_t sign = at_ + 1 < s_.size() && (s_[at_ + 1] == '+' || s_[at_ + 1] == '-');
      if (digit_at(at_ + 1 + sign)) real = true, digits += s_.substr(at_, 1 + sign), at_ += 1 + sign, take();
    }
    add(real ? TokenKind::Float : TokenKind::Integer, digits);
  }

  void string(char quote) {
    std::string out;
    for (++at_; at_ < s_.size() && s_[at_] != quote; ++at_) {
      if (s_[at_] != '\\' || at_ + 1 >= s_.size()) {
        out += s_[at_];
        continue;
      }
      escape(out, s_[++at_]);
    }
    if (at_ >= s_.size()) refuse("line ", line(), ": a string has no end");
    ++at_;
    add(TokenKind::String, std::move(out));
  }

  void escape(std::string& out, char c) {
    static constexpr std::pair<char, char> kPlain[] = {{'n', '\n'}, {'t', '\t'}, {'r', '\r'}, {'\\', '\\'}, {'\'', '\''},
                                                       {'"', '"'},  {'a', '\a'}, {'b', '\b'}, {'f', '\f'},  {'v', '\v'}};
    for (const auto& [name, value] : kPlain)
      if (c == name) {
        out += value;
        return;
      }
    if (c == '\n') return;
    if (c >= '0' && c <= '7') {
      char32_t code = 0;
      size_t n = 0;
      for (; n < 3 && at_ + n < s_.size() && s_[at_ + n] >= '0' && s_[at_ + n] <= '7'; ++n)
        code = code * 8 + static_cast<char32_t>(s_[at_ + n] - '0');
      at_ += n - 1;
      return append(out, code);
    }
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits == 0) {
      out += '\\';
      out += c;
      return;
    }
    char32_t code = 0;
    for (size_t i = 1; i <= digits; ++i) {
      const char h = at_ + i < s_.size() ? s_[at_ + i] : '\0';
      if (!std::isxdigit(static_cast<unsigned char>(h))) refuse("line ", line(), ": a damaged \\", std::string(1, c), " escape");
      code = code * 16 + static_cast<char32_t>(h <= '9' ? h - '0' : (h | 32) - 'a' + 10);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) refuse("line ", line(), ": an escape is no character");
    at_ += digits;
    append(out, code);
  }

  std::string s_;
  size_t at_ = 0, counted_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> lex(std::string_view source) {
  return Lexer(one_kind_of_newline(is_valid_utf8(source) ? std::string(source) : repair_utf8(source))).run();
}

}  // namespace tenon::text::jinja
