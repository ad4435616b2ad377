// BPE: reading the merges, and the two ways to merge: scanning for short words, a heap for long ones.
#include "tenon/text/models/bpe.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "tenon/text/utf8.h"

namespace tenon::text {
namespace {

constexpr char32_t kSmall = 0x800;
constexpr size_t kShort = 24;  // up to here scanning all neighbours beats keeping a heap

}  // namespace

struct Bpe::Symbol {
  int32_t id;
  uint32_t length;  // bytes; 0 once merged into the one before
  int32_t prev, next;
};

// Merged words by their text: a direct-mapped table in which a newer word replaces an older one.
struct Bpe::BpeMemory : Model::Memory {
  static constexpr size_t kWordBytes = 40, kWordTokens = 6, kSlots = 16384;
  struct Entry {
    uint8_t length = 0, count = 0;
    std::array<uint8_t, kWordTokens> lengths;
    std::array<char, kWordBytes> word;
    std::array<int32_t, kWordTokens> ids;
  };
  struct Candidate {
    uint32_t rank;
    int32_t position, id;
    // std heaps keep the largest in front
    bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : position > o.position; }
  };
  std::vector<Entry> entries = std::vector<Entry>(kSlots);
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

Bpe::Bpe(const Json& spec, const ModelData& data)
    : Model(data),
      unk_(spec.value("unk_token", "")),
      prefix_(spec.value("continuing_subword_prefix", "")),
      suffix_(spec.value("end_of_word_suffix", "")),
      has_unk_(spec.has("unk_token")),
      fuse_unk_(spec.value("fuse_unk", false)),
      byte_fallback_(spec.value("byte_fallback", false)),
      ignore_merges_(spec.value("ignore_merges", false)) {
  // dropout is for training; here a text always has the same tokens
  unk_id_ = has_unk_ ? vocab_.find(unk_) : -1;
  size_t slots = 16;
  while (slots < 2 * data.merges.size()) slots *= 2;
  table_.resize(slots);
  mask_ = slots - 1;
  merges_.reserve(data.merges.size());
  for (size_t i = 0; i < data.merges.size(); ++i) add_merge(data.merges[i], static_cast<uint32_t>(i));
  if (byte_fallback_) {
    byte_ids_.resize(256);
    for (unsigned b = 0; b < 256; ++b) {
      char name[8];
      std::snprintf(name, sizeof(name), "<0x%02X>", b);
      byte_ids_[b] = vocab_.find(name);
    }
  }
  small_ids_.resize(kSmall);
  for (char32_t c = 0; c < kSmall; ++c) {
    char buffer[4];
    small_ids_[c] = vocab_.find(std::string_view(buffer, encode(c, buffer)));
  }
}

void Bpe::add_merge(const std::pair<std::string_view, std::string_view>& merge, uint32_t rank) {
  const auto& [left, right] = merge;
  const int32_t a = vocab_.find(left), b = vocab_.find(right);
  check(a >= 0 && b >= 0, ErrorCode::Format, "bpe", "merge ", rank, ": expected tokens of the vocabulary, got '", left, "' + '", right,
        "'");
  check(right.size() >= prefix_.size(), ErrorCode::Format, "bpe", "merge ", rank, ": expected the prefix '", prefix_, "', got '", right,
        "'");
  const std::string_view tail = right.substr(prefix_.size());
  const int32_t id = vocab_.find(Vocab::hash(Vocab::hash(Vocab::kSeed, left), tail), left, tail);
  check(id >= 0, ErrorCode::Format, "bpe", "merge ", rank, ": expected '", left, tail, "' in the vocabulary");
  merges_.emplace_back(a, b);
  const uint64_t pair = pair_of(a, b);
  size_t i = slot_of(pair);
  while (table_[i].pair != kNoPair && table_[i].pair != pair) i = (i + 1) & mask_;
  table_[i] = {pair, rank, id};
}

const Bpe::Merge* Bpe::find_merge(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  for (size_t i = slot_of(pair);; i = (i + 1) & mask_) {
    if (table_[i].pair == pair) return &table_[i];
    if (table_[i].pair == kNoPair) return nullptr;
  }
}

int32_t Bpe::char_id(std::string_view c, bool is_first, bool is_last) const {
  const bool has_prefix = !is_first && !prefix_.empty();
  const bool has_suffix = is_last && !suffix_.empty();
  if (!has_prefix && !has_suffix) {
    const char32_t code = decode(c.data());
    return code < kSmall ? small_ids_[code] : vocab_.find(c);
  }
  std::string token = has_prefix ? prefix_ : std::string();
  token += c;
  if (has_suffix) token += suffix_;
  return vocab_.find(token);
}

void Bpe::split_chars(std::string_view word, std::vector<Symbol>& symbols) const {
  symbols.clear();
  auto add = [&](int32_t id, size_t length) {
    const auto n = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, static_cast<uint32_t>(length), n - 1, n + 1});
  };
  size_t unknown = 0;  // bytes of the unknown characters not yet added
  for (size_t i = 0; i < word.size();) {
    const size_t n = char_length(word[i]);
    const std::string_view c = word.substr(i, n);
    const bool is_first = i == 0, is_last = i + n == word.size();
    i += n;
    const int32_t id = char_id(c, is_first, is_last);
    if (id >= 0) {
      if (unknown > 0) add(unk_id_, unknown);
      unknown = 0;
      add(id, n);
      continue;
    }
    if (byte_fallback_) {
      const std::string text = (is_first ? std::string() : prefix_) + std::string(c) + (is_last ? suffix_ : std::string());
      const bool has_all = std::all_of(text.begin(), text.end(), [&](char b) { return byte_ids_[static_cast<unsigned char>(b)] >= 0; });
      if (has_all) {
        for (const char b : text) add(byte_ids_[static_cast<unsigned char>(b)], 1);
        continue;
      }
    }
    if (!has_unk_) continue;
    check(unk_id_ >= 0, ErrorCode::Format, "bpe", "unk_token: expected '", unk_, "' in the vocabulary");
    if (unknown > 0 && !fuse_unk_) {
      add(unk_id_, unknown);
      unknown = 0;
    }
    unknown += n;
  }
  if (unknown > 0) add(unk_id_, unknown);
  if (!symbols.empty()) symbols.back().next = -1;
}

void Bpe::merge_short(std::vector<Symbol>& symbols) const {
  std::array<const Merge*, kShort> merges;
  size_t n = symbols.size();
  for (size_t i = 0; i + 1 < n; ++i) merges[i] = find_merge(symbols[i].id, symbols[i + 1].id);
  while (n > 1) {
    size_t best = n;
    for (size_t i = 0; i + 1 < n; ++i)
      if (merges[i] && (best == n || merges[i]->rank < merges[best]->rank)) best = i;
    if (best == n) break;
    symbols[best].id = merges[best]->id;
    symbols[best].length += symbols[best + 1].length;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    --n;
    for (size_t i = best + 1; i + 1 < n; ++i) merges[i] = merges[i + 1];
    if (best > 0) merges[best - 1] = find_merge(symbols[best - 1].id, symbols[best].id);
    if (best + 1 < n) merges[best] = find_merge(symbols[best].id, symbols[best + 1].id);
  }
}

void Bpe::merge_long(std::vector<Symbol>& symbols, BpeMemory& memory) const {
  auto& heap = memory.heap;
  heap.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i)
    if (const Merge* m = find_merge(symbols[i].id, symbols[i + 1].id)) heap.push_back({m->rank, static_cast<int32_t>(i), m->id});
  std::make_heap(heap.begin(), heap.end());
  auto push = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const Merge* m = find_merge(symbols[static_cast<size_t>(left)].id, symbols[static_cast<size_t>(right)].id);
    if (!m) return;
    heap.push_back({m->rank, left, m->id});
    std::push_heap(heap.begin(), heap.end());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const BpeMemory::Candidate top = heap.back();
    heap.pop_back();
    Symbol& left = symbols[static_cast<size_t>(top.position)];
    if (left.length == 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    // the pair that this entry was made for may have changed since
    const Merge* m = find_merge(left.id, right.id);
    if (!m || m->id != top.id) continue;
    left.id = top.id;
    left.length += right.length;
    left.next = right.next;
    right.length = 0;
    if (right.next >= 0) symbols[static_cast<size_t>(right.next)].prev = top.position;
    push(left.prev, top.position);
    push(top.position, left.next);
  }
}

std::unique_ptr<Model::Memory> Bpe::make_memory() const { return std::make_unique<BpeMemory>(); }

void Bpe::tokenize(std::string_view word, std::vector<ModelToken>& out, Memory* memory) const {
  std::unique_ptr<Memory> own;
  if (!memory) memory = (own = make_memory()).get();
  auto& m = static_cast<BpeMemory&>(*memory);
  if (ignore_merges_) {
    if (const int32_t id = vocab_.find(word); id >= 0) {
      out.push_back({id, 0, static_cast<uint32_t>(word.size())});
      return;
    }
  }
  BpeMemory::Entry* entry = nullptr;
  if (word.size() <= BpeMemory::kWordBytes) {
    const uint64_t h = Vocab::hash(Vocab::kSeed, word);
    entry = &m.entries[static_cast<size_t>(h * 0x9E3779B97F4A7C15u >> 40) % BpeMemory::kSlots];
    if (entry->length == word.size() && std::memcmp(entry->word.data(), word.data(), word.size()) == 0) {
      uint32_t at = 0;
      for (size_t i = 0; i < entry->count; ++i) {
        out.push_back({entry->ids[i], at, at + entry->lengths[i]});
        at += entry->lengths[i];
      }
      return;
    }
  }
  split_chars(word, m.symbols);
  if (m.symbols.size() <= kShort)
    merge_short(m.symbols);
  else
    merge_long(m.symbols, m);
  const size_t first = out.size();
  uint32_t at = 0;
  const auto size = static_cast<uint32_t>(word.size());
  for (const Symbol& s : m.symbols) {
    if (s.length == 0) continue;
    // bytes of an affix can carry the sum past the word
    out.push_back({s.id, std::min(at, size), std::min(at + s.length, size)});
    at += s.length;
  }
  const size_t count = out.size() - first;
  if (!entry || count > BpeMemory::kWordTokens || at > size) return;
  entry->length = static_cast<uint8_t>(word.size());
  entry->count = static_cast<uint8_t>(count);
  std::memcpy(entry->word.data(), word.data(), word.size());
  for (size_t i = 0; i < count; ++i) {
    entry->ids[i] = out[first + i].id;
    entry->lengths[i] = static_cast<uint8_t>(out[first + i].end - out[first + i].begin);
  }
}

}  // namespace tenon::text
