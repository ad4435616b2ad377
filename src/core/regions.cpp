// The ranges behind regions.h: by address for joining, by size for finding.
#include "core/regions.h"

#include <algorithm>
#include <iterator>

#include "core/memory.h"

namespace tenon::detail {
namespace {

constexpr size_t kLeastRegion = size_t{32} << 20;

size_t rounded_up(size_t bytes) { return (bytes + Regions::kPage - 1) / Regions::kPage * Regions::kPage; }

}  // namespace

Regions::~Regions() {
  for (const auto& [start, bytes] : regions_) free_mapped(start, bytes);
}

void Regions::add_free(char* start, size_t bytes, char* region, bool is_touched) {
  if (bytes == 0) return;
  const auto range = ranges_.emplace(start, Range{bytes, region, true, is_touched}).first;
  index(range->second).emplace(bytes, start);
}

void* Regions::reuse(size_t bytes) {
  const auto found = touched_.lower_bound({bytes, nullptr});
  if (found == touched_.end()) return nullptr;
  char* start = found->second;
  touched_.erase(found);
  Range& range = ranges_.find(start)->second;
  add_free(start + bytes, range.bytes - bytes, range.region, true);
  range.bytes = bytes;
  range.is_free = false;
  return start;
}

void* Regions::fresh(size_t bytes, size_t& cost) {
  auto found = untouched_.lower_bound({bytes, nullptr});
  if (found == untouched_.end()) {
    const size_t size = rounded_up(std::max(bytes, kLeastRegion));
    auto* region = static_cast<char*>(allocate_mapped(size));
    if (!region) return nullptr;
    regions_.emplace(region, size);
    add_free(region, size, region, false);
    found = untouched_.find({size, region});
  }
  auto it = ranges_.find(found->second);
  untouched_.erase(found);
  char *const pages = it->first, *const end = pages + it->second.bytes, *const region = it->second.region;
  char* start = pages;
  if (it != ranges_.begin())  // the end of a page that costs memory already
    if (const auto before = std::prev(it); before->second.is_free && before->second.is_touched && before->second.region == region) {
      start = before->first;
      touched_.erase({before->second.bytes, start});
      ranges_.erase(it);
      it = before;
    }
  it->second = {bytes, region, false, true};
  char* const touched = std::max(pages, region + rounded_up(static_cast<size_t>(start + bytes - region)));
  add_free(start + bytes, static_cast<size_t>(touched - (start + bytes)), region, true);
  add_free(touched, static_cast<size_t>(end - touched), region, false);
  cost = static_cast<size_t>(touched - pages);
  return start;
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
  const auto pages_of = [&](char* start, size_t size, char* region) {
    const size_t first = rounded_up(static_cast<size_t>(start - region)), last = static_cast<size_t>(start + size - region) / kPage * kPage;
    return std::pair{region + first, first < last ? last - first : 0};
  };
  size_t released = 0;
  while (released < bytes) {
    Ranges::iterator best = ranges_.end();
    size_t most = 0;
    for (auto from = touched_.lower_bound({kPage, nullptr}); from != touched_.end(); ++from) {
      const auto it = ranges_.find(from->second);
      const size_t pages = pages_of(it->first, it->second.bytes, it->second.region).second;
      if (pages <= most) continue;
      best = it, most = pages;
      if (most >= bytes - released) break;  // they come by size
    }
    if (most == 0) break;
    const auto [pages, size] = pages_of(best->first, best->second.bytes, best->second.region);
    char *const start = best->first, *const end = start + best->second.bytes, *const region = best->second.region;
    touched_.erase({best->second.bytes, start});
    ranges_.erase(best);
    discard(pages, size);
    add_free(start, static_cast<size_t>(pages - start), region, true);
    add_free(pages + size, static_cast<size_t>(end - (pages + size)), region, true);
    unmap_if_whole(join(ranges_.emplace(pages, Range{size, region, true, false}).first));
    released += size;
  }
  return released;
}

}  // namespace tenon::detail
