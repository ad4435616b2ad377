// Patterns as tokenizer.json writes them (Oniguruma, Ruby syntax), run by PCRE2 with its just-in-time compiler.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace tenon::text {

/// A compiled pattern; const, and shared by threads.
class Regex {
 public:
  /// Errors: Error(Format) with the pattern and the position for what cannot be compiled.
  explicit Regex(std::string_view pattern);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// Working memory for matching; one per thread, reusable for every text.
  class Matcher {
   public:
    explicit Matcher(const Regex& regex);
    ~Matcher();
    Matcher(const Matcher&) = delete;
    Matcher& operator=(const Matcher&) = delete;
    /// Finds the first match at or behind `from` in valid UTF-8 text. Errors: Error(Limit) if matching needs too much memory or time.
    bool find(std::string_view text, size_t from, size_t& begin, size_t& end);

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

}  // namespace tenon::text
