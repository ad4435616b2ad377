// Rank files of tiktoken: byte-level BPE as a list of tokens in order of rank.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/text/tokenizer.h"

namespace tenon::text {

/// Whether a file's text looks like lines of base64, a space and a rank.
bool is_tiktoken(std::string_view text);

/// The texts that the views of a TokenizerSpec point into.
struct TiktokenTexts {
  std::string tokens;  // one behind the other, in the byte alphabet
  std::string raw;     // the same as bytes
};

/// Fills the spec: vocabulary, merges, and the stages of the published encoding with this number of ranks. The special tokens are those
/// given with their ids, or the encoding's own if none are.
/// Errors: Error(Format) naming the line that is damaged, or the number of ranks if no encoding has it.
void read_tiktoken(std::string_view text, std::string_view where, const std::vector<std::pair<std::string, int64_t>>& specials,
                   TiktokenTexts& texts, TokenizerSpec& spec);

}  // namespace tenon::text
