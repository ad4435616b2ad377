// Training BPE: pairs of neighbours are counted once; each merge changes the counts around the places where it happens.
#include <algorithm>
#include <unordered_map>

#include "tenon/core/error.h"
#include "tenon/text/utf8.h"
#include "train.h"

namespace tenon::text {
namespace {

constexpr uint32_t kNone = ~uint32_t{0};

uint64_t pair_of(uint32_t left, uint32_t right) { return uint64_t{left} << 32 | right; }

// Pairs of neighbours: how often each occurs, and the places where it came up since it was last queued.
class PairTable {
 public:
  struct Pair {
    uint64_t key;
    int64_t count = 0;
    std::vector<uint32_t> fresh;
  };
  uint32_t find(uint64_t key) {
    if (2 * (pairs_.size() + 1) > slots_.size()) grow();
    size_t i = slot_of(key);
    for (; slots_[i] != 0; i = (i + 1) & (slots_.size() - 1))
      if (pairs_[slots_[i] - 1].key == key) return slots_[i] - 1;
    pairs_.push_back({key, 0, {}});
    slots_[i] = static_cast<uint32_t>(pairs_.size());
    return slots_[i] - 1;
  }
  Pair& operator[](uint32_t i) { return pairs_[i]; }
  uint32_t size() const { return static_cast<uint32_t>(pairs_.size()); }

 private:
  size_t slot_of(uint64_t key) const { return static_cast<size_t>((key ^ key >> 29) * 0x9E3779B97F4A7C15u >> 32) & (slots_.size() - 1); }
  void grow() {
    slots_.assign(std::max<size_t>(1024, 2 * slots_.size()), 0);
    for (size_t k = 0; k < pairs_.size(); ++k) {
      size_t i = slot_of(pairs_[k].key);
      while (slots_[i] != 0) i = (i + 1) & (slots_.size() - 1);
      slots_[i] = static_cast<uint32_t>(k + 1);
    }
  }
  std::vector<Pair> pairs_;
  std::vector<uint32_t> slots_;
};

// A pair in the queue: the most frequent one comes first, of equal ones that with the lowest ids.
struct Candidate {
  int64_t count;
  uint64_t key;
  uint32_t pair;
  std::vector<uint32_t> places;
  bool operator<(const Candidate& o) const { return count != o.count ? count < o.count : key > o.key; }
};

class BpeTrainer {
 public:
  explicit BpeTrainer(const TrainOptions& options) : options_(options), prefix_(options.continuing_subword_prefix) {}

  TrainedModel run(const WordList& words) {
    for (const AddedToken& token : options_.special_tokens) add_token(token.content);
    add_alphabet(words);
    add_symbols(words);
    check(texts_.size() <= options_.vocab_size, ErrorCode::Limit, "train_bpe", "vocab_size: expected at least ", texts_.size(),
          " for the special tokens and the alphabet, got ", options_.vocab_size, " (limit_alphabet makes it smaller)");
    count_pairs();
    merge_pairs();
    TrainedModel out;
    // a pair merged twice, when its places came up at two times, has the rank of the later one
    std::unordered_map<uint64_t, size_t> last;
    for (size_t i = 0; i < merges_.size(); ++i) last[merges_[i]] = i;
    for (size_t i = 0; i < merges_.size(); ++i)
      if (last[merges_[i]] == i)
        out.merges.emplace_back(texts_[static_cast<size_t>(merges_[i] >> 32)], texts_[static_cast<uint32_t>(merges_[i])]);
    out.tokens = std::move(texts_);
    return out;
  }

 private:
  uint32_t add_token(const std::string& text) {
    const auto [at, is_new] = ids_.emplace(text, static_cast<uint32_t>(texts_.size()));
    if (is_new) {
      texts_.push_back(text);
      lengths_.push_back(1);
    }
    return at->second;
  }

  void add_alphabet(const WordList& words) {
    std::map<char32_t, uint64_t> counts;
    for (const auto& [word, count] : words)
      for (size_t i = 0; i < word.size(); i += char_length(word[i])) counts[decode(word.data() + i)] += count;
    for (const char32_t c : options_.initial_alphabet) counts[c] = ~uint64_t{0};
    std::vector<std::pair<uint64_t, char32_t>> kept;
    for (const auto& [c, count] : counts) kept.emplace_back(count, c);
    if (options_.limit_alphabet && kept.size() > *options_.limit_alphabet) {
      std::stable_sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
      kept.resize(*options_.limit_alphabet);
    }
    std::sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    for (const auto& [count, c] : kept) {
      std::string text;
      append(text, c);
      chars_[c] = add_token(text);
    }
  }

  // The characters of all words in one row; those outside the alphabet are left out.
  void add_symbols(const WordList& words) {
    size_t total = 0;
    for (const auto& [word, count] : words) total += count_chars(word);
    check(total < kNone / 2, ErrorCode::Limit, "train_bpe", "expected less than 2 G characters in different words, got ", total);
    for (auto* row : {&symbols_, &next_, &prev_, &word_of_}) row->reserve(total);
    // what a character is called at its place in a word: the affixes give it names of its own, which get ids in order
    std::map<std::pair<int, char32_t>, std::vector<uint32_t>> affixed;
    for (size_t w = 0; w < words.size(); ++w) {
      const std::string& word = words[w].first;
      const size_t first = symbols_.size();
      for (size_t i = 0; i < word.size();) {
        const char32_t c = decode(word.data() + i);
        const bool has_prefix = i > 0 && !prefix_.empty();
        i += char_length(word[i]);
        const bool has_suffix = i == word.size() && !options_.end_of_word_suffix.empty();
        const auto known = chars_.find(c);
        if (known == chars_.end()) continue;
        const auto at = static_cast<uint32_t>(symbols_.size());
        if (has_prefix || has_suffix) affixed[{(has_prefix ? 1 : 0) | (has_suffix ? 2 : 0), c}].push_back(at);
        symbols_.push_back(known->second);
        prev_.push_back(at > first ? at - 1 : kNone);
        next_.push_back(at + 1);
        word_of_.push_back(static_cast<uint32_t>(w));
      }
      if (symbols_.size() > first) next_.back() = kNone;
      counts_.push_back(static_cast<int64_t>(words[w].second));
    }
    for (const auto& [form, places] : affixed) {
      std::string text = form.first & 1 ? prefix_ : std::string();
      append(text, form.second);
      if (form.first & 2) text += options_.end_of_word_suffix;
      const uint32_t id = add_token(text);
      for (const uint32_t at : places) symbols_[at] = id;
    }
  }

  void count_pairs() {
    for (uint32_t at = 0; at < symbols_.size(); ++at)
      if (next_[at] != kNone) change(symbols_[at], symbols_[next_[at]], at, 1);
    queue_changed();
  }

  void change(uint32_t left, uint32_t right, uint32_t at, int64_t times) {
    const uint32_t i = pairs_.find(pair_of(left, right));
    PairTable::Pair& pair = pairs_[i];
    pair.count += times * counts_[word_of_[at]];
    if (times < 0) return;
    if (pair.fresh.empty()) changed_.push_back(i);
    pair.fresh.push_back(at);
  }

  void queue_changed() {
    for (const uint32_t i : changed_) {
      PairTable::Pair& pair = pairs_[i];
      std::vector<uint32_t> places = std::move(pair.fresh);
      pair.fresh.clear();
      if (pair.count <= 0) continue;
      queue_.push_back({pair.count, pair.key, i, std::move(places)});
      std::push_heap(queue_.begin(), queue_.end());
    }
    changed_.clear();
  }

  void merge_pairs() {
    const size_t first = texts_.size();
    while (texts_.size() < options_.vocab_size && !queue_.empty()) {
      std::pop_heap(queue_.begin(), queue_.end());
      Candidate top = std::move(queue_.back());
      queue_.pop_back();
      // counts change while pairs wait
      if (top.count != pairs_[top.pair].count) {
        top.count = pairs_[top.pair].count;
        queue_.push_back(std::move(top));
        std::push_heap(queue_.begin(), queue_.end());
        continue;
      }
      if (top.count < std::max<int64_t>(1, options_.min_frequency)) break;
      merge(top);
      queue_changed();
      if (merges_.size() % 64 == 0) report(options_, "merging pairs", texts_.size() - first, options_.vocab_size - first);
    }
    report(options_, "merging pairs", texts_.size() - first, texts_.size() - first);
  }

  void merge(const Candidate& top) {
    const auto left = static_cast<uint32_t>(top.key >> 32), right = static_cast<uint32_t>(top.key);
    std::string_view tail = texts_[right];
    if (!prefix_.empty() && tail.starts_with(prefix_)) tail.remove_prefix(prefix_.size());
    const uint32_t length = lengths_[left] + lengths_[right];
    const uint32_t id = add_token(texts_[left] + std::string(tail));
    lengths_[id] = length;
    merges_.push_back(top.key);
    const auto fits = [&](uint32_t other) { return !options_.max_token_length || lengths_[other] + length < *options_.max_token_length; };
    for (const uint32_t at : top.places) {
      const uint32_t after = next_[at];
      // the neighbours may have been merged since; a symbol inside another has no neighbours
      if (symbols_[at] != left || after == kNone || symbols_[after] != right) continue;
      const uint32_t before = prev_[at], rest = next_[after];
      symbols_[at] = id;
      symbols_[after] = kNone;
      next_[at] = rest;
      next_[after] = kNone;
      if (rest != kNone) prev_[rest] = at;
      if (before != kNone) {
        change(symbols_[before], left, before, -1);
        if (fits(symbols_[before])) change(symbols_[before], id, before, 1);
      }
      if (rest != kNone) {
        change(right, symbols_[rest], at, -1);
        if (fits(symbols_[rest])) change(id, symbols_[rest], at, 1);
      }
    }
  }

  const TrainOptions& options_;
  std::string prefix_;
  std::vector<std::string> texts_;  // tokens by id
  std::vector<uint32_t> lengths_;   // in characters, of tokens that words are made of
  std::unordered_map<std::string, uint32_t> ids_;
  std::unordered_map<char32_t, uint32_t> chars_;  // the alphabet
  std::vector<uint32_t> symbols_, next_, prev_, word_of_;
  std::vector<int64_t> counts_;  // of the words
  PairTable pairs_;
  std::vector<uint32_t> changed_;  // pairs with fresh places
  std::vector<Candidate> queue_;   // a heap
  std::vector<uint64_t> merges_;
};

}  // namespace

TrainedModel learn_merges(const WordList& words, const TrainOptions& options) { return BpeTrainer(options).run(words); }

}  // namespace tenon::text
