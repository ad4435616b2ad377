// Unigram: the search for the best cut, and the words whose cut is known already.
#include "tenon/text/models/unigram.h"

#include <algorithm>
#include <cstdio>
#include <limits>

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

// Words by their text: a direct-mapped table in which a newer word replaces an older one.
struct Unigram::UnigramMemory : Model::Memory {
  static constexpr size_t kWordBytes = 32, kWordTokens = 5, kSlots = 16384;
  struct Entry {
    uint8_t length = 0, count = 0;
    std::array<uint8_t, kWordTokens> ends;
    std::array<char, kWordBytes> word;
    std::array<int32_t, kWordTokens> ids;
  };
  std::vector<Entry> entries = std::vector<Entry>(kSlots);
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
  if (const int32_t id = vocab_.find(text); id >= 0) {
    out.push_back({id, begin, end});
    return;
  }
  const bool is_bytes = byte_fallback_ && std::all_of(text.begin(), text.end(),
                                                      [&](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; });
  if (!is_bytes) {
    out.push_back({unk_id_, begin, end});
    return;
  }
  for (const char c : text) out.push_back({byte_ids_[static_cast<unsigned char>(c)], begin, end});
}

void Unigram::search(std::string_view word, std::vector<ModelToken>& out, UnigramMemory& memory) const {
  auto& nodes = memory.lattice.nodes;
  const double* scores = scores_.data();
  memory.lattice.fill<double>(trie_, word, unk_score_, unk_id_,
                              [scores](int32_t id, size_t) { return std::pair(true, scores[static_cast<size_t>(id)]); });
  // from the last token back: each node learns where the token that starts there ends
  auto end = static_cast<int32_t>(word.size());
  int32_t next = -1;
  for (int32_t at = end; at > 0;) {
    const int32_t start = nodes[static_cast<size_t>(at)].start;
    std::swap(nodes[static_cast<size_t>(at)].start, next);
    next = at;
    at = start;
  }
  nodes[0].start = next;
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
  if (word.size() > UnigramMemory::kWordBytes) return search(word, out, m);
  const uint64_t hash = Vocab::hash(Vocab::kSeed, word);
  auto& entry = m.entries[static_cast<size_t>(hash * 0x9E3779B97F4A7C15u >> 40) % UnigramMemory::kSlots];
  if (entry.length == word.size() && std::memcmp(entry.word.data(), word.data(), word.size()) == 0) {
    uint32_t at = 0;
    for (size_t i = 0; i < entry.count; ++i) {
      out.push_back({entry.ids[i], at, entry.ends[i]});
      at = entry.ends[i];
    }
    return;
  }
  const size_t first = out.size();
  search(word, out, m);
  const size_t count = out.size() - first;
  if (count > UnigramMemory::kWordTokens) return;
  // the bytes of one character have the same place and cannot be told from their ends
  for (size_t i = first + 1; i < out.size(); ++i)
    if (out[i].begin != out[i - 1].end) return;
  entry.length = static_cast<uint8_t>(word.size());
  entry.count = static_cast<uint8_t>(count);
  std::memcpy(entry.word.data(), word.data(), word.size());
  for (size_t i = 0; i < count; ++i) {
    entry.ids[i] = out[first + i].id;
    entry.ends[i] = static_cast<uint8_t>(out[first + i].end);
  }
}

}  // namespace tenon::text
