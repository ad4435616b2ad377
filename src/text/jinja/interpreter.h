// Runs a parsed template.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string>

#include "ast.h"

namespace tenon::text::jinja {

/// What a template may use: templates come from strangers.
inline constexpr int64_t kMostSteps = 5'000'000;       // a step is a node visited or 16 bytes made
inline constexpr size_t kMostBytes = size_t{32} << 20;  // of the output, and of one string
inline constexpr int kDeepestCalls = 1000;              // nested evaluations

/// Names and what they hold; an inner scope sees the outer ones.
struct Scope {
  Dict names;
  std::shared_ptr<Scope> parent;
};

class Interpreter {
 public:
  /// now: what strftime_now tells; unset: the clock.
  Interpreter(Dict variables, std::optional<std::time_t> now);
  /// Empties the namespaces that templates made: one may hold itself, and would never be freed.
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;
  /// Errors: Error(Format) with the line, for what Jinja would refuse and for raise_exception; Error(Limit) for templates that do too
  /// much.
  std::string render(const Body& body);

  Value call(const Value& f, const Arguments& args);
  void empty_at_the_end(const std::shared_ptr<DictValue>& space) { namespaces_.push_back(space); }
  /// Counts work. Errors: Error(Limit).
  void spend(size_t steps) {
    steps_ += static_cast<int64_t>(steps);
    if (steps_ > kMostSteps) fail(ErrorCode::Limit, "chat template", "it takes more than ", kMostSteps, " steps");
  }
  /// For a string or list about to be made. Errors: Error(Limit).
  void spend_bytes(size_t bytes) {
    if (bytes > kMostBytes) fail(ErrorCode::Limit, "chat template", "it makes a value of more than ", kMostBytes, " bytes");
    spend(bytes / 16);
  }

 private:
  enum class Flow : uint8_t { On, Break, Continue };
  class Deeper;
  using ScopeRef = std::shared_ptr<Scope>;

  Flow run(const Body& body, const ScopeRef& scope);
  Flow run(const Statement& s, const ScopeRef& scope);
  void run_for(const Statement& s, const List& items, const ScopeRef& scope, int depth);
  Value make_loop(const Statement& s, const List& items, size_t i, const ScopeRef& scope, int depth);
  Value make_macro(const Statement& s, const ScopeRef& scope, std::string name);
  std::string captured(const Body& body, const ScopeRef& scope);
  void assign(const Target& target, Value value, const ScopeRef& scope);
  void write(const std::string& text);

  Value evaluate(const Expression& e, const ScopeRef& scope);
  Value compute(const Expression& e, const ScopeRef& scope);
  Value look_up(const std::string& name, const ScopeRef& scope) const;
  Value binary(const std::string& op, const Value& a, const Value& b);
  Value slice(const Expression& e, const ScopeRef& scope);
  Arguments arguments(const CallArguments& call, const ScopeRef& scope);

  Dict variables_;
  std::vector<std::weak_ptr<DictValue>> namespaces_;
  std::string* out_ = nullptr;
  int64_t steps_ = 0;
  size_t written_ = 0;
  int depth_ = 0, line_ = 0;
};

/// a.name and a[key] as Jinja finds them: members first, then methods, or the other way round. Undefined if there is neither.
Value attribute(const Value& object, const std::string& name);
Value item(const Value& object, const Value& key);

}  // namespace tenon::text::jinja
