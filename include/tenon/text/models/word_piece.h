// WordPiece: the longest token that starts the word, then the longest continuation, and so on; or the unknown token.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tenon/text/model.h"
#include "tenon/text/utf8.h"
#include "tenon/text/word_cache.h"

namespace tenon::text {

class WordPiece : public Model {
 public:
  WordPiece(const Json& spec, const ModelData& data)
      : Model(data),
        unk_(spec.value("unk_token", "[UNK]")),
        prefix_(spec.value("continuing_subword_prefix", "##")),
        prefix_hash_(Vocab::hash(Vocab::kSeed, prefix_)),
        max_chars_(spec.value("max_input_chars_per_word", 100)),
        unk_id_(vocab_.find(unk_)) {}

  void tokenize(std::string_view word, std::vector<ModelToken>& out, Memory* memory) const override {
    WordCache::Set* known = memory ? static_cast<WordMemory&>(*memory).words.place(word) : nullptr;
    if (known && WordCache::recall(*known, word, 0, out)) return;
    const size_t first = out.size();
    if (is_too_long(word) || !match(word, out)) {
      check(unk_id_ >= 0, ErrorCode::Format, "word_piece", "unk_token: expected '", unk_, "' in the vocabulary");
      out.resize(first);
      out.push_back({unk_id_, 0, static_cast<uint32_t>(word.size())});
    }
    if (known) WordCache::keep(*known, word, 0, out, first);
  }
  std::unique_ptr<Memory> make_memory() const override { return std::make_unique<WordMemory>(); }

 private:
  struct WordMemory : Memory {
    WordCache words;
  };

  bool is_too_long(std::string_view word) const {
    if (static_cast<int64_t>(word.size()) <= max_chars_) return false;
    int64_t chars = 0;
    for (const char c : word)
      if (!is_continuation(c) && ++chars > max_chars_) return true;
    return false;
  }

  bool match(std::string_view word, std::vector<ModelToken>& out) const {
    struct Stop {
      uint64_t hash;
      uint32_t length;
    };
    std::array<Stop, 128> stops;
    std::vector<Stop> more;  // for words with more characters than `stops` has room for
    for (size_t start = 0; start < word.size();) {
      const std::string_view prefix = start == 0 ? std::string_view() : std::string_view(prefix_);
      if (vocab_.longest() < prefix.size()) return false;
      const std::string_view rest = word.substr(start, vocab_.longest() - prefix.size());
      // hashes of every beginning of the rest, in one pass
      Stop* list = stops.data();
      if (rest.size() > stops.size()) {
        more.resize(rest.size());
        list = more.data();
      }
      size_t n = 0;
      uint64_t h = start == 0 ? Vocab::kSeed : prefix_hash_;
      for (size_t i = 0; i < rest.size();) {
        h = Vocab::hash(h, rest[i++]);
        const bool is_boundary = start + i == word.size() || !is_continuation(word[start + i]);
        if (is_boundary) list[n++] = {h, static_cast<uint32_t>(i)};
      }
      int32_t id = -1;
      while (n > 0 && id < 0) {
        --n;
        id = vocab_.find(list[n].hash, prefix, rest.substr(0, list[n].length));
      }
      if (id < 0) return false;
      out.push_back({id, static_cast<uint32_t>(start), static_cast<uint32_t>(start + list[n].length)});
      start += list[n].length;
    }
    return true;
  }

  std::string unk_, prefix_;
  uint64_t prefix_hash_;
  int64_t max_chars_;
  int32_t unk_id_;
};

}  // namespace tenon::text
