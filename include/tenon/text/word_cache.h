// Words whose tokens are known already: a direct-mapped table in which a newer word replaces an older one.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "tenon/text/model.h"

namespace tenon::text {

class WordCache {
 public:
  static constexpr size_t kWordBytes = 32, kWordTokens = 5, kSlots = 8192;
  struct alignas(64) Entry {
    uint8_t length = 0, count = 0;
    std::array<uint8_t, kWordTokens> ends;
    std::array<char, kWordBytes> word;
    std::array<int32_t, kWordTokens> ids;
  };

  /// The place of a word, or null if it is too long to be kept.
  Entry* place(std::string_view word) {
    if (word.size() > kWordBytes) return nullptr;
    return &entries_[static_cast<size_t>(hash(word) >> 40) % kSlots];
  }
  /// Appends the tokens of a word that its place holds, as bytes of the word that starts at `base`; false if it holds another.
  static bool recall(const Entry& entry, std::string_view word, uint32_t base, std::vector<ModelToken>& out) {
    if (entry.length != word.size() || std::memcmp(entry.word.data(), word.data(), word.size()) != 0) return false;
    uint32_t at = base;
    for (size_t i = 0; i < entry.count; ++i) {
      out.push_back({entry.ids[i], at, base + entry.ends[i]});
      at = base + entry.ends[i];
    }
    return true;
  }
  /// Keeps the tokens from out[first] on. Tokens that do not follow each other without a gap, as the bytes of one character, are not kept.
  static void keep(Entry& entry, std::string_view word, uint32_t base, const std::vector<ModelToken>& out, size_t first) {
    const size_t count = out.size() - first;
    if (count > kWordTokens) return;
    for (size_t i = first + 1; i < out.size(); ++i)
      if (out[i].begin != out[i - 1].end) return;
    entry.length = static_cast<uint8_t>(word.size());
    entry.count = static_cast<uint8_t>(count);
    std::memcpy(entry.word.data(), word.data(), word.size());
    for (size_t i = 0; i < count; ++i) {
      entry.ids[i] = out[first + i].id;
      entry.ends[i] = static_cast<uint8_t>(out[first + i].end - base);
    }
  }

 private:
  // Eight bytes at a step; words are mostly shorter.
  static uint64_t hash(std::string_view word) {
    constexpr uint64_t kFactor = 0x9E3779B97F4A7C15u;
    uint64_t h = word.size();
    for (size_t i = 0; i < word.size(); i += 8) {
      uint64_t bytes = 0;
      std::memcpy(&bytes, word.data() + i, std::min<size_t>(8, word.size() - i));
      h = (h ^ bytes) * kFactor;
      h ^= h >> 32;
    }
    return h * kFactor;
  }

  std::vector<Entry> entries_ = std::vector<Entry>(kSlots);
};

}  // namespace tenon::text
