// The ranges behind regions.h: by address for joining, by size for finding.
#include "core/regions.h"

#include <algorithm>
#include <iterator>

#include "core/memory.h"

namespace tenon::detail {
namespace {

constexpr size_t kLeastRegion = size_t{32} << 20;

}  // namespace

Regions::~Regions() {
  for (const auto& [start, bytes] : regions_) free_mapped(start, bytes);
}

void* Regions::take(Index& from, size_t bytes) {
  const auto found = from.lower_bound({bytes, nullptr});
  if (found == from.end()) return nullptr;
  const auto it = ranges_.find(found->second);
  from.erase(found);
  Range& range = it->second;
  if (range.bytes > bytes) {
    const auto rest = ranges_.emplace(it->first + bytes, Range{range.bytes - bytes, range.region, true, range.is_touched}).first;
    from.emplace(rest->second.bytes, rest->first);
    range.bytes = bytes;
  }
  range.is_free = false;
  return it->first;
}

void* Regions::reuse(size_t bytes) { return take(touched_, bytes); }

void* Regions::fresh(size_t bytes) {
  if (void* block = take(untouched_, bytes)) return block;
  const size_t size = std::max(bytes, kLeastRegion);
  auto* start = static_cast<char*>(allocate_mapped(size));
  if (!start) return nullptr;
  regions_.emplace(start, size);
  ranges_.emplace(start, Range{size, start, true, false});
  untouched_.emplace(size, start);
  return take(untouched_, bytes);
}

/// Joins a free range, in no index yet, with its free neighbours of the same kind, and puts it into the index.
Regions::Ranges::iterator Regions::join(Ranges::iterator range) {
  const auto joins = [&](const Range& other) {
    return other.is_free && other.is_touched == range->second.is_touched && other.region == range->second.region;
  };
  if (const auto next = std::next(range); next != ranges_.end() && joins(next->second)) {
    index(next->second).erase({next->second.bytes, next->first});
    range->second.bytes += next->second.bytes;
    ranges_.erase(next);
  }
  if (range != ranges_.begin())
    if (const auto before = std::prev(range); joins(before->second)) {
      index(before->second).erase({before->second.bytes, before->first});
      before->second.bytes += range->second.bytes;
      ranges_.erase(range);
      range = before;
    }
  index(range->second).emplace(range->second.bytes, range->first);
  return range;
}

void Regions::give_back(void* block) {
  const auto it = ranges_.find(static_cast<char*>(block));
  it->second.is_free = it->second.is_touched = true;
  join(it);
}

void Regions::unmap_if_whole(Ranges::iterator range) {
  const auto region = regions_.find(range->second.region);
  if (range->second.bytes != region->second) return;
  index(range->second).erase({range->second.bytes, range->first});
  ranges_.erase(range);
  free_mapped(region->first, region->second);
  regions_.erase(region);
}

size_t Regions::release(size_t bytes) {
  size_t released = 0;
  while (released < bytes && !touched_.empty()) {
    auto found = touched_.lower_bound({bytes - released, nullptr});
    if (found == touched_.end()) found = std::prev(found);
    const auto it = ranges_.find(found->second);
    touched_.erase(found);
    released += it->second.bytes;
    it->second.is_touched = false;
    discard(it->first, it->second.bytes);
    unmap_if_whole(join(it));
  }
  return released;
}

}  // namespace tenon::detail
