// The compiled normalisation rules of SentencePiece: a trie from character sequences to their replacements.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tenon::text {

class Charsmap {
 public:
  Charsmap() = default;
  /// Reads the bytes of a `precompiled_charsmap`. Errors: Error(Format) if they are damaged.
  explicit Charsmap(std::string_view bytes);

  bool empty() const { return units_.empty(); }
  /// The replacement of the shortest sequence with a rule that `text` starts with.
  std::optional<std::string_view> shortest(std::string_view text) const;
  /// The length of the longest such sequence (0 if there is none) and its replacement.
  std::pair<size_t, std::string_view> longest(std::string_view text) const;
  /// Whether some sequence with a rule starts with `text`, or is it.
  bool has_path(std::string_view text) const;

 private:
  // Calls found(length, place of the replacement) for each sequence that the text starts with until it returns false.
  template <class Found>
  void search(std::string_view text, Found&& found) const;
  std::string_view replacement(uint32_t at) const;

  std::vector<uint32_t> units_;  // as the darts-clone library lays them out
  std::string replacements_;     // each ends with NUL
};

}  // namespace tenon::text
