// Stage 3: a model turns each word into tokens of its vocabulary.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/core/json.h"
#include "tenon/text/vocab.h"

namespace tenon::text {

/// A token and the bytes of the word that it covers.
struct ModelToken {
  int32_t id;
  uint32_t begin, end;
};

/// The large parts of a model's description, as views of the file's text.
struct ModelData {
  std::vector<std::pair<std::string_view, int64_t>> vocab;
  std::vector<double> scores;                                         // of the vocabulary's tokens; empty unless the model is Unigram
  std::vector<std::pair<std::string_view, std::string_view>> merges;  // in order of rank
  std::vector<std::array<int32_t, 3>> merge_ids;                      // or these: left, right, and what they make
};

class Model {
 public:
  /// What a model remembers between words; each thread has its own.
  struct Memory {
    virtual ~Memory() = default;
  };

  virtual ~Model() = default;
  /// Appends the tokens of a non-empty word of valid UTF-8. Errors: Error(Format) if the unknown token is needed and absent.
  virtual void tokenize(std::string_view word, std::vector<ModelToken>& out, Memory* memory) const = 0;
  /// Whether tokenize_bytes() may be called.
  virtual bool reads_bytes() const { return false; }
  /// As tokenize() of the word in the byte alphabet (byte_level.h), with the places of the tokens in the word itself.
  virtual void tokenize_bytes(std::string_view word, std::vector<ModelToken>& out, Memory* memory) const { tokenize(word, out, memory); }
  virtual std::unique_ptr<Memory> make_memory() const { return nullptr; }
  /// The merges as pairs of ids in order of rank; empty if the model has none.
  virtual std::vector<std::pair<int32_t, int32_t>> merges() const { return {}; }
  /// The id whose tokens are written as the text that they stand for, or -1.
  virtual int32_t verbatim_id() const { return -1; }
  /// The log-probabilities of the tokens by id; empty if the model has none.
  virtual std::span<const double> scores() const { return {}; }
  const Vocab& vocab() const { return vocab_; }

 protected:
  explicit Model(const ModelData& data) {
    size_t bytes = 0;
    for (const auto& [token, id] : data.vocab) bytes += token.size();
    vocab_.reserve(data.vocab.size(), bytes);
    // the table is larger than the caches: places are fetched before they are filled
    constexpr size_t kAhead = 16;
    const size_t n = data.vocab.size();
    for (size_t i = 0; i < n; ++i) {
      if (i + kAhead < n) vocab_.prefetch(Vocab::hash(Vocab::kSeed, data.vocab[i + kAhead].first));
      vocab_.add(data.vocab[i].first, data.vocab[i].second);
    }
    vocab_.finish();
  }
  Vocab vocab_;
};

/// Makes the model that a tokenizer.json describes; `spec` is its object without vocab and merges.
/// Errors: Error(Format) naming an unknown type and the known ones, merges of tokens that do not exist; Error(Type); Error(Limit).
std::unique_ptr<Model> make_model(const Json& spec, const ModelData& data);

}  // namespace tenon::text
