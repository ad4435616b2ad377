// Words whose tokens are known already: a table of two places for each hash, in which a newer word replaces the older one.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "tenon/text/model.h"

namespace tenon::text {

class WordCache {
 public:
  static constexpr size_t kWordBytes = 32, kWordTokens = 6, kSetBits = 13;
  struct alignas(64) Entry {
    uint8_t length = 0, count = 0;
    std::array<uint8_t, kWordTokens> ends;
    std::array<char, kWordBytes> word;
    std::array<int32_t, kWordTokens> ids;
  };
  /// The two entries that may hold a word, the newer one first.
  using Set = std::array<Entry, 2>;

  /// The place of a word, or null if it is too long to be kept.
  Set* place(std::string_view word) {
    return word.size() > kWordBytes ? nullptr : &sets_[static_cast<size_t>(hash(word) >> (64 - kSetBits))];
  }
  /// Appends the tokens of a word that its place holds, as bytes of the word that starts at `base`; false if it does not hold it.
  static bool recall(const Set& set, std::string_view word, uint32_t base, std::vector<ModelToken>& out) {
    for (const Entry& entry : set) {
      if (entry.length != word.size() || !is_same(entry.word.data(), word.data(), word.size())) continue;
      uint32_t at = base;
      for (size_t i = 0; i < entry.count; ++i) {
        out.push_back({entry.ids[i], at, base + entry.ends[i]});
        at = base + entry.ends[i];
      }
      return true;
    }
    return false;
  }
  /// Keeps the tokens from out[first] on. Tokens that do not follow each other without a gap, as the bytes of one character, are not kept.
  static void keep(Set& set, std::string_view word, uint32_t base, const std::vector<ModelToken>& out, size_t first) {
    const size_t count = out.size() - first;
    if (count > kWordTokens) return;
    for (size_t i = first; i < out.size(); ++i)
      if (out[i].begin != (i > first ? out[i - 1].end : base)) return;
    set[1] = set[0];
    Entry& entry = set[0];
    entry.length = static_cast<uint8_t>(word.size());
    entry.count = static_cast<uint8_t>(count);
    std::memcpy(entry.word.data(), word.data(), word.size());
    for (size_t i = 0; i < count; ++i) {
      entry.ids[i] = out[first + i].id;
      entry.ends[i] = static_cast<uint8_t>(out[first + i].end - base);
    }
  }

 private:
  template <class Number = uint64_t>
  static uint64_t load(const char* p) {
    Number x;
    std::memcpy(&x, p, sizeof(x));
    return x;
  }
  // The bytes of less than eight as a number.
  static uint64_t load_few(const char* p, size_t n) {
    if (n >= 4) return load<uint32_t>(p) << 32 | load<uint32_t>(p + n - 4);
    const auto byte = [&](size_t i) { return uint64_t{static_cast<unsigned char>(p[i])}; };
    return n == 0 ? 0 : byte(0) << 16 | byte(n / 2) << 8 | byte(n - 1);
  }

  // Words are short: calls of the library's memcmp and memcpy would cost more than the rest. Eight bytes at a step, the last ones twice.
  static bool is_same(const char* a, const char* b, size_t n) {
    if (n < 8) return load_few(a, n) == load_few(b, n);
    for (size_t i = 0; i + 8 < n; i += 8)
      if (load(a + i) != load(b + i)) return false;
    return load(a + n - 8) == load(b + n - 8);
  }
  static uint64_t hash(std::string_view word) {
    constexpr uint64_t kFactor = 0x9E3779B97F4A7C15u;
    uint64_t h = word.size();
    const char* p = word.data();
    size_t n = word.size();
    for (; n > 8; p += 8, n -= 8) {
      h = (h ^ load(p)) * kFactor;
      h ^= h >> 32;
    }
    return (h ^ (n == 8 ? load(p) : load_few(p, n))) * kFactor;
  }

  std::vector<Set> sets_ = std::vector<Set>(size_t{1} << kSetBits);
};

}  // namespace tenon::text
