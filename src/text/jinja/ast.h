// What a parsed template is made of.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "value.h"

namespace tenon::text::jinja {

struct Expression;
using ExpressionRef = std::unique_ptr<Expression>;

struct CallArguments {
  std::vector<ExpressionRef> positional;
  std::vector<std::pair<std::string, ExpressionRef>> named;
};

/// One expression; which members are used depends on its kind.
struct Expression {
  enum class Kind : uint8_t {
    Literal,    // value
    Name,       // text
    ListOf,     // args
    TupleOf,    // args
    DictOf,     // args: key, value, key, value, ...
    Attribute,  // a . text
    Item,       // a [ b ]
    Slice,      // a [ args ], three of which may be null
    Call,       // a ( call )
    Filter,     // a | text ( call ); a is null in a filter block
    Test,       // a is text ( call )
    Unary,      // text a: "-", "+", "not"
    Binary,     // a text b, both computed
    And,        // a and b
    Or,         // a or b
    Compare,    // a, then args[i] by texts[i]
    Concat,     // args joined as text
    Choice,     // a if b else c (c may be null)
  };

  Kind kind = Kind::Literal;
  int line = 0, height = 1;  // height: of the tree below
  Value value = None{};
  std::string text;
  ExpressionRef a, b, c;
  std::vector<ExpressionRef> args;
  std::vector<std::string> texts;
  CallArguments call;
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

/// What an assignment or a loop writes to: names, or an attribute of a namespace.
struct Target {
  std::vector<std::string> names;  // several: unpacked
  std::string attribute;           // names[0] . attribute
  bool unpack = false;
};

struct Parameter {
  std::string name;
  ExpressionRef fallback;
};

struct Statement {
  enum class Kind : uint8_t {
    Text,         // text
    Output,       // expression
    If,           // branches; a null condition is else
    For,          // target in expression if condition: body else other
    Set,          // target = expression
    SetBlock,     // target = body through expression (filters, may be null)
    Macro,        // text, parameters, body
    CallBlock,    // expression called with a caller of parameters and body
    FilterBlock,  // body through expression
    Scope,        // {% with %}: parameters as names and values, body; {% generation %}: body
    Break,
    Continue,
  };

  Kind kind = Kind::Text;
  int line = 0;
  std::string text;
  ExpressionRef expression, condition;
  Target target;
  std::vector<Parameter> parameters;
  std::vector<std::pair<ExpressionRef, Body>> branches;
  Body body, other;
  bool recursive = false;
};

}  // namespace tenon::text::jinja
