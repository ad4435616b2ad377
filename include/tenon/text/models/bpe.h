// BPE: a word starts as its characters; of all neighbours the pair of lowest rank is merged until no known pair is left.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tenon/text/model.h"

namespace tenon::text {

class Bpe : public Model {
 public:
  Bpe(const Json& spec, const ModelData& data);
  void tokenize(std::string_view word, std::vector<ModelToken>& out, Memory* memory) const override;
  std::unique_ptr<Memory> make_memory() const override;
  std::vector<std::pair<int32_t, int32_t>> merges() const override { return merges_; }

 private:
  struct BpeMemory;
  struct Symbol;
  struct Merge {
    uint64_t pair = kNoPair;
    uint32_t rank = 0;
    int32_t id = -1;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};

  static uint64_t pair_of(int32_t left, int32_t right) {
    return uint64_t(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot_of(uint64_t pair) const { return static_cast<size_t>(pair * 0x9E3779B97F4A7C15u >> 32) & mask_; }
  const Merge* find_merge(int32_t left, int32_t right) const;
  void add_merge(const std::pair<std::string_view, std::string_view>& merge, uint32_t rank);
  int32_t char_id(std::string_view c, bool is_first, bool is_last) const;
  void split_chars(std::string_view word, std::vector<Symbol>& symbols) const;
  void merge_short(std::vector<Symbol>& symbols) const;
  void merge_long(std::vector<Symbol>& symbols, BpeMemory& memory) const;

  std::string unk_, prefix_, suffix_;
  bool has_unk_, fuse_unk_, byte_fallback_, ignore_merges_;
  int32_t unk_id_ = -1;
  std::vector<Merge> table_;
  size_t mask_ = 0;
  std::vector<std::pair<int32_t, int32_t>> merges_;
  std::vector<int32_t> byte_ids_;   // ids of <0x00> to <0xFF>, or -1
  std::vector<int32_t> small_ids_;  // ids of the characters below U+0800 where no affix applies, or -1
};

}  // namespace tenon::text
