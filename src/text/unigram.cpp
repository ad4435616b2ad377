// Unigram: the search for the best cut, and the words whose cut is known already.
#include "tenon/text/models/unigram.h"

#include <algorithm>
#include <cstdio>
#include <limits>

#include "tenon/text/word_cache.h"

namespace tenon::text {
namespace {

constexpr double kUnknownPenalty = 10;

ByteTrie make_trie(const Vocab& vocab) {
  std::vector<std::pair<std::string_view, int32_t>> keys;
  keys.reserve(vocab.size());
  for (int64_t id = 0; id < vocab.id_limit(); ++id)
    if (!vocab.token(id).empty()) keys.emplace_back(vocab.token(id), static_cast<int32_t>(id));
  return ByteTrie(std::move(keys));
}

}  // namespace

struct Unigram::UnigramMemory : Model::Memory {
  WordCache words;
  UnigramLattice<double> lattice;
};

Unigram::Unigram(const Json& spec, const ModelData& data)
    : Model(data), trie_(make_trie(vocab_)), unk_id_(-1), byte_fallback_(spec.value("byte_fallback", false)) {
  check(data.scores.size() == data.vocab.size(), ErrorCode::Format, "unigram", "vocab: expected a score for each of ", data.vocab.size(),
        " tokens, got ", data.scores.size());
  scores_.resize(static_cast<size_t>(vocab_.id_limit()));
  double lowest = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < data.vocab.size(); ++i) {
    scores_[static_cast<size_t>(data.vocab[i].second)] = data.scores[i];
    lowest = std::min(lowest, data.scores[i]);
  }
  unk_score_ = lowest - kUnknownPenalty;
  if (const Json* unk = spec.get("unk_id")) {
    const int64_t id = unk->as_int("unk_id");
    check(vocab_.has(id), ErrorCode::Format, "unigram", "unk_id: expected an id of the vocabulary, got ", id);
    unk_id_ = static_cast<int32_t>(id);
  }
  for (unsigned b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", b);
    byte_ids_[b] = vocab_.find(name);
  }
}

std::unique_ptr<Model::Memory> Unigram::make_memory() const { return std::make_unique<UnigramMemory>(); }

// Unknown characters next to each other are one token, unless bytes can stand for them.
void Unigram::add_unknown(std::string_view word, uint32_t begin, uint32_t end, std::vector<ModelToken>& out) const {
  const std::string_view text = word.substr(begin, end - begin);
  if (const int32_t id = text.size() <= vocab_.longest() ? vocab_.find(text) : -1; id >= 0) {
    out.push_back({id, begin, end});
    return;
  }
  const bool is_bytes =
      byte_fallback_ && std::all_of(text.begin(), text.end(), [&](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; });
  if (!is_bytes) {
    out.push_back({unk_id_, begin, end});
    return;
  }
  for (const char c : text) out.push_back({byte_ids_[static_cast<unsigned char>(c)], begin, end});
}

void Unigram::search(std::string_view word, std::vector<ModelToken>& out, UnigramMemory& memory) const {
  memory.lattice.fill(trie_, word, scores_.data(), unk_score_, unk_id_);
  memory.lattice.reverse(word.size());
  const auto& nodes = memory.lattice.nodes;
  const auto end = static_cast<int32_t>(word.size());
  for (int32_t at = 0; at < end;) {
    int32_t stop = nodes[static_cast<size_t>(at)].start;
    const int32_t id = nodes[static_cast<size_t>(stop)].id;
    if (id != unk_id_) {
      out.push_back({id, static_cast<uint32_t>(at), static_cast<uint32_t>(stop)});
    } else {
      check(unk_id_ >= 0, ErrorCode::Format, "unigram", "unk_id: expected one, the text has characters that are no token");
      while (stop < end && nodes[static_cast<size_t>(nodes[static_cast<size_t>(stop)].start)].id == unk_id_)
        stop = nodes[static_cast<size_t>(stop)].start;
      add_unknown(word, static_cast<uint32_t>(at), static_cast<uint32_t>(stop), out);
    }
    at = stop;
  }
}

void Unigram::tokenize(std::string_view word, std::vector<ModelToken>& out, Memory* memory) const {
  std::unique_ptr<Memory> own;
  if (!memory) memory = (own = make_memory()).get();
  auto& m = static_cast<UnigramMemory&>(*memory);
  WordCache::Entry* entry = m.words.place(word);
  if (!entry) return search(word, out, m);
  if (WordCache::recall(*entry, word, 0, out)) return;
  const size_t first = out.size();
  search(word, out, m);
  WordCache::keep(*entry, word, 0, out, first);
}

}  // namespace tenon::text
