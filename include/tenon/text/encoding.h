// What encoding a text gives, and the options that shape it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tenon::text {

/// Tokens of one text or pair. All vectors have the same length (with EncodeOptions::ids_only only ids is filled).
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;                        // 0 for the first text, 1 for the second where the tokenizer tells them apart
  std::vector<int32_t> attention_mask;                  // 0 for padding
  std::vector<int32_t> special_tokens_mask;             // 1 for special tokens and padding
  std::vector<std::pair<uint32_t, uint32_t>> offsets;   // [begin, end) in the text, in characters (or bytes); (0, 0) for added specials
  std::vector<int32_t> word_ids;                        // which word of the text, -1 for added specials
  std::vector<int32_t> sequence_ids;                    // 0 or 1: which text, -1 for added specials
  std::vector<std::pair<uint32_t, std::string>> texts;  // of tokens that are written otherwise than the vocabulary has them, by index
  std::vector<Encoding> overflowing;                    // the further windows of a truncated text, if asked for

  size_t size() const { return ids.size(); }
  /// 2 for a pair, else 1.
  int n_sequences() const;

  /// The first token that covers the character `position` of text `sequence`, or -1.
  int64_t char_to_token(uint32_t position, int sequence = 0) const;
  /// The tokens [begin, end) of a word; begin == end if there are none.
  std::pair<int64_t, int64_t> word_to_tokens(int32_t word, int sequence = 0) const;
  /// The characters [begin, end) of a word; begin == end if it has no token.
  std::pair<uint32_t, uint32_t> word_to_chars(int32_t word, int sequence = 0) const;
  /// The word of the first token that covers a character, or -1.
  int32_t char_to_word(uint32_t position, int sequence = 0) const;
};

enum class Padding { None, Longest, MaxLength };
enum class Truncation { None, LongestFirst, OnlyFirst, OnlySecond };
enum class Side { Left, Right };

struct EncodeOptions {
  bool add_special_tokens = true;
  Padding padding = Padding::None;           // Longest: to the longest of the batch
  Truncation truncation = Truncation::None;  // which text of a pair gives way
  int64_t max_length = -1;                   // tokens with specials; -1: the tokenizer's model_max_length
  int64_t stride = 0;                        // tokens that neighbouring windows share
  int64_t pad_to_multiple_of = 0;            // 0 = off
  std::optional<Side> padding_side = {};     // default: the tokenizer's
  std::optional<Side> truncation_side = {};  // default: the tokenizer's
  bool return_overflowing = false;           // keep the windows that truncation cuts off
  bool split_special_tokens = false;         // special tokens in the text are plain text
  bool byte_offsets = false;                 // offsets in bytes of the UTF-8 text
  bool ids_only = false;                     // fill Encoding::ids alone, for bulk work: twice as fast
};

struct DecodeOptions {
  bool skip_special_tokens = false;
  std::optional<bool> clean_up = {};  // "do n't ." becomes "don't."; default: as the tokenizer's configuration says, but not for BPE
  bool skip_unknown_ids = false;      // ids outside the vocabulary give no text instead of an error
};

}  // namespace tenon::text
