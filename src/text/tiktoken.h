// Rank files of tiktoken: byte-level BPE as a list of tokens in order of rank.
#pragma once

#include <string>
#include <string_view>
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

/// Fills the spec: vocabulary, merges, and the stages and special tokens of the published encoding with this number of ranks.
/// Errors: Error(Format) naming the line that is damaged, or the number of ranks if no encoding has it.
void read_tiktoken(std::string_view text, std::string_view where, TiktokenTexts& texts, TokenizerSpec& spec);

}  // namespace tenon::text
