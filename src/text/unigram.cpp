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
  std::vector<Node> nodes;  // the lattice
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
  check(unk_id_ >= 0, ErrorCode::Format, "unigram", "unk_id: expected one, the text has characters that are no token");
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

// The lattice is built from one place where all ways meet to the next: most words have several, and text without tokens has one at each
// character. Sums go on over them, so that they are rounded as those of a lattice of the whole word.
void Unigram::search(std::string_view word, std::vector<ModelToken>& out, UnigramMemory& memory) const {
  auto& nodes = memory.nodes;
  const char* const text = word.data();
  const char* const end = text + word.size();
  const auto size = static_cast<uint32_t>(word.size());
  double score = 0;
  uint32_t unknown = size;  // where the unknown characters before `first` start, if it is not `size`
  const auto add = [&](int32_t id, uint32_t from, uint32_t to) {
    if (id == unk_id_) {
      unknown = std::min(unknown, from);
      return;
    }
    if (unknown != size) add_unknown(word, unknown, from, out);
    unknown = size;
    out.push_back({id, from, to});
  };
  for (uint32_t first = 0; first < size;) {
    if (!trie_.starts_with(word[first])) {
      const auto length = static_cast<uint32_t>(char_length(word[first]));
      score += unk_score_;
      unknown = std::min(unknown, first);
      first += length;
      continue;
    }
    // nodes[i] is at byte first + i
    uint32_t at = 0, reached = 0;
    const auto reach = [&](uint32_t place) {
      if (nodes.size() <= place) nodes.resize(2 * size_t{place} + 64);
      for (; reached < place; ++reached) nodes[reached + 1].start = -1;
    };
    reach(0);
    nodes[0].score = score;
    do {
      const double here = nodes[at].score;
      const auto length = static_cast<uint32_t>(char_length(text[first + at]));
      bool has_char = false;
      const auto offer = [&](uint32_t place, int32_t id, double sum) {
        if (place > reached) reach(place);
        Node& target = nodes[place];
        if (target.start < 0 || sum > target.score) target = {sum, static_cast<int32_t>(at), id};
      };
      trie_.for_each_prefix(text + first + at, end, [&](size_t n, int32_t id) {
        offer(at + static_cast<uint32_t>(n), id, scores_[static_cast<size_t>(id)] + here);
        has_char = has_char || n == length;
      });
      if (!has_char) offer(at + length, unk_id_, unk_score_ + here);
      at += length;
    } while (at < reached);
    score = nodes[at].score;
    // turned around: the start of a node becomes the end of the token that starts there
    int32_t next = -1;
    for (auto place = static_cast<int32_t>(at); place > 0;) {
      const int32_t start = nodes[static_cast<size_t>(place)].start;
      nodes[static_cast<size_t>(place)].start = next;
      next = place;
      place = start;
    }
    for (int32_t place = 0; next > 0; place = next, next = nodes[static_cast<size_t>(place)].start)
      add(nodes[static_cast<size_t>(next)].id, first + static_cast<uint32_t>(place), first + static_cast<uint32_t>(next));
    first += at;
  }
  if (unknown != size) add_unknown(word, unknown, size, out);
}

void Unigram::tokenize(std::string_view word, std::vector<ModelToken>& out, Memory* memory) const {
  std::unique_ptr<Memory> own;
  if (!memory) memory = (own = make_memory()).get();
  auto& m = static_cast<UnigramMemory&>(*memory);
  WordCache::Set* known = m.words.place(word);
  if (!known) return search(word, out, m);
  if (WordCache::recall(*known, word, 0, out)) return;
  const size_t first = out.size();
  search(word, out, m);
  WordCache::keep(*known, word, 0, out, first);
}

}  // namespace tenon::text
