// The vocabulary: tokens to ids through one flat hash table, ids to tokens through an array.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::text {

class Vocab {
 public:
  /// Room for n tokens of `bytes` bytes together.
  void reserve(size_t n, size_t bytes);

  /// Adds a token. A token written twice keeps its last id; an id given twice keeps its last token.
  /// Errors: Error(Limit) if the id is negative or absurdly large for the number of tokens (checked by finish()).
  void add(std::string_view token, int64_t id);

  /// Must be called once, behind the last add().
  void finish();

  /// The id of a token, or -1.
  int32_t find(std::string_view token) const { return find(hash(kSeed, token), {}, token); }
  /// The id of prefix + rest, or -1, from the hash of the two together.
  int32_t find(uint64_t hash, std::string_view prefix, std::string_view rest) const {
    for (size_t i = slot_of(hash);; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.entry == 0) return -1;
      if (slot.tag != tag_of(hash)) continue;
      const Entry& e = entries_[slot.entry - 1];
      if (e.length != prefix.size() + rest.size()) continue;
      const std::string_view token(bytes_.data() + e.offset, e.length);
      if (token.substr(0, prefix.size()) == prefix && token.substr(prefix.size()) == rest) return e.id;
    }
  }

  /// Fetches what find() of this hash will look at first.
  void prefetch(uint64_t hash) const { __builtin_prefetch(&slots_[slot_of(hash)]); }

  /// The token of an id; empty if has(id) is false.
  std::string_view token(int64_t id) const {
    if (!has(id)) return {};
    const Entry& e = entries_[by_id_[static_cast<size_t>(id)] - 1];
    return {bytes_.data() + e.offset, e.length};
  }
  bool has(int64_t id) const { return id >= 0 && static_cast<size_t>(id) < by_id_.size() && by_id_[static_cast<size_t>(id)] != 0; }

  size_t size() const { return entries_.size(); }
  /// One more than the largest id.
  int64_t id_limit() const { return static_cast<int64_t>(by_id_.size()); }
  size_t longest() const { return longest_; }

  static constexpr uint64_t kSeed = 0xCBF29CE484222325u;
  static uint64_t hash(uint64_t h, char byte) { return (h ^ static_cast<unsigned char>(byte)) * 0x100000001B3u; }
  static uint64_t hash(uint64_t h, std::string_view bytes) {
    for (const char c : bytes) h = hash(h, c);
    return h;
  }

 private:
  struct Entry {
    uint32_t offset, length;
    int32_t id;
  };
  struct Slot {
    uint32_t tag = 0, entry = 0;  // entry: index + 1, 0 = free
  };
  static uint32_t tag_of(uint64_t h) { return static_cast<uint32_t>(h); }
  size_t slot_of(uint64_t h) const { return static_cast<size_t>(h * 0x9E3779B97F4A7C15u >> 32) & mask_; }
  void grow(size_t slots);

  std::string bytes_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_ = std::vector<Slot>(2);
  size_t mask_ = 1;
  std::vector<uint32_t> by_id_;
  size_t longest_ = 0;
};

}  // namespace tenon::text
