// A parser of Jinja's expressions and statements by recursive descent. Source: the grammar of Jinja 3.1.
#include "parser.h"

#include <algorithm>
#include <charconv>
#include <span>

#include "filters.h"
#include "lexer.h"

namespace tenon::text::jinja {
namespace {

constexpr int kDeepest = 150;  // of brackets and blocks: the stack must hold them
using E = Expression::Kind;
using S = Statement::Kind;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Body run() {
    Body body = statements({});
    if (peek().kind != TokenKind::End) complain("unexpected end tag");
    return body;
  }

 private:
  class Deeper {
   public:
    explicit Deeper(Parser& p) : p_(p) {
      if (++p_.depth_ > kDeepest) p_.complain("nested too deeply");
    }
    ~Deeper() { --p_.depth_; }

   private:
    Parser& p_;
  };

  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token next() {
    Token t = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return t;
  }
  bool skip_op(std::string_view op) {
    if (!peek().op(op)) return false;
    next();
    return true;
  }
  bool skip_name(std::string_view name) {
    if (!peek().name(name)) return false;
    next();
    return true;
  }
  void expect_op(std::string_view op) {
    if (!skip_op(op)) complain(op);
  }
  void expect_name(std::string_view name) {
    if (!skip_name(name)) complain(name);
  }
  void expect(TokenKind kind, std::string_view what) {
    if (peek().kind != kind) complain(what);
    next();
  }
  std::string name_token() {
    if (peek().kind != TokenKind::Name) complain("a name");
    return next().text;
  }
  [[noreturn]] void complain(std::string_view expected) const {
    const Token& t = peek();
    refuse("line ", t.line, ": expected ", expected, ", got ", t.kind == TokenKind::End ? "the end of the template" : "'" + t.text + "'");
  }
  ExpressionRef make(E kind) const {
    auto e = std::make_unique<Expression>();
    e->kind = kind, e->line = peek().line;
    return e;
  }

  // --- statements ---
  /// Up to a block that begins with one of `ends`, whose name is then the next token.
  Body statements(std::span<const std::string_view> ends) {
    const Deeper deeper(*this);
    Body body;
    for (;;) {
      const Token& t = peek();
      if (t.kind == TokenKind::End) {
        if (!ends.empty()) complain(ends.back());
        return body;
      }
      auto s = std::make_unique<Statement>();
      s->line = t.line;
      if (t.kind == TokenKind::Text) {
        s->text = next().text;
      } else if (t.kind == TokenKind::VariableBegin) {
        next();
        s->kind = S::Output, s->expression = tuple_or_one();
        expect(TokenKind::VariableEnd, "}}");
      } else {
        for (const std::string_view end : ends)
          if (peek(1).name(end)) {
            next();
            return body;
          }
        next();
        block(*s);
      }
      body.push_back(std::move(s));
    }
  }
  Body body_until(std::span<const std::string_view> ends) {
    expect(TokenKind::BlockEnd, "%}");
    return statements(ends);
  }
  Body body_until(std::string_view end) {
    Body body = body_until(std::span(&end, 1));
    next();
    return body;
  }
  void end_block() { expect(TokenKind::BlockEnd, "%}"); }

  void block(Statement& s) {
    const std::string tag = name_token();
    if (tag == "if") return if_block(s);
    if (tag == "for") return for_block(s);
    if (tag == "set") return set_block(s);
    if (tag == "macro") return macro_block(s);
    if (tag == "call") return call_block(s);
    if (tag == "with") return with_block(s);
    if (tag == "filter") {
      s.kind = S::FilterBlock, s.expression = filters(nullptr, true), s.body = body_until("endfilter");
    } else if (tag == "generation") {
      s.kind = S::Scope, s.body = body_until("endgeneration");
    } else if ((tag == "break" || tag == "continue") && loops_ > 0) {
      s.kind = tag == "break" ? S::Break : S::Continue;
    } else {
      refuse("line ", s.line, ": unknown tag '", tag, "'");
    }
    end_block();
  }

  void if_block(Statement& s) {
    static constexpr std::string_view kEnds[] = {"elif", "else", "endif"};
    s.kind = S::If;
    ExpressionRef condition = tuple_or_one(false);
    for (;;) {
      Body body = body_until(condition ? std::span<const std::string_view>(kEnds) : std::span<const std::string_view>(kEnds).last(1));
      s.branches.emplace_back(std::move(condition), std::move(body));
      const std::string end = name_token();
      if (end == "endif") break;
      condition = end == "elif" ? tuple_or_one(false) : nullptr;
    }
    end_block();
  }

  void for_block(Statement& s) {
    static constexpr std::string_view kEnds[] = {"else", "endfor"};
    s.kind = S::For;
    s.target = target("in", false);
    expect_name("in");
    s.expression = tuple_or_one(false);
    if (skip_name("if")) s.condition = expression();
    s.recursive = skip_name("recursive");
    ++loops_;
    s.body = body_until(kEnds);
    --loops_;
    if (name_token() == "else") s.other = body_until("endfor");
    end_block();
  }

  Target target(std::string_view end, bool attributes) {
    Target t;
    const bool bracket = skip_op("(");
    do {
      if (peek().name(end) || peek().op(")")) break;
      t.names.push_back(name_token());
    } while (skip_op(",") && (t.unpack = true));
    if (bracket) expect_op(")");
    if (attributes && !t.unpack && skip_op(".")) t.attribute = name_token();
    if (t.names.empty()) complain("a name");
    return t;
  }

  void set_block(Statement& s) {
    s.target = target("=", true);
    if (skip_op("=")) {
      s.kind = S::Set, s.expression = tuple_or_one();
    } else {
      s.kind = S::SetBlock;
      if (peek().op("|")) s.expression = filters(nullptr, false);
      s.body = body_until("endset");
    }
    end_block();
  }

  void signature(Statement& s) {
    if (!skip_op("(")) return;
    while (!skip_op(")")) {
      Parameter& p = s.parameters.emplace_back();
      p.name = name_token();
      if (skip_op("=")) p.fallback = expression();
      if (!peek().op(")")) expect_op(",");
    }
  }
  Body outside_loops(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Body body = body_until(end);
    loops_ = loops;
    return body;
  }
  void macro_block(Statement& s) {
    s.kind = S::Macro, s.text = name_token();
    signature(s);
    s.body = outside_loops("endmacro");
    end_block();
  }
  void call_block(Statement& s) {
    s.kind = S::CallBlock;
    signature(s);
    s.expression = expression();
    if (s.expression->kind != E::Call) complain("a call");
    s.body = outside_loops("endcall");
    end_block();
  }
  void with_block(Statement& s) {
    s.kind = S::Scope;
    while (peek().kind != TokenKind::BlockEnd) {
      Parameter& p = s.parameters.emplace_back();
      p.name = name_token();
      expect_op("=");
      p.fallback = expression();
      if (!skip_op(",")) break;
    }
    s.body = body_until("endwith");
    end_block();
  }

  // --- expressions, weakest first ---
  ExpressionRef tuple_or_one(bool choice = true) {
    ExpressionRef first = choice ? expression() : either();
    if (!peek().op(",")) return first;
    ExpressionRef tuple = make(E::TupleOf);
    tuple->args.push_back(std::move(first));
    while (skip_op(",")) {
      if (peek().kind == TokenKind::VariableEnd || peek().kind == TokenKind::BlockEnd || peek().op(")") || peek().name("if")) break;
      tuple->args.push_back(choice ? expression() : either());
    }
    return tuple;
  }
  ExpressionRef expression() {
    const Deeper deeper(*this);
    ExpressionRef e = either();
    while (peek().name("if")) {
      ExpressionRef choice = make(E::Choice);
      next();
      choice->a = std::move(e), choice->b = either();
      if (skip_name("else")) choice->c = expression();
      e = grown(std::move(choice));
    }
    return e;
  }
  template <class Operand>
  ExpressionRef chain(E kind, std::initializer_list<std::string_view> operators, Operand&& operand) {
    ExpressionRef left = operand();
    for (;;) {
      bool found = false;
      for (const std::string_view op : operators) {
        if (!(kind == E::Binary ? peek().op(op) : peek().name(op))) continue;
        found = true;
        ExpressionRef e = make(kind);
        e->text = next().text, e->a = std::move(left), e->b = operand();
        left = grown(std::move(e));
        break;
      }
      if (!found) return left;
    }
  }
  ExpressionRef either() {
    return chain(E::Or, {"or"}, [&] { return chain(E::And, {"and"}, [&] { return negation(); }); });
  }
  ExpressionRef negation() {
    if (!peek().name("not")) return comparison();
    const Deeper deeper(*this);
    ExpressionRef e = make(E::Unary);
    e->text = next().text, e->a = negation();
    return e;
  }
  ExpressionRef comparison() {
    ExpressionRef first = sum(), e;
    for (;;) {
      std::string op;
      for (const char* o : {"==", "!=", "<", "<=", ">", ">="})
        if (peek().op(o)) op = o;
      if (peek().name("in")) op = "in";
      if (peek().name("not") && peek(1).name("in")) next(), op = "not in";
      if (op.empty()) break;
      next();
      if (!e) e = make(E::Compare), e->a = std::move(first);
      e->texts.push_back(op), e->args.push_back(sum());
    }
    return e ? std::move(e) : std::move(first);
  }
  ExpressionRef sum() {
    return chain(E::Binary, {"+", "-"}, [&] { return concat(); });
  }
  ExpressionRef concat() {
    ExpressionRef first = product();
    if (!peek().op("~")) return first;
    ExpressionRef e = make(E::Concat);
    e->args.push_back(std::move(first));
    while (skip_op("~")) e->args.push_back(product());
    return e;
  }
  ExpressionRef product() {
    return chain(E::Binary, {"*", "//", "/", "%"}, [&] { return chain(E::Binary, {"**"}, [&] { return unary(true); }); });
  }
  ExpressionRef unary(bool with_filters) {
    const Deeper deeper(*this);
    ExpressionRef e;
    if (peek().op("-") || peek().op("+")) {
      e = make(E::Unary);
      e->text = next().text, e->a = unary(false);
    } else {
      e = primary();
    }
    e = postfix(std::move(e));
    return with_filters ? filters_and_tests(std::move(e)) : std::move(e);
  }

  ExpressionRef primary() {
    const Token t = peek();
    ExpressionRef e = make(E::Literal);
    if (t.kind == TokenKind::Name) {
      next();
      if (t.text == "true" || t.text == "True")
        e->value = true;
      else if (t.text == "false" || t.text == "False")
        e->value = false;
      else if (t.text == "none" || t.text == "None")
        e->value = None{};
      else
        e->kind = E::Name, e->text = t.text;
    } else if (t.kind == TokenKind::String) {
      std::string all;
      while (peek().kind == TokenKind::String) all += next().text;
      e->value = all;
    } else if (t.kind == TokenKind::Integer) {
      int64_t value = 0;
      const auto end = t.text.data() + t.text.size();
      const auto got = std::from_chars(t.text.data(), end, value);
      if (got.ec != std::errc() || got.ptr != end) complain("an integer of 64 bits");
      next(), e->value = value;
    } else if (t.kind == TokenKind::Float) {
      double value = 0;
      std::from_chars(t.text.data(), t.text.data() + t.text.size(), value);
      next(), e->value = value;
    } else if (skip_op("(")) {
      if (skip_op(")")) {
        e->kind = E::TupleOf;
        return e;
      }
      e = tuple_or_one();
      expect_op(")");
    } else if (skip_op("[")) {
      e->kind = E::ListOf;
      while (!skip_op("]")) {
        e->args.push_back(expression());
        if (!peek().op("]")) expect_op(",");
      }
    } else if (skip_op("{")) {
      e->kind = E::DictOf;
      while (!skip_op("}")) {
        e->args.push_back(expression());
        expect_op(":");
        e->args.push_back(expression());
        if (!peek().op("}")) expect_op(",");
      }
    } else {
      complain("an expression");
    }
    return e;
  }

  ExpressionRef postfix(ExpressionRef e) {
    for (;; e = grown(std::move(e))) {
      if (peek().op(".")) {
        ExpressionRef member = make(E::Attribute);
        next();
        if (peek().kind == TokenKind::Integer)
          member->kind = E::Item, member->b = primary();
        else
          member->text = name_token();
        member->a = std::move(e), e = std::move(member);
      } else if (peek().op("[")) {
        e = subscript(std::move(e));
      } else if (peek().op("(")) {
        ExpressionRef call = make(E::Call);
        call->a = std::move(e), call->call = arguments(), e = std::move(call);
      } else {
        return e;
      }
    }
  }
  ExpressionRef subscript(ExpressionRef e) {
    ExpressionRef item = make(E::Item);
    next();
    item->a = std::move(e);
    std::vector<ExpressionRef> parts(1);
    if (!peek().op(":")) parts[0] = expression();
    if (!peek().op(":")) {
      item->b = std::move(parts[0]);
    } else {
      item->kind = E::Slice;
      while (skip_op(":") && parts.size() < 3) parts.push_back(peek().op(":") || peek().op("]") ? nullptr : expression());
      parts.resize(3);
      item->args = std::move(parts);
    }
    expect_op("]");
    return item;
  }
  CallArguments arguments() {
    CallArguments call;
    expect_op("(");
    while (!skip_op(")")) {
      if (peek().op("*") || peek().op("**")) refuse("line ", peek().line, ": unpacked arguments are not supported");
      if (peek().kind == TokenKind::Name && peek(1).op("=")) {
        std::string name = next().text;
        next();
        call.named.emplace_back(std::move(name), expression());
      } else {
        if (!call.named.empty()) complain("a named argument");
        call.positional.push_back(expression());
      }
      if (!peek().op(")")) expect_op(",");
    }
    return call;
  }

  std::string dotted() {
    std::string name = name_token();
    while (skip_op(".")) name.append(".").append(name_token());
    return name;
  }
  /// | a | b(...); bare: the first filter has no bar.
  ExpressionRef filters(ExpressionRef e, bool bare) {
    while (bare || peek().op("|")) {
      if (!bare) next();
      bare = false;
      ExpressionRef f = make(E::Filter);
      f->text = dotted();
      if (!is_filter(f->text)) refuse("line ", f->line, ": unknown filter '", f->text, "'");
      if (peek().op("(")) f->call = arguments();
      f->a = std::move(e), e = grown(std::move(f));
    }
    return e;
  }
  ExpressionRef filters_and_tests(ExpressionRef e) {
    for (;; e = grown(std::move(e))) {
      if (peek().op("|"))
        e = filters(std::move(e), false);
      else if (peek().name("is"))
        e = test(std::move(e));
      else if (peek().op("(")) {
        ExpressionRef call = make(E::Call);
        call->a = std::move(e), call->call = arguments(), e = std::move(call);
      } else {
        return e;
      }
    }
  }
  ExpressionRef test(ExpressionRef e) {
    ExpressionRef t = make(E::Test);
    next();
    const bool negated = skip_name("not");
    t->text = dotted();
    if (!is_test(t->text)) refuse("line ", t->line, ": unknown test '", t->text, "'");
    const Token& n = peek();
    if (n.op("(")) {
      t->call = arguments();
    } else if (n.kind == TokenKind::String || n.kind == TokenKind::Integer || n.kind == TokenKind::Float || n.op("[") || n.op("{") ||
               (n.kind == TokenKind::Name && !n.name("else") && !n.name("or") && !n.name("and") && !n.name("is") && !n.name("if") &&
                !n.name("not") && !n.name("in"))) {
      t->call.positional.push_back(postfix(primary()));
    }
    t->a = std::move(e);
    if (!negated) return grown(std::move(t));
    ExpressionRef no = make(E::Unary);
    no->text = "not", no->a = grown(std::move(t));
    return no;
  }

  /// Measures a node whose children are there: chains make trees as deep as they are long, and evaluation goes down them.
  ExpressionRef grown(ExpressionRef e) const {
    const auto below = [&](const ExpressionRef& child) {
      if (child) e->height = std::max(e->height, child->height + 1);
    };
    below(e->a), below(e->b), below(e->c);
    for (const auto& x : e->args) below(x);
    for (const auto& x : e->call.positional) below(x);
    for (const auto& [_, x] : e->call.named) below(x);
    if (e->height > kHighest) complain("a shorter expression");
    return e;
  }

  static constexpr int kHighest = 300;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0;
};

}  // namespace

Body parse(std::string_view source) { return Parser(lex(source)).run(); }

}  // namespace tenon::text::jinja
