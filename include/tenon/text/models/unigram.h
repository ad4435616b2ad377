// Unigram: of all ways to cut a word into tokens, the one whose log-probabilities have the largest sum.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/text/byte_trie.h"
#include "tenon/text/model.h"
#include "tenon/text/utf8.h"

namespace tenon::text {

/// The best way to each byte of a text, built from left to right.
template <class Score>
struct UnigramLattice {
  struct Node {
    Score score;
    int32_t start;  // where its last token starts, -1 while nothing leads here
    int32_t id;
  };
  std::vector<Node> nodes;

  /// Fills the lattice; scores are those of the tokens by id, and a character that is no token counts as `unk_id`. Of equal sums the first
  /// one found stays, so the type that they are rounded to is part of the answer.
  void fill(const ByteTrie& trie, std::string_view text, const double* scores, double unk_score, int32_t unk_id) {
    if (nodes.size() < text.size() + 1) nodes.resize(text.size() + 1);
    for (size_t i = 1; i <= text.size(); ++i) nodes[i].start = -1;
    nodes[0].score = 0;
    const char* const end = text.data() + text.size();
    for (size_t at = 0; at < text.size();) {
      const Score here = nodes[at].score;
      const size_t length = char_length(text[at]);
      bool has_char = false;
      const auto offer = [&](size_t n, int32_t id, double score) {
        Node& target = nodes[at + n];
        const auto sum = static_cast<Score>(score + static_cast<double>(here));
        if (target.start >= 0 && !(sum > target.score)) return;
        target = {sum, static_cast<int32_t>(at), id};
      };
      trie.for_each_prefix(text.data() + at, end, [&](size_t n, int32_t id) {
        offer(n, id, scores[static_cast<size_t>(id)]);
        has_char = has_char || n == length;
      });
      if (!has_char) offer(length, unk_id, unk_score);
      at += length;
    }
  }

  /// Turns the way to the end around: from here on `start` of a node is the end of the token that starts there, -1 at the end.
  void reverse(size_t size) {
    int32_t next = -1;
    for (auto at = static_cast<int32_t>(size); at > 0;) {
      const int32_t start = nodes[static_cast<size_t>(at)].start;
      nodes[static_cast<size_t>(at)].start = next;
      next = at;
      at = start;
    }
    nodes[0].start = next;
  }
};

class Unigram : public Model {
 public:
  Unigram(const Json& spec, const ModelData& data);
  void tokenize(std::string_view word, std::vector<ModelToken>& out, Memory* memory) const override;
  std::unique_ptr<Memory> make_memory() const override;
  std::span<const double> scores() const override { return scores_; }
  int32_t verbatim_id() const override { return unk_id_; }

 private:
  struct UnigramMemory;
  using Node = UnigramLattice<double>::Node;
  void search(std::string_view word, std::vector<ModelToken>& out, UnigramMemory& memory) const;
  void add_unknown(std::string_view word, uint32_t begin, uint32_t end, std::vector<ModelToken>& out) const;

  ByteTrie trie_;
  std::vector<double> scores_;  // by id
  double unk_score_ = 0;
  int32_t unk_id_ = -1;
  bool byte_fallback_;
  std::array<int32_t, 256> byte_ids_{};
};

}  // namespace tenon::text
