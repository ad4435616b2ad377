// Counting the words that a pipeline cuts texts into.
#include <algorithm>
#include <atomic>
#include <functional>

#include "tenon/core/error.h"
#include "tenon/core/parallel.h"
#include "tenon/text/byte_level.h"
#include "tenon/text/train_tokenizer.h"

namespace tenon::text {

// Words in one string, found through a flat hash table.
class WordCounts::Table {
 public:
  void add(std::string_view word, uint64_t count) {
    if (2 * (entries_.size() + 1) > slots_.size()) grow();
    const uint64_t hash = std::hash<std::string_view>{}(word);
    const auto tag = static_cast<uint32_t>(hash >> 32);
    size_t i = static_cast<size_t>(hash) & (slots_.size() - 1);
    for (; slots_[i].entry != 0; i = (i + 1) & (slots_.size() - 1)) {
      Entry& entry = entries_[slots_[i].entry - 1];
      if (slots_[i].tag != tag || this->word(entry) != word) continue;
      entry.count += count;
      return;
    }
    check(entries_.size() < 0xFFFFFFFEu, ErrorCode::Limit, "WordCounts", "expected less than 4 G different words");
    entries_.push_back({bytes_.size(), count, static_cast<uint32_t>(word.size())});
    bytes_ += word;
    slots_[i] = {tag, static_cast<uint32_t>(entries_.size())};
  }
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Entry& entry : entries_) visit(word(entry), entry.count);
  }
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    size_t offset;
    uint64_t count;
    uint32_t length;
  };
  struct Slot {
    uint32_t tag = 0, entry = 0;  // entry: index + 1, 0 = free
  };
  std::string_view word(const Entry& e) const { return {bytes_.data() + e.offset, e.length}; }
  void grow() {
    slots_.assign(std::max<size_t>(1024, 2 * slots_.size()), {});
    for (size_t k = 0; k < entries_.size(); ++k) {
      const uint64_t hash = std::hash<std::string_view>{}(word(entries_[k]));
      size_t i = static_cast<size_t>(hash) & (slots_.size() - 1);
      while (slots_[i].entry != 0) i = (i + 1) & (slots_.size() - 1);
      slots_[i] = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(k + 1)};
    }
  }

  std::string bytes_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;
};

WordCounts::WordCounts(const Tokenizer& pipeline, int threads)
    : pipeline_(std::make_shared<Tokenizer>(pipeline)),
      tables_(static_cast<size_t>(std::max(1, threads > 0 ? threads : get_num_threads()))) {}
WordCounts::~WordCounts() = default;
WordCounts::WordCounts(WordCounts&&) noexcept = default;

void WordCounts::add(std::span<const std::string_view> texts) {
  const auto n = static_cast<int64_t>(texts.size());
  const auto workers = static_cast<int>(tables_.size());
  const int64_t few = std::max<int64_t>(1, std::min<int64_t>(64, n / (8 * workers)));
  std::atomic<int64_t> next{0};
  parallel_for(workers, std::min<int64_t>(workers, n), 1, [&](int64_t worker, int64_t) {
    Table& table = tables_[static_cast<size_t>(worker)];
    Pieces pieces;
    std::string repaired;
    for (int64_t at = next.fetch_add(few); at < n; at = next.fetch_add(few))
      for (int64_t i = at; i < std::min(at + few, n); ++i) {
        std::string_view text = texts[static_cast<size_t>(i)];
        if (!is_valid_utf8(text)) text = repaired = repair_utf8(text);
        pipeline_->cut(text, pieces);
        for (const Piece& p : pieces.list()) table.add(pieces.view(p), 1);
      }
  });
}

void WordCounts::add_word(std::string_view word, uint64_t count) {
  check(is_valid_utf8(word), ErrorCode::Format, "WordCounts", "word: expected UTF-8, got damaged text");
  if (!word.empty()) tables_[0].add(word, count);
}

std::vector<std::pair<std::string, uint64_t>> WordCounts::list() const {
  Table all;
  for (const Table& table : tables_) table.for_each([&](std::string_view word, uint64_t count) { all.add(word, count); });
  std::vector<std::pair<std::string, uint64_t>> out;
  out.reserve(all.size());
  all.for_each([&](std::string_view word, uint64_t count) {
    std::string text;
    if (pipeline_->cuts_bytes())
      for (const char c : word) append(text, kByteAlphabet.to_char[static_cast<unsigned char>(c)]);
    else
      text = word;
    out.emplace_back(std::move(text), count);
  });
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace tenon::text
