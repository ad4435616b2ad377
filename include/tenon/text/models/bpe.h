// BPE: a word starts as its characters; of all neighbours the pair of lowest rank is merged until no known pair is left.
#pragma once

#include <array>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tenon/text/model.h"
#include "tenon/text/table.h"

namespace tenon::text {

class Bpe : public Model {
 public:
  Bpe(const Json& spec, const ModelData& data);
  void tokenize(std::string_view word, std::vector<ModelToken>& out, Memory* memory) const override;
  /// With byte fallback a character of the byte alphabet that is no token becomes several tokens, as other characters do.
  bool reads_bytes() const override { return !byte_fallback_; }
  void tokenize_bytes(std::string_view word, std::vector<ModelToken>& out, Memory* memory) const override;
  std::unique_ptr<Memory> make_memory() const override;
  std::vector<std::pair<int32_t, int32_t>> merges() const override { return merges_; }
  /// Where the random numbers of dropout start, for all tokenizers and threads from their next word on.
  static void seed(uint64_t seed);
  /// Merges looked up since the memory was made: what the time of a long word goes by.
  static uint64_t lookups(const Memory& memory);

 private:
  struct BpeMemory;
  struct Symbol;
  struct Merge {
    uint64_t pair = kNoPair;
    uint32_t rank = kNoRank;
    int32_t id = -1;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};
  static constexpr uint32_t kNoRank = ~uint32_t{0};
  static const Merge kNoMerge;

  static uint64_t pair_of(int32_t left, int32_t right) {
    return uint64_t(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  static uint64_t hash_of(uint64_t pair) { return (pair ^ pair >> 29) * 0x9E3779B97F4A7C15u; }
  /// The merge of two neighbours, or kNoMerge. Most pairs have none, which a bit of a small filter says without a look at the table.
  const Merge& find_merge(int32_t left, int32_t right) const {
    const uint64_t pair = pair_of(left, right), h = hash_of(pair);
    const auto f = static_cast<size_t>(h >> 20) & filter_mask_;
    if (!(filter_[f >> 6] >> (f & 63) & 1)) return kNoMerge;
    for (size_t i = static_cast<size_t>(h >> 32) & mask_;; i = (i + 1) & mask_)
      if (table_[i].pair == pair || table_[i].pair == kNoPair) return table_[i];
  }
  struct MergeHashes {
    uint64_t left, right, both;
  };
  MergeHashes hash_merge(const std::pair<std::string_view, std::string_view>& merge) const;
  void add_merges(const ModelData& data);
  void add_merge(const std::pair<std::string_view, std::string_view>& merge, const MergeHashes& hashes, uint32_t rank);
  void prefetch_merge(int32_t left, int32_t right) const;
  void keep_merge(int32_t left, int32_t right, int32_t id, uint32_t rank);
  void fill_bytes();
  int32_t char_id(std::string_view c, bool is_first, bool is_last) const;
  void split_chars(std::string_view word, std::vector<Symbol>& symbols) const;
  bool split_bytes(std::string_view word, std::vector<Symbol>& symbols) const;
  bool split_wide(std::string_view word, std::vector<Symbol>& symbols) const;
  void fill_wide() const;
  void tokenize_alphabet(std::string_view word, std::vector<ModelToken>& out, BpeMemory& memory) const;
  void merge(std::string_view word, bool is_bytes, BpeMemory& memory, std::vector<ModelToken>& out) const;
  template <class First>
  void merge_short(BpeMemory& memory, First&& first_merge) const;
  void merge_long(BpeMemory& memory) const;

  std::string unk_, prefix_, suffix_;
  bool has_unk_, fuse_unk_, byte_fallback_, ignore_merges_;
  float dropout_ = 0;  // the share of merges that are passed over, for training
  int32_t unk_id_ = -1;
  Table<Merge> table_;
  size_t mask_ = 0;
  Table<uint64_t> filter_;
  size_t filter_mask_ = 0;
  std::vector<std::pair<int32_t, int32_t>> merges_;
  std::vector<int32_t> byte_ids_;   // ids of <0x00> to <0xFF>, or -1
  std::vector<int32_t> small_ids_;  // ids of the characters below U+0800 where no affix applies, or -1
  // Ids of the characters of the byte alphabet, or -1: inside a word, its first, its last, its only one.
  std::array<std::array<int32_t, 256>, 4> alphabet_ids_;
  // Merges of two bytes inside a word, where every word starts: without a look at the large table.
  struct Result {
    uint32_t rank;
    int32_t id;
  };
  std::vector<Result> byte_pairs_;  // empty if there are affixes
  // Ids of the characters of three bytes (U+0800 to U+FFFF) that become one token whatever stands beside them, or -1. Made for the first
  // word of such characters.
  mutable std::once_flag has_wide_;
  mutable std::vector<int32_t> wide_ids_;
};

}  // namespace tenon::text
