// What the trainers share: the result of one, and reporting progress.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tenon/text/train_tokenizer.h"

namespace tenon::text {

struct TrainedModel {
  std::vector<std::string> tokens;                          // by id
  std::vector<double> scores;                               // of Unigram's tokens
  std::vector<std::pair<std::string, std::string>> merges;  // by rank
  int32_t unk_id = -1;                                      // of Unigram
};

using WordList = std::vector<std::pair<std::string, uint64_t>>;

inline void report(const TrainOptions& options, std::string_view stage, size_t done, size_t total) {
  if (options.progress) options.progress(stage, done, total);
}

/// BPE and WordPiece. Errors: Error(Limit) if vocab_size has no room for the special tokens and the alphabet.
TrainedModel learn_merges(const WordList& words, const TrainOptions& options);
/// Unigram. Errors: likewise.
TrainedModel learn_pieces(const WordList& words, const TrainOptions& options);

}  // namespace tenon::text
