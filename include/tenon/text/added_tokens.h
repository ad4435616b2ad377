// Added tokens: texts with an id of their own that are found before the other stages see the text.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tenon/text/normalizer.h"
#include "tenon/text/pieces.h"
#include "tenon/text/vocab.h"

namespace tenon::text {

struct AddedToken {
  std::string content;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the whitespace before it along
  bool rstrip = false;       // and that behind it
  bool normalized = true;    // is sought, itself normalised, in the normalised text; else in the text as it came
  bool special = false;      // skipped by decode(skip_special_tokens)
  bool operator==(const AddedToken&) const = default;
};

class AddedTokens {
 public:
  /// Adds tokens; one that the vocabulary or this list has keeps its id, others get the next free ids. Returns how many were new
  /// or changed. Errors: Error(Limit) if ids run out.
  size_t add(std::span<const AddedToken> tokens, const Vocab& vocab, const Normalizer* normalizer);

  /// Cuts the open pieces at the tokens that are (not) sought in the normalised text.
  void split(Pieces& pieces, bool normalized, bool ignore_specials) const;

  /// The id of a token, or -1.
  int32_t find(std::string_view content) const;
  struct Entry {
    AddedToken token;
    std::string text;  // what decode() writes: the content as the normalizer leaves it
  };
  const Entry* entry(int64_t id) const;
  /// Is the text the content of a special token? What decode(skip_special_tokens) skips.
  bool is_special(std::string_view text) const;
  /// All tokens by id.
  const std::map<int32_t, Entry>& entries() const { return entries_; }

 private:
  // All tokens of one kind as a trie over bytes.
  struct Trie {
    std::array<bool, 256> starts{};
    int single_start = -1;                         // the only first byte, if there is one
    std::unordered_map<uint64_t, uint32_t> edges;  // node << 8 | byte -> node
    std::vector<int32_t> ids;                      // of each node, or -1
    bool empty() const { return ids.size() <= 1; }
    void add(std::string_view text, int32_t id);
    void finish();
    /// The longest token at the first place that has one.
    bool find(std::string_view text, size_t from, size_t& begin, size_t& end, int32_t& id) const;
  };

  std::map<std::string, int32_t, std::less<>> ids_;
  std::map<int32_t, Entry> entries_;
  Trie plain_, normalized_;
};

}  // namespace tenon::text
