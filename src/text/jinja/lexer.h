// A template cut into text, and the tokens of its expressions and statements.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::text::jinja {

enum class TokenKind : uint8_t { Text, VariableBegin, VariableEnd, BlockBegin, BlockEnd, Name, String, Integer, Float, Operator, End };

struct Token {
  TokenKind kind = TokenKind::End;
  std::string text;  // of strings: with escapes resolved
  int line = 0;

  bool is(TokenKind k, std::string_view t) const { return kind == k && text == t; }
  bool op(std::string_view t) const { return is(TokenKind::Operator, t); }
  bool name(std::string_view t) const { return is(TokenKind::Name, t); }
};

/// With trim_blocks and lstrip_blocks, as Transformers sets them.
/// Errors: Error(Format) with the line.
std::vector<Token> lex(std::string_view source);

}  // namespace tenon::text::jinja
