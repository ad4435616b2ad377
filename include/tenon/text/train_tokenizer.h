// Tokenizers from nothing: counting the words of texts, and making a vocabulary of them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/text/tokenizer.h"

namespace tenon::text {

struct TrainOptions {
  size_t vocab_size = 30000;               // tokens of the result, special ones included
  int64_t min_frequency = 0;               // of a pair to be merged (BPE, WordPiece), of a word (WordLevel)
  std::vector<AddedToken> special_tokens;  // the first of the vocabulary, in this order
  // BPE and WordPiece
  std::optional<size_t> limit_alphabet;    // characters kept, the most frequent ones; the others are unknown
  std::vector<char32_t> initial_alphabet;  // characters kept whether or not they occur
  std::string continuing_subword_prefix;   // of tokens inside a word; WordPiece's is "##" unless given
  std::string end_of_word_suffix;          // of tokens that end a word
  std::optional<size_t> max_token_length;  // in characters
  // Unigram
  std::optional<std::string> unk_token = "<unk>";  // becomes a special token if it is none
  double shrinking_factor = 0.75;                  // share of the pieces that a round of pruning keeps
  int sub_iterations = 2;                          // of EM between two rounds
  size_t max_piece_length = 16;                    // in characters
  size_t seed_size = 1'000'000;                    // pieces to start from
  // All
  std::map<std::string, std::string> renamed;  // special tokens of the pipeline that have another name in the result
  int threads = 0;                             // 0: get_num_threads()
  /// Called now and then with what is being done, how much of it is done, and how much there is; may throw to stop.
  std::function<void(std::string_view stage, size_t done, size_t total)> progress;
};

/// The words that a pipeline cuts texts into, and how often each occurs.
class WordCounts {
 public:
  /// Words as the normalizer and the pre-tokenizer of `pipeline` make them, whatever its vocabulary is; added tokens are not looked for.
  explicit WordCounts(const Tokenizer& pipeline, int threads = 0);
  ~WordCounts();
  WordCounts(WordCounts&&) noexcept;

  /// Counts the words of texts. Errors: as Tokenizer::encode().
  void add(std::span<const std::string_view> texts);
  /// Counts one word as it is. Errors: Error(Format) if it is no UTF-8.
  void add_word(std::string_view word, uint64_t count = 1);
  /// All words in order, with their counts.
  std::vector<std::pair<std::string, uint64_t>> list() const;

 private:
  class Table;
  std::shared_ptr<const Tokenizer> pipeline_;
  std::vector<Table> tables_;  // of each thread
};

/// The stages that suit a kind of model, with an empty vocabulary: "bpe" (byte-level as GPT-2, or on characters with marks for spaces),
/// "wordpiece" (as BERT), "unigram" (as SentencePiece: NFKC, marks for spaces).
/// Errors: Error(Format) naming the kinds.
Tokenizer training_pipeline(std::string_view kind, bool byte_level = true, bool lowercase = false);

/// Byte-pair encoding: starts from the characters and merges the most frequent pair of neighbours (of equal ones that with the lowest ids)
/// until the vocabulary is full. The result has the stages of `pipeline`, its special tokens at the ids they have now.
/// Errors: Error(Limit) if there are no words, or vocab_size has no room for the special tokens and the alphabet.
/// Source: Sennrich et al. 2016; merges and ids are those that Hugging Face tokenizers' trainer gives.
Tokenizer train_bpe(const Tokenizer& pipeline, const WordCounts& words, const TrainOptions& options = {});

/// WordPiece, whose vocabulary is that of BPE with a mark on tokens inside a word. Characters inside words get their ids in order.
/// Errors: as train_bpe().
Tokenizer train_wordpiece(const Tokenizer& pipeline, const WordCounts& words, const TrainOptions& options = {});

/// Unigram: starts from the substrings that occur twice, and between rounds of EM takes away those whose loss costs the likelihood
/// least, until vocab_size are left.
/// Errors: Error(Limit) if there are no words, or vocab_size has no room for the special tokens and the characters.
/// Source: Kudo 2018.
Tokenizer train_unigram(const Tokenizer& pipeline, const WordCounts& words, const TrainOptions& options = {});

/// WordLevel: the most frequent words; of equal ones the first in order.
/// Errors: Error(Limit) if there are no words or vocab_size has no room for the special tokens.
Tokenizer train_word_level(const Tokenizer& pipeline, const WordCounts& words, const TrainOptions& options = {});

/// The trainer of a pipeline's own kind of model.
Tokenizer train_tokenizer(const Tokenizer& pipeline, const WordCounts& words, const TrainOptions& options = {});

}  // namespace tenon::text
