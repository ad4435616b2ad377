// Statements and expressions of templates. Source: the behaviour of Jinja 3.1's sandbox as Transformers sets it up.
#include "interpreter.h"

#include <algorithm>
#include <cmath>

#include "filters.h"
#include "percent_format.h"
#include "tenon/text/utf8.h"

namespace tenon::text::jinja {
namespace {

using E = Expression::Kind;
using S = Statement::Kind;

[[noreturn]] void complain_of(const Value& v, std::string_view what) { refuse("a value of type ", v.type(), " ", what); }

/// The result of an operation that tells whether it overflows. Errors: Error(Format) if it does.
template <class Operation>
int64_t whole(int64_t a, int64_t b, Operation&& operation) {
  int64_t r = 0;
  if (operation(&r)) refuse("an integer exceeds 64 bits: of ", a, " and ", b);
  return r;
}

}  // namespace

class Interpreter::Deeper {
 public:
  explicit Deeper(Interpreter& in) : in_(in) {
    if (++in_.depth_ > kDeepestCalls) {
      --in_.depth_;
      fail(ErrorCode::Limit, "chat template", "calls nested deeper than ", kDeepestCalls);
    }
  }
  ~Deeper() { --in_.depth_; }

 private:
  Interpreter& in_;
};

Interpreter::Interpreter(Dict variables, std::optional<std::time_t> now) : variables_(std::move(variables)) {
  variables_.emplace_back("strftime_now", Value::function("strftime_now", [now](Interpreter&, const Arguments& args) -> Value {
                            const std::string form = args.get(0, "format").str("strftime_now");
                            const std::time_t t = now.value_or(std::time(nullptr));
                            std::tm local{};
                            localtime_r(&t, &local);
                            char text[512];
                            const size_t n = form.empty() || form.size() > 256 ? 0 : std::strftime(text, sizeof text, form.c_str(), &local);
                            return std::string(text, n);
                          }));
}

Interpreter::~Interpreter() {
  for (const auto& space : namespaces_)
    if (const auto held = space.lock()) Dict().swap(held->items);
}

std::string Interpreter::render(const Body& body) {
  std::string out;
  out_ = &out;
  try {
    run(body, std::make_shared<Scope>());
  } catch (const Error& e) {
    if (e.code() != ErrorCode::Format || line_ == 0) throw;
    throw Error(ErrorCode::Format, std::string(e.what()) + " (line " + std::to_string(line_) + ")");
  }
  return out;
}

Interpreter::Flow Interpreter::run(const Body& body, const ScopeRef& scope) {
  const Deeper deeper(*this);
  for (const auto& s : body)
    if (const Flow flow = run(*s, scope); flow != Flow::On) return flow;
  return Flow::On;
}

Interpreter::Flow Interpreter::run(const Statement& s, const ScopeRef& scope) {
  spend(1);
  if (s.line) line_ = s.line;
  switch (s.kind) {
    case S::Text:
      write(s.text);
      break;
    case S::Output:
      write(evaluate(*s.expression, scope).text());
      break;
    case S::If:
      for (const auto& [condition, body] : s.branches)
        if (!condition || evaluate(*condition, scope).truth()) return run(body, scope);
      break;
    case S::For: {
      const Value over = evaluate(*s.expression, scope);
      run_for(s, iterate(over), scope, 0);
      break;
    }
    case S::Set:
      assign(s.target, evaluate(*s.expression, scope), scope);
      break;
    case S::SetBlock:
    case S::FilterBlock: {
      Value text = captured(s.body, std::make_shared<Scope>(Scope{{}, scope}));
      if (s.expression) {  // the innermost filter takes the text
        std::vector<const Expression*> chain;
        for (const Expression* f = s.expression.get(); f; f = f->a.get()) chain.push_back(f);
        for (auto f = chain.rbegin(); f != chain.rend(); ++f) text = apply_filter(*this, (*f)->text, text, arguments((*f)->call, scope));
      }
      if (s.kind == S::SetBlock)
        assign(s.target, std::move(text), scope);
      else
        write(text.text());
      break;
    }
    case S::Macro:
      assign({{s.text}, "", false}, make_macro(s, scope, s.text), scope);
      break;
    case S::CallBlock: {
      Arguments args = arguments(s.expression->call, scope);
      args.named.emplace_back("caller", make_macro(s, scope, "caller"));
      write(call(evaluate(*s.expression->a, scope), args).text());
      break;
    }
    case S::Scope: {
      const auto inner = std::make_shared<Scope>(Scope{{}, scope});
      for (const Parameter& p : s.parameters) inner->names.emplace_back(p.name, evaluate(*p.fallback, scope));
      return run(s.body, inner);
    }
    case S::Break:
      return Flow::Break;
    case S::Continue:
      return Flow::Continue;
  }
  return Flow::On;
}

void Interpreter::run_for(const Statement& s, const List& all, const ScopeRef& scope, int depth) {
  const Deeper deeper(*this);
  spend(all.size());
  List items;
  for (const Value& x : all) {
    if (s.condition) {
      const auto inner = std::make_shared<Scope>(Scope{{}, scope});
      assign(s.target, x, inner);
      if (!evaluate(*s.condition, inner).truth()) continue;
    }
    items.push_back(x);
  }
  bool any = false;
  for (size_t i = 0; i < items.size(); ++i) {
    any = true;
    const auto inner = std::make_shared<Scope>(Scope{{}, scope});
    inner->names.emplace_back("loop", make_loop(s, items, i, scope, depth));
    assign(s.target, items[i], inner);
    if (run(s.body, inner) == Flow::Break) break;
  }
  if (!any) run(s.other, std::make_shared<Scope>(Scope{{}, scope}));
}

Value Interpreter::make_loop(const Statement& s, const List& items, size_t i, const ScopeRef& scope, int depth) {
  const auto at = static_cast<int64_t>(i), n = static_cast<int64_t>(items.size());
  Dict fields = {{"index", at + 1},
                 {"index0", at},
                 {"first", at == 0},
                 {"last", at + 1 == n},
                 {"length", n},
                 {"revindex", n - at},
                 {"revindex0", n - at - 1},
                 {"depth", int64_t{depth} + 1},
                 {"depth0", int64_t{depth}}};
  fields.emplace_back("previtem", i > 0 ? items[i - 1] : Value(Undefined{"previtem"}));
  fields.emplace_back("nextitem", i + 1 < items.size() ? items[i + 1] : Value(Undefined{"nextitem"}));
  fields.emplace_back("cycle", Value::function("cycle", [i](Interpreter&, const Arguments& args) -> Value {
                        if (args.positional.empty()) refuse("loop.cycle: expected something to choose from");
                        return args.positional[i % args.positional.size()];
                      }));
  if (s.recursive)
    fields.emplace_back("__call__", Value::function("loop", [&s, scope, depth](Interpreter& in, const Arguments& args) -> Value {
                          std::string text, *before = std::exchange(in.out_, &text);
                          try {
                            in.run_for(s, iterate(args.get(0, "iterable")), scope, depth + 1);
                          } catch (...) {
                            in.out_ = before;
                            throw;
                          }
                          in.out_ = before;
                          return text;
                        }));
  const auto loop = std::make_shared<DictValue>(DictValue{std::move(fields), true});
  return loop;
}

/// The scope is held weakly: macros lie in it.
Value Interpreter::make_macro(const Statement& s, const ScopeRef& scope, std::string name) {
  return Value::function(name, [&s, name, weak = std::weak_ptr<Scope>(scope)](Interpreter& in, const Arguments& args) -> Value {
    const auto outer = weak.lock();
    if (!outer) refuse("macro '", name, "' is called outside of where it was made");
    const Deeper deeper(in);
    const auto inner = std::make_shared<Scope>(Scope{{}, outer});
    List rest;
    Dict others = args.named;
    if (const auto caller = std::find_if(others.begin(), others.end(), [](const auto& a) { return a.first == "caller"; });
        caller != others.end()) {
      inner->names.push_back(*caller);
      others.erase(caller);
    }
    for (size_t i = 0; i < s.parameters.size(); ++i) {
      const Parameter& p = s.parameters[i];
      const auto given = std::find_if(others.begin(), others.end(), [&](const auto& a) { return a.first == p.name; });
      if (i < args.positional.size()) {
        if (given != others.end()) refuse("macro '", name, "' got '", p.name, "' twice");
        inner->names.emplace_back(p.name, args.positional[i]);
      } else if (given != others.end()) {
        inner->names.emplace_back(p.name, given->second);
        others.erase(given);
      } else {
        inner->names.emplace_back(p.name, p.fallback ? in.evaluate(*p.fallback, inner) : Value(Undefined{p.name}));
      }
    }
    for (size_t i = s.parameters.size(); i < args.positional.size(); ++i) rest.push_back(args.positional[i]);
    inner->names.emplace_back("varargs", Value::list(std::move(rest), true));
    inner->names.emplace_back("kwargs", Value::dict(std::move(others)));
    return in.captured(s.body, inner);
  });
}

std::string Interpreter::captured(const Body& body, const ScopeRef& scope) {
  std::string text, *before = std::exchange(out_, &text);
  try {
    run(body, scope);
  } catch (...) {
    out_ = before;
    throw;
  }
  out_ = before;
  return text;
}

void Interpreter::write(const std::string& text) {
  written_ += text.size();
  if (written_ > kMostBytes) fail(ErrorCode::Limit, "chat template", "it writes more than ", kMostBytes, " bytes");
  spend(text.size() / 16);
  *out_ += text;
}

void Interpreter::assign(const Target& target, Value value, const ScopeRef& scope) {
  const auto set = [&](const std::string& name, Value v) {
    for (auto& [key, old] : scope->names)
      if (key == name) {
        old = std::move(v);
        return;
      }
    scope->names.emplace_back(name, std::move(v));
  };
  if (!target.attribute.empty()) {
    const Value space = look_up(target.names[0], scope);
    if (!space.is_dict() || !space.dict().namespace_like)
      refuse("only a namespace's attributes can be set, not those of '", target.names[0], "'");
    if (target.attribute.starts_with("_")) refuse("namespace: expected names without a leading underscore, got ", target.attribute);
    return space.dict().set(target.attribute, std::move(value));
  }
  if (!target.unpack) return set(target.names[0], std::move(value));
  List parts = iterate(value);
  if (parts.size() != target.names.size()) refuse("expected ", target.names.size(), " values to unpack, got ", parts.size());
  for (size_t i = 0; i < parts.size(); ++i) set(target.names[i], std::move(parts[i]));
}

Value Interpreter::look_up(const std::string& name, const ScopeRef& scope) const {
  for (const Scope* s = scope.get(); s; s = s->parent.get())
    for (const auto& [key, value] : s->names)
      if (key == name) return value;
  for (const Dict* names : {&variables_, &global_functions()})
    for (const auto& [key, value] : *names)
      if (key == name) return value;
  return Undefined{name};
}

Value Interpreter::call(const Value& f, const Arguments& args) {
  const Deeper deeper(*this);
  if (f.is_dict() && f.dict().namespace_like)
    if (const Value* self = f.dict().find("__call__")) return self->function().call(*this, args);
  if (!f.is_function()) complain_of(f, "cannot be called");
  return f.function().call(*this, args);
}

Arguments Interpreter::arguments(const CallArguments& call, const ScopeRef& scope) {
  Arguments args;
  for (const auto& e : call.positional) args.positional.push_back(evaluate(*e, scope));
  for (const auto& [name, e] : call.named) args.named.emplace_back(name, evaluate(*e, scope));
  return args;
}

Value Interpreter::evaluate(const Expression& e, const ScopeRef& scope) {
  const Deeper deeper(*this);
  spend(1);
  Value v = compute(e, scope);
  if (v.is_string()) spend_bytes(v.str().size());
  return v;
}

Value Interpreter::compute(const Expression& e, const ScopeRef& scope) {
  switch (e.kind) {
    case E::Literal:
      return e.value;
    case E::Name:
      return look_up(e.text, scope);
    case E::ListOf:
    case E::TupleOf: {
      List items;
      for (const auto& x : e.args) items.push_back(evaluate(*x, scope));
      return Value::list(std::move(items), e.kind == E::TupleOf);
    }
    case E::DictOf: {
      DictValue d;
      for (size_t i = 0; i < e.args.size(); i += 2) {
        const Value key = evaluate(*e.args[i], scope);
        d.set(key.is_string() ? key.str() : key.text(), evaluate(*e.args[i + 1], scope));
        spend(d.items.size());
      }
      return Value::dict(std::move(d.items));
    }
    case E::Attribute:
      return attribute(evaluate(*e.a, scope), e.text);
    case E::Item:
      return item(evaluate(*e.a, scope), evaluate(*e.b, scope));
    case E::Slice:
      return slice(e, scope);
    case E::Call: {
      const Value f = evaluate(*e.a, scope);
      if (f.is_undefined()) refuse("'", e.a->text, "' is undefined");
      return call(f, arguments(e.call, scope));
    }
    case E::Filter: {
      const Value v = evaluate(*e.a, scope);
      return apply_filter(*this, e.text, v, arguments(e.call, scope));
    }
    case E::Test: {
      const Value v = evaluate(*e.a, scope);
      return apply_test(*this, e.text, v, arguments(e.call, scope));
    }
    case E::Unary: {
      const Value v = evaluate(*e.a, scope);
      if (e.text == "not") return !v.truth();
      if (!v.is_number()) complain_of(v, "has no sign");
      if (v.is<double>()) return e.text == "-" ? -v.number() : v.number();
      const int64_t i = v.integer();
      return e.text == "-" ? whole(0, i, [&](int64_t* r) { return __builtin_sub_overflow(int64_t{0}, i, r); }) : i;
    }
    case E::Binary: {
      const Value a = evaluate(*e.a, scope);
      return binary(e.text, a, evaluate(*e.b, scope));
    }
    case E::And: {
      Value a = evaluate(*e.a, scope);
      return a.truth() ? evaluate(*e.b, scope) : a;
    }
    case E::Or: {
      Value a = evaluate(*e.a, scope);
      return a.truth() ? a : evaluate(*e.b, scope);
    }
    case E::Compare: {
      Value left = evaluate(*e.a, scope);
      for (size_t i = 0; i < e.args.size(); ++i) {
        const Value right = evaluate(*e.args[i], scope);
        const std::string& op = e.texts[i];
        spend(right.is_list() ? right.items().size() : right.is_string() ? right.str().size() / 16 : 0);
        const bool holds = op == "=="       ? equal(left, right)
                           : op == "!="     ? !equal(left, right)
                           : op == "in"     ? contains(right, left)
                           : op == "not in" ? !contains(right, left)
                           : op == "<"      ? compare(left, right) < 0
                           : op == "<="     ? compare(left, right) <= 0
                           : op == ">"      ? compare(left, right) > 0
                                            : compare(left, right) >= 0;
        if (!holds) return false;
        left = right;
      }
      return true;
    }
    case E::Concat: {
      std::string text;
      for (const auto& x : e.args) {
        text += evaluate(*x, scope).text();
        spend_bytes(text.size());
      }
      return text;
    }
    case E::Choice:
      if (evaluate(*e.b, scope).truth()) return evaluate(*e.a, scope);
      return e.c ? evaluate(*e.c, scope) : Value(Undefined{"else"});
  }
  return Undefined{};
}

Value Interpreter::binary(const std::string& op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (op == "/" || op == "//" || op == "%")
      if (b.number() == 0) refuse("division by zero");
    if (op == "/") return a.number() / b.number();
    if (a.is<double>() || b.is<double>() || (op == "**" && b.number() < 0)) {
      const double x = a.number(), y = b.number();
      if (op == "+") return x + y;
      if (op == "-") return x - y;
      if (op == "*") return x * y;
      if (op == "**") return std::pow(x, y);
      if (op == "//") return std::floor(x / y);
      const double r = std::fmod(x, y);
      return r != 0 && (r < 0) != (y < 0) ? r + y : r;
    }
    const int64_t x = a.integer(), y = b.integer();
    if (op == "+") return whole(x, y, [&](int64_t* r) { return __builtin_add_overflow(x, y, r); });
    if (op == "-") return whole(x, y, [&](int64_t* r) { return __builtin_sub_overflow(x, y, r); });
    if (op == "*") return whole(x, y, [&](int64_t* r) { return __builtin_mul_overflow(x, y, r); });
    if (op == "**") {
      int64_t power = 1;
      for (int64_t i = 0; i < y && power != 0 && x != 1; ++i) {
        spend(1);
        power = whole(x, y, [&](int64_t* r) { return __builtin_mul_overflow(power, x, r); });
      }
      return power;
    }
    if (y == -1) return op == "%" ? int64_t{0} : whole(x, y, [&](int64_t* r) { return __builtin_sub_overflow(int64_t{0}, x, r); });
    const int64_t q = x / y - ((x % y != 0) && ((x < 0) != (y < 0)));
    return op == "//" ? q : x - q * y;
  }
  if (op == "+" && a.is_string() && b.is_string()) {
    spend_bytes(a.str().size() + b.str().size());
    return a.str() + b.str();
  }
  if (op == "+" && a.is_list() && b.is_list() && a.is_tuple() == b.is_tuple()) {
    spend(a.items().size() + b.items().size());
    List all = a.items();
    all.insert(all.end(), b.items().begin(), b.items().end());
    return Value::list(std::move(all), a.is_tuple());
  }
  if (op == "%" && a.is_string()) {
    std::string text = percent_format(a.str(), b.is_tuple() ? b.items() : List{b});
    spend_bytes(text.size());
    return text;
  }
  if (op == "*" && (a.is_number() || b.is_number())) {
    const Value& what = a.is_number() ? b : a;
    const int64_t times = std::max<int64_t>(0, (a.is_number() ? a : b).integer("*"));
    if (what.is_string() || what.is_list()) {
      const size_t n = what.is_string() ? what.str().size() : what.items().size() * sizeof(Value);
      if (n > 0 && static_cast<size_t>(times) > kMostBytes / n) spend_bytes(kMostBytes + 1);
      spend_bytes(n * static_cast<size_t>(times));
      std::string text;
      List items;
      for (int64_t i = 0; i < (n ? times : 0); ++i) {
        if (what.is_string())
          text += what.str();
        else
          items.insert(items.end(), what.items().begin(), what.items().end());
      }
      return what.is_string() ? Value(std::move(text)) : Value::list(std::move(items), what.is_tuple());
    }
  }
  refuse("'", op, "': expected numbers", op == "+" ? ", strings or lists" : "", ", got ", a.type(), " and ", b.type());
}

Value Interpreter::slice(const Expression& e, const ScopeRef& scope) {
  const Value v = evaluate(*e.a, scope);
  Value part[3];
  for (size_t i = 0; i < 3; ++i) part[i] = e.args[i] ? evaluate(*e.args[i], scope) : Value(None{});
  if (v.is_undefined()) refuse("'", e.a->text, "' is undefined");
  const List all = v.is_string() || v.is_list() ? iterate(v) : v.items("slice");
  spend(all.size());
  const auto n = static_cast<int64_t>(all.size());
  const int64_t step = part[2].is_none() ? 1 : part[2].integer("slice");
  if (step == 0) refuse("a slice's step is 0");
  const auto bound = [&](const Value& x, int64_t fallback) {
    if (x.is_none()) return fallback;
    const int64_t i = x.integer("slice");
    return std::clamp<int64_t>(i < 0 ? std::max(i, -n - 1) + n : i, step < 0 ? -1 : 0, step < 0 ? n - 1 : n);
  };
  const int64_t begin = bound(part[0], step < 0 ? n - 1 : 0), end = bound(part[1], step < 0 ? -1 : n);
  List items;
  const int64_t stride = std::clamp<int64_t>(step, -n - 1, n + 1);
  for (int64_t i = begin; stride > 0 ? i < end : i > end; i += stride) items.push_back(all[static_cast<size_t>(i)]);
  if (!v.is_string()) return Value::list(std::move(items), v.is_tuple());
  std::string text;
  for (const Value& c : items) text += c.str();
  return text;
}

Value attribute(const Value& object, const std::string& name) {
  if (object.is_undefined()) refuse("an undefined value has no '", name, "'");
  if (name.starts_with("_")) return Undefined{name};
  if (object.is_dict() && object.dict().namespace_like) {
    const Value* value = object.dict().find(name);
    return value ? *value : Value(Undefined{name});
  }
  Value m = method(object, name);
  if (!m.is_undefined() || !object.is_dict()) return m.is_undefined() ? Value(Undefined{name}) : m;
  const Value* value = object.dict().find(name);
  return value ? *value : Value(Undefined{name});
}

Value item(const Value& object, const Value& key) {
  if (object.is_undefined()) refuse("an undefined value has no items");
  if (object.is_dict()) {
    const Value* value = object.dict().find(key.is_string() ? key.str() : key.text());
    if (value && !(object.dict().namespace_like && key.text().starts_with("_"))) return *value;
  } else if ((object.is_list() || object.is_string()) && (key.is<int64_t>() || key.is<bool>())) {
    const int64_t n = object.is_list() ? static_cast<int64_t>(object.items().size()) : static_cast<int64_t>(count_chars(object.str()));
    int64_t i = key.integer();
    if (i < 0) i += n;
    if (i < 0 || i >= n) return Undefined{"item " + key.text()};
    if (object.is_list()) return object.items()[static_cast<size_t>(i)];
    return substring(object.str(), static_cast<size_t>(i), static_cast<size_t>(i) + 1);
  }
  return key.is_string() && !key.str().starts_with("_") ? attribute(object, key.str()) : Value(Undefined{key.text()});
}

}  // namespace tenon::text::jinja
