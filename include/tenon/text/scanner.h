// Scanner: patterns that are alternatives of runs of character classes, as the splits of byte-level BPE are, without a regex engine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "tenon/text/unicode.h"

namespace tenon::text {

/// Gives the matches that the reference library (Oniguruma, Unicode 16) gives. Each character is looked up once for all classes of the
/// pattern: a bit each. Const, and shared by threads; matching allocates nothing.
class Scanner {
 public:
  /// The scanner of a pattern, or null for one that is not of this family: branches of characters, classes, \p{..}, \s and \S, greedy or
  /// possessive repeats of them, groups that start a branch or end it optionally, (?i:..), (?=class), (?!class) and \z; no branch may be
  /// empty.
  static std::unique_ptr<Scanner> make(std::string_view pattern);

  /// Finds the first match at or behind `from` in valid UTF-8 text. Errors: Error(Limit) if matching takes too many steps.
  bool find(std::string_view text, size_t from, size_t& begin, size_t& end) const;

 private:
  friend class ScannerBuilder;
  using Bits = uint32_t;
  static constexpr size_t kNone = static_cast<size_t>(-1);

  struct Node {
    enum Kind : uint8_t { Run, Ahead, NotAhead, End, Optional } kind = Run;
    bool is_possessive = false;
    Bits bit = 0;
    uint32_t min = 1, max = 1;
    uint32_t first = 0, last = 0;  // Optional: its branches
  };
  struct Branch {
    uint32_t first, last;  // nodes
    Bits starts;           // classes that it can start with
  };
  struct Work;

  Bits bits_of(char32_t c) const {
    size_t interval = 0;
    if (cuts_.size() > 1) interval = interval_of(c);
    return kinds_[interval * kKinds + scan_kind(pages_[c])];
  }
  size_t interval_of(char32_t c) const;
  Bits bits_at(std::string_view text, size_t at, size_t& length) const;
  size_t match(const Node* node, const Node* stop, size_t at, Work& work) const;
  size_t match_run(const Node* node, const Node* stop, size_t at, Work& work) const;
  size_t run_end(const Node& node, size_t at, uint32_t& count, std::string_view text) const;

  std::vector<Node> nodes_;
  std::vector<Branch> branches_;  // those of the pattern, then those of optional groups
  uint32_t n_top_ = 0;
  std::array<Bits, 256> ascii_{};          // classes of each byte; none for those of longer characters
  std::array<uint32_t, 128> candidates_{};  // branches that can start with the character, one bit each
  Bits all_starts_ = 0;
  // Classes of the other characters: code points are cut at the limits of the pattern's explicit ranges; within an interval the general
  // category and whether it is a space decide.
  static constexpr size_t kKinds = 64;
  FlagPages pages_ = flag_pages();
  std::vector<char32_t> cuts_;  // first code point of each interval
  std::vector<Bits> kinds_;     // interval * kKinds + kind
};

}  // namespace tenon::text
