// Vocab: filling the tables.
#include "tenon/text/vocab.h"

#include <algorithm>
#include <limits>

#include "tenon/core/error.h"

namespace tenon::text {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 31;

}  // namespace

void Vocab::reserve(size_t n, size_t bytes) {
  entries_.reserve(n);
  bytes_.reserve(bytes);
  size_t slots = 16;
  while (slots < 2 * n) slots *= 2;
  if (slots > slots_.size()) grow(slots);
}

void Vocab::grow(size_t slots) {
  slots_.assign(slots, Slot{});
  mask_ = slots - 1;
  for (size_t k = 0; k < entries_.size(); ++k) {
    const Entry& e = entries_[k];
    const uint64_t h = hash(kSeed, std::string_view(bytes_.data() + e.offset, e.length));
    size_t i = slot_of(h);
    while (slots_[i].entry != 0) i = (i + 1) & mask_;
    slots_[i] = {tag_of(h), static_cast<uint32_t>(k + 1)};
  }
}

void Vocab::add(std::string_view token, int64_t id) {
  check(id >= 0 && id < std::numeric_limits<int32_t>::max(), ErrorCode::Limit, "vocabulary", "id of '", token,
        "': expected 0 to 2147483646, got ", id);
  check(bytes_.size() + token.size() < kMaxBytes, ErrorCode::Limit, "vocabulary", "size: expected at most ", kMaxBytes, " bytes of tokens");
  const uint64_t h = hash(kSeed, token);
  size_t i = slot_of(h);
  for (; slots_[i].entry != 0; i = (i + 1) & mask_) {
    Entry& e = entries_[slots_[i].entry - 1];
    if (slots_[i].tag == tag_of(h) && std::string_view(bytes_.data() + e.offset, e.length) == token) {
      e.id = static_cast<int32_t>(id);
      return;
    }
  }
  entries_.push_back({static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(token.size()), static_cast<int32_t>(id)});
  bytes_.append(token);
  longest_ = std::max(longest_, token.size());
  slots_[i] = {tag_of(h), static_cast<uint32_t>(entries_.size())};
  if (2 * entries_.size() > slots_.size()) grow(2 * slots_.size());
}

void Vocab::finish() {
  int64_t limit = 0;
  for (const Entry& e : entries_) limit = std::max(limit, int64_t{e.id} + 1);
  // ids may have holes, but a small file must not make a large table
  check(limit <= 16 * static_cast<int64_t>(entries_.size()) + 65536, ErrorCode::Limit, "vocabulary", "largest id: expected at most ",
        16 * entries_.size() + 65535, " for ", entries_.size(), " tokens, got ", limit - 1);
  by_id_.assign(static_cast<size_t>(limit), 0);
  for (size_t k = 0; k < entries_.size(); ++k) by_id_[static_cast<size_t>(entries_[k].id)] = static_cast<uint32_t>(k + 1);
}

}  // namespace tenon::text
