// A SentencePiece model as the stages that Transformers makes of it.
#pragma once

#include <deque>
#include <string>

#include "families.h"
#include "tenon/text/sentence_piece_file.h"
#include "tenon/text/tokenizer.h"

namespace tenon::text {

/// Fills the spec with vocabulary, merges or scores, stages and added tokens; `options` is tokenizer_config.json. Views into the file and
/// into `texts`.
/// Errors: Error(Format) for models of words or characters, which no tokenizer.json can describe.
void describe_sentence_piece(const SentencePieceFile& file, FamilyKind kind, const Json& options, std::deque<std::string>& texts,
                             TokenizerSpec& spec);

}  // namespace tenon::text
