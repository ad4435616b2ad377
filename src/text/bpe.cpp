// BPE: reading the merges, and the two ways to merge: scanning for short words, a heap for long ones.
#include "tenon/text/models/bpe.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <limits>

#include "tenon/core/random.h"
#include "tenon/text/byte_level.h"
#include "tenon/text/utf8.h"
#include "tenon/text/word_cache.h"

namespace tenon::text {
namespace {

constexpr char32_t kSmall = 0x800;
constexpr size_t kShort = 256;  // up to here scanning neighbours beats keeping a heap
constexpr size_t kFilterBits = 8;  // for each merge
constexpr size_t kKeptBytes = 1 << 20;  // of working memory, after a long word

// What Bpe::seed() was last told, how often, and the streams handed out since: one for each thread's memory.
std::atomic<uint64_t> dropout_seed{0}, dropout_round{1}, dropout_streams{0};

}  // namespace

const Bpe::Merge Bpe::kNoMerge;

struct Bpe::Symbol {
  int32_t id;
  uint32_t length;  // bytes; 0 once merged into the one before
};

struct Bpe::BpeMemory : Model::Memory {
  // for dropout
  Random random;
  uint64_t round = 0;
  void follow_seed() {
    if (round == dropout_round) return;
    round = dropout_round;
    random = Random(dropout_seed, dropout_streams++);
  }

  struct Candidate {
    uint32_t rank;
    int32_t position, id;
    // std heaps keep the largest in front
    bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : position > o.position; }
  };
  struct Links {
    int32_t prev, next;
  };
  WordCache words;
  std::vector<Symbol> symbols;
  std::vector<Links> links;
  std::vector<Candidate> heap, passed;
  std::string alphabet;
  uint64_t lookups = 0;
};

uint64_t Bpe::lookups(const Memory& memory) { return static_cast<const BpeMemory&>(memory).lookups; }

Bpe::Bpe(const Json& spec, const ModelData& data)
    : Model(data),
      unk_(spec.value("unk_token", "")),
      prefix_(spec.value("continuing_subword_prefix", "")),
      suffix_(spec.value("end_of_word_suffix", "")),
      has_unk_(spec.has("unk_token")),
      fuse_unk_(spec.value("fuse_unk", false)),
      byte_fallback_(spec.value("byte_fallback", false)),
      ignore_merges_(spec.value("ignore_merges", false)) {
  const double dropout = spec.value("dropout", 0.0);
  check(dropout >= 0 && dropout <= 1, ErrorCode::Format, "bpe", "dropout: expected 0 to 1, got ", dropout);
  dropout_ = static_cast<float>(dropout);
  unk_id_ = has_unk_ ? vocab_.find(unk_) : -1;
  size_t slots = 16;
  while (slots < 2 * std::max(data.merges.size(), data.merge_ids.size())) slots *= 2;
  table_.resize(slots);
  mask_ = slots - 1;
  filter_.resize(slots * kFilterBits / 2 / 64);
  filter_mask_ = filter_.size() * 64 - 1;
  add_merges(data);
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
  fill_bytes();
}

void Bpe::fill_bytes() {
  for (size_t place = 0; place < alphabet_ids_.size(); ++place)
    for (size_t b = 0; b < 256; ++b) {
      std::string c;
      append(c, kByteAlphabet.to_char[b]);
      alphabet_ids_[place][b] = char_id(c, (place & 1) != 0, (place & 2) != 0);
    }
  const auto& ids = alphabet_ids_[0];
  if (!prefix_.empty() || !suffix_.empty()) return;
  byte_pairs_.resize(size_t{1} << 16, {kNoRank, -1});
  for (size_t a = 0; a < 256; ++a)
    for (size_t b = 0; b < 256; ++b)
      if (ids[a] >= 0 && ids[b] >= 0) {
        const Merge& merge = find_merge(ids[a], ids[b]);
        byte_pairs_[a << 8 | b] = {merge.rank, merge.id};
      }
}

Bpe::MergeHashes Bpe::hash_merge(const std::pair<std::string_view, std::string_view>& merge) const {
  const auto& [left, right] = merge;
  const uint64_t h = Vocab::hash(Vocab::kSeed, left);
  return {h, Vocab::hash(Vocab::kSeed, right), Vocab::hash(h, right.substr(std::min(prefix_.size(), right.size())))};
}

// Nearly every look-up misses the caches, so what the next merges need is fetched ahead.
void Bpe::add_merges(const ModelData& data) {
  constexpr size_t kAhead = 16;
  if (!data.merge_ids.empty()) {
    merges_.reserve(data.merge_ids.size());
    for (size_t i = 0; i < data.merge_ids.size(); ++i) {
      if (i + kAhead < data.merge_ids.size()) prefetch_merge(data.merge_ids[i + kAhead][0], data.merge_ids[i + kAhead][1]);
      keep_merge(data.merge_ids[i][0], data.merge_ids[i][1], data.merge_ids[i][2], static_cast<uint32_t>(i));
    }
    return;
  }
  const size_t n = data.merges.size();
  std::array<MergeHashes, kAhead> ahead;
  merges_.reserve(n);
  for (size_t i = 0; i < n + kAhead; ++i) {
    if (i >= kAhead) add_merge(data.merges[i - kAhead], ahead[i % kAhead], static_cast<uint32_t>(i - kAhead));
    if (i >= n) continue;
    ahead[i % kAhead] = hash_merge(data.merges[i]);
    for (const uint64_t h : {ahead[i % kAhead].left, ahead[i % kAhead].right, ahead[i % kAhead].both}) vocab_.prefetch(h);
  }
}

void Bpe::add_merge(const std::pair<std::string_view, std::string_view>& merge, const MergeHashes& hashes, uint32_t rank) {
  const auto& [left, right] = merge;
  const int32_t a = vocab_.find(hashes.left, {}, left), b = vocab_.find(hashes.right, {}, right);
  check(a >= 0 && b >= 0, ErrorCode::Format, "bpe", "merge ", rank, ": expected tokens of the vocabulary, got '", left, "' + '", right,
        "'");
  check(right.size() >= prefix_.size(), ErrorCode::Format, "bpe", "merge ", rank, ": expected the prefix '", prefix_, "', got '", right,
        "'");
  const std::string_view tail = right.substr(prefix_.size());
  const int32_t id = vocab_.find(hashes.both, left, tail);
  check(id >= 0, ErrorCode::Format, "bpe", "merge ", rank, ": expected '", left, tail, "' in the vocabulary");
  keep_merge(a, b, id, rank);
}

void Bpe::prefetch_merge(int32_t left, int32_t right) const {
  const uint64_t h = hash_of(pair_of(left, right));
  __builtin_prefetch(&table_[static_cast<size_t>(h >> 32) & mask_], 1);
  __builtin_prefetch(&filter_[(static_cast<size_t>(h >> 20) & filter_mask_) >> 6], 1);
}

void Bpe::keep_merge(int32_t left, int32_t right, int32_t id, uint32_t rank) {
  merges_.emplace_back(left, right);
  const uint64_t pair = pair_of(left, right);
  const uint64_t h = hash_of(pair);
  size_t i = static_cast<size_t>(h >> 32) & mask_;
  while (table_[i].pair != kNoPair && table_[i].pair != pair) i = (i + 1) & mask_;
  const auto f = static_cast<size_t>(h >> 20) & filter_mask_;
  filter_[f >> 6] |= uint64_t{1} << (f & 63);
  table_[i] = {pair, rank, id};
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
  auto add = [&](int32_t id, size_t length) { symbols.push_back({id, static_cast<uint32_t>(length)}); };
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
}

// Whether every byte has its token.
bool Bpe::split_bytes(std::string_view word, std::vector<Symbol>& symbols) const {
  symbols.resize(word.size());
  const size_t last = word.size() - 1;
  const auto id = [&](size_t i, size_t place) { return alphabet_ids_[place][static_cast<unsigned char>(word[i])]; };
  int32_t all = 0;  // negative as soon as one is
  for (size_t i = 1; i < last; ++i) {
    symbols[i] = {id(i, 0), 1};
    all |= symbols[i].id;
  }
  symbols[last] = {id(last, 2), 1};
  symbols[0] = {id(0, last == 0 ? 3 : 1), 1};
  return (all | symbols[last].id | symbols[0].id) >= 0;
}

// A character is merged to its one token before its bytes can go with a neighbour's, and before the token takes part in other merges, if all
// such merges rank behind those of the character's own bytes: one of those is always at hand, and the lowest rank comes first.
void Bpe::fill_wide() const {
  enum : uint8_t { kStartsChar = 1, kPrefix = 2, kSuffix = 4 };  // of a token's bytes: a first one, the first or the last ones alone
  const auto limit = static_cast<size_t>(vocab_.id_limit());
  std::vector<uint8_t> kinds(limit);
  for (size_t id = 0; id < limit; ++id) {
    const std::string_view text = vocab_.token(static_cast<int64_t>(id));
    if (text.empty()) continue;
    const int first = byte_of(decode(text.data())), last = byte_of(last_char(text));
    const size_t size = text.size() <= 4 ? count_chars(text) : 3;
    const auto is_inside = [](int byte) { return byte >= 0x80 && byte < 0xC0; };
    kinds[id] = static_cast<uint8_t>((!is_inside(first) ? kStartsChar : 0) | (size < 3 && first >= 0xE0 ? kPrefix : 0) |
                                     (size < 3 && is_inside(first) && is_inside(last) ? kSuffix : 0));
  }
  // the lowest rank at which a token is merged at all, and with a part of the character behind or before it
  std::vector<uint32_t> any(limit, kNoRank), behind(limit, kNoRank), before(limit, kNoRank);
  const auto lower = [](uint32_t& rank, uint32_t other) { rank = std::min(rank, other); };
  for (size_t i = 0; i < merges_.size(); ++i) {
    const auto left = static_cast<size_t>(merges_[i].first), right = static_cast<size_t>(merges_[i].second);
    const uint32_t rank = find_merge(merges_[i].first, merges_[i].second).rank;
    lower(any[left], rank);
    lower(any[right], rank);
    if (kinds[right] & kPrefix) lower(before[right], rank);
    if ((kinds[left] & kSuffix) && (kinds[right] & kStartsChar)) lower(behind[left], rank);
  }
  const auto& ids = alphabet_ids_[0];
  wide_ids_.assign(0x10000 - kSmall, -1);
  for (char32_t c = kSmall; c < 0x10000; ++c) {
    char bytes[4];
    encode(c, bytes);
    const auto byte = [&](size_t i) { return size_t{static_cast<unsigned char>(bytes[i])}; };
    const Result left = byte_pairs_[byte(0) << 8 | byte(1)], right = byte_pairs_[byte(1) << 8 | byte(2)];
    if (left.rank == kNoRank && right.rank == kNoRank) continue;
    const bool is_left = left.rank <= right.rank;
    const Merge& whole = is_left ? find_merge(left.id, ids[byte(2)]) : find_merge(ids[byte(0)], right.id);
    if (whole.rank == kNoRank) continue;
    const uint32_t rank = std::max(whole.rank, std::min(left.rank, right.rank));
    const auto first = static_cast<size_t>(ids[byte(0)]), last = static_cast<size_t>(ids[byte(2)]);
    const auto part = static_cast<size_t>(is_left ? left.id : right.id);
    const bool is_alone = any[static_cast<size_t>(whole.id)] > rank && before[first] > rank && behind[last] > rank &&
                          (is_left ? before[part] : behind[part]) > rank;
    if (is_alone) wide_ids_[c - kSmall] = whole.id;
  }
}

// As split_bytes(), with such characters as one symbol: a third of the symbols, and none of the merges that make them. False if there are none.
bool Bpe::split_wide(std::string_view word, std::vector<Symbol>& symbols) const {
  const auto is_wide = [&](size_t i) { return (static_cast<unsigned char>(word[i]) & 0xF0) == 0xE0; };
  size_t i = 0;
  while (i < word.size() && !is_wide(i)) ++i;
  if (i == word.size() || byte_pairs_.empty()) return false;
  std::call_once(has_wide_, [&] { fill_wide(); });
  symbols.clear();
  int32_t all = 0;  // negative as soon as a byte has no token
  bool has_one = false;
  for (i = 0; i < word.size();) {
    const int32_t id = is_wide(i) ? wide_ids_[decode(word.data() + i) - kSmall] : -1;
    has_one = has_one || id >= 0;
    symbols.push_back({id >= 0 ? id : alphabet_ids_[0][static_cast<unsigned char>(word[i])], id >= 0 ? 3u : 1u});
    all |= symbols.back().id;
    i += symbols.back().length;
  }
  return has_one && all >= 0;
}

// The lowest rank is sought among the lowest of each block of neighbours. first_merge(i) is what find_merge() gives for the first two symbols
// at i.
template <class First>
void Bpe::merge_short(BpeMemory& memory, First&& first_merge) const {
  constexpr size_t kBlock = 16;
  constexpr int32_t kNone = std::numeric_limits<int32_t>::max();  // signed, which SSE2 can compare
  std::vector<Symbol>& symbols = memory.symbols;
  std::array<int32_t, kShort> ranks, ids;  // of merging a symbol with the next
  std::array<int32_t, kShort / kBlock> lows;
  std::array<uint16_t, kShort + 1> next, prev;
  const size_t n = symbols.size(), blocks = (n + kBlock - 1) / kBlock;
  if (n < 2) return;
  const auto set = [&](size_t i, uint32_t rank, int32_t id) {
    ranks[i] = rank == kNoRank ? kNone : static_cast<int32_t>(rank);
    ids[i] = id;
  };
  const auto refresh = [&](size_t block) {
    int32_t low = kNone;
    for (size_t k = 0; k < kBlock; ++k) low = std::min(low, ranks[block * kBlock + k]);
    lows[block] = low;
  };
  const auto look_up = [&](size_t i) {
    const Merge& merge = next[i] < n ? find_merge(symbols[i].id, symbols[next[i]].id) : kNoMerge;
    const int32_t last = ranks[i];
    set(i, merge.rank, merge.id);
    int32_t& low = lows[i / kBlock];
    if (ranks[i] <= low)
      low = ranks[i];
    else if (last == low)
      refresh(i / kBlock);
    ++memory.lookups;
  };
  for (size_t i = 0; i + 1 < n; ++i) {
    const Result result = first_merge(i);
    set(i, result.rank, result.id);
  }
  std::fill(ranks.begin() + static_cast<std::ptrdiff_t>(n - 1), ranks.begin() + static_cast<std::ptrdiff_t>(blocks * kBlock), kNone);
  for (size_t i = 0; i <= n; ++i) {
    next[i] = static_cast<uint16_t>(i + 1);
    prev[i] = static_cast<uint16_t>(i - 1);
  }
  for (size_t block = 0; block < blocks; ++block) refresh(block);
  while (true) {
    size_t block = 0;
    for (size_t b = 1; b < blocks; ++b)
      if (lows[b] < lows[block]) block = b;
    if (lows[block] == kNone) break;
    size_t i = block * kBlock;
    while (ranks[i] != lows[block]) ++i;
    const size_t right = next[i];
    symbols[i].id = ids[i];
    symbols[i].length += symbols[right].length;
    symbols[right].length = 0;
    next[i] = next[right];
    prev[next[right]] = static_cast<uint16_t>(i);
    const bool is_low = ranks[right] == lows[right / kBlock];
    ranks[right] = kNone;
    // its block is the merged one's, which is refreshed below, or another
    if (is_low && right / kBlock != block) refresh(right / kBlock);
    look_up(i);
    if (i > 0) look_up(prev[i]);
  }
}

void Bpe::merge_long(BpeMemory& memory) const {
  std::vector<Symbol>& symbols = memory.symbols;
  auto& links = memory.links;
  auto& heap = memory.heap;
  const auto n = static_cast<int32_t>(symbols.size());
  links.resize(symbols.size());
  for (int32_t i = 0; i < n; ++i) links[static_cast<size_t>(i)] = {i - 1, i + 1 < n ? i + 1 : -1};
  heap.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    const Merge& m = find_merge(symbols[i].id, symbols[i + 1].id);
    if (m.rank != kNoRank) heap.push_back({m.rank, static_cast<int32_t>(i), m.id});
  }
  memory.lookups += symbols.size();
  std::make_heap(heap.begin(), heap.end());
  auto push = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    ++memory.lookups;
    const Merge& m = find_merge(symbols[static_cast<size_t>(left)].id, symbols[static_cast<size_t>(right)].id);
    if (m.rank == kNoRank) return;
    heap.push_back({m.rank, left, m.id});
    std::push_heap(heap.begin(), heap.end());
  };
  std::vector<BpeMemory::Candidate>& passed = memory.passed;
  passed.clear();
  if (dropout_ > 0) memory.follow_seed();
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const BpeMemory::Candidate top = heap.back();
    heap.pop_back();
    if (dropout_ > 0) {
      if (memory.random.uniform() < dropout_) {
        passed.push_back(top);
        continue;
      }
      // those passed over have another chance with each that is not
      for (const BpeMemory::Candidate& candidate : passed) {
        heap.push_back(candidate);
        std::push_heap(heap.begin(), heap.end());
      }
      passed.clear();
    }
    const auto at = static_cast<size_t>(top.position);
    Symbol& left = symbols[at];
    if (left.length == 0 || links[at].next < 0) continue;
    const auto after = static_cast<size_t>(links[at].next);
    Symbol& right = symbols[after];
    // the pair that this entry was made for may have changed since
    ++memory.lookups;
    if (find_merge(left.id, right.id).id != top.id) continue;
    left.id = top.id;
    left.length += right.length;
    right.length = 0;
    links[at].next = links[after].next;
    if (links[at].next >= 0) links[static_cast<size_t>(links[at].next)].prev = top.position;
    push(links[at].prev, top.position);
    push(top.position, links[at].next);
  }
}

void Bpe::seed(uint64_t seed) {
  dropout_seed = seed;
  ++dropout_round;
  dropout_streams = 0;
}

std::unique_ptr<Model::Memory> Bpe::make_memory() const { return std::make_unique<BpeMemory>(); }

// From the symbols of a word to its tokens.
void Bpe::merge(std::string_view word, bool is_bytes, BpeMemory& memory, std::vector<ModelToken>& out) const {
  const auto byte = [&](size_t i) { return size_t{static_cast<unsigned char>(word[i])}; };
  if (memory.symbols.size() > kShort || dropout_ > 0)
    merge_long(memory);
  else if (is_bytes && !byte_pairs_.empty())
    merge_short(memory, [&](size_t i) { return byte_pairs_[byte(i) << 8 | byte(i + 1)]; });
  else
    merge_short(memory, [&](size_t i) {
      const Merge& merge = find_merge(memory.symbols[i].id, memory.symbols[i + 1].id);
      return Result{merge.rank, merge.id};
    });
  uint32_t at = 0;
  const auto size = static_cast<uint32_t>(word.size());
  for (const Symbol& s : memory.symbols) {
    if (s.length == 0) continue;
    // bytes of an affix can carry the sum past the word
    out.push_back({s.id, std::min(at, size), std::min(at + s.length, size)});
    at += s.length;
  }
  if (memory.symbols.capacity() * sizeof(Symbol) > kKeptBytes) {
    std::vector<Symbol>().swap(memory.symbols);
    std::vector<BpeMemory::Links>().swap(memory.links);
    std::vector<BpeMemory::Candidate>().swap(memory.heap);
  }
}

void Bpe::tokenize(std::string_view word, std::vector<ModelToken>& out, Memory* memory) const {
  std::unique_ptr<Memory> own;
  if (!memory) memory = (own = make_memory()).get();
  auto& m = static_cast<BpeMemory&>(*memory);
  WordCache::Set* known = dropout_ == 0 ? m.words.place(word) : nullptr;
  if (known && WordCache::recall(*known, word, 0, out)) return;
  const size_t first = out.size();
  const int32_t id = ignore_merges_ ? vocab_.find(word) : -1;
  if (id >= 0) {
    out.push_back({id, 0, static_cast<uint32_t>(word.size())});
  } else {
    split_chars(word, m.symbols);
    merge(word, false, m, out);
  }
  if (known) WordCache::keep(*known, word, 0, out, first);
}

// By way of the alphabet itself, for words with bytes that are no token.
void Bpe::tokenize_alphabet(std::string_view word, std::vector<ModelToken>& out, BpeMemory& memory) const {
  const size_t first = out.size();
  std::vector<uint32_t> places;  // of each byte of the alphabet's text in the word
  for (size_t i = 0; i < word.size(); ++i) {
    const bool is_ascii = kByteAlphabet.to_char[static_cast<unsigned char>(word[i])] < 0x80;
    places.insert(places.end(), is_ascii ? size_t{1} : size_t{2}, static_cast<uint32_t>(i));
  }
  places.push_back(static_cast<uint32_t>(word.size()));
  split_chars(memory.alphabet, memory.symbols);
  merge(memory.alphabet, false, memory, out);
  for (size_t i = first; i < out.size(); ++i) out[i] = {out[i].id, places[out[i].begin], places[out[i].end]};
}

void Bpe::tokenize_bytes(std::string_view word, std::vector<ModelToken>& out, Memory* memory) const {
  std::unique_ptr<Memory> own;
  if (!memory) memory = (own = make_memory()).get();
  auto& m = static_cast<BpeMemory&>(*memory);
  WordCache::Set* known = dropout_ == 0 ? m.words.place(word) : nullptr;
  if (known && WordCache::recall(*known, word, 0, out)) return;
  const size_t first = out.size();
  int32_t id = -1;
  const bool is_wide = split_wide(word, m.symbols), has_all = is_wide || split_bytes(word, m.symbols);
  if ((ignore_merges_ && word.size() <= vocab_.longest()) || !has_all) {
    m.alphabet.clear();
    for (const char c : word) append(m.alphabet, kByteAlphabet.to_char[static_cast<unsigned char>(c)]);
    if (ignore_merges_) id = vocab_.find(m.alphabet);
  }
  if (id >= 0)
    out.push_back({id, 0, static_cast<uint32_t>(word.size())});
  else if (has_all)
    merge(word, !is_wide, m, out);
  else
    tokenize_alphabet(word, out, m);
  if (known) WordCache::keep(*known, word, 0, out, first);
}

}  // namespace tenon::text
