// Large blocks of the pool: parts of mapped regions, split where less is wanted and joined again with free neighbours, so that memory which
// a step of training has touched serves whatever sizes come next without another page fault.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <utility>

namespace tenon::detail {

/// Not synchronised. Sizes are multiples of kGrain. Memory comes and goes in pages of 2 MB: a block that ends within a page makes the rest of
/// it cost memory, too, and only whole pages of a free range can be given back. Ranges say what is so: those that cost nothing begin and end
/// with a page.
class Regions {
 public:
  static constexpr size_t kGrain = size_t{16} << 10;
  static constexpr size_t kPage = size_t{2} << 20;

  Regions() = default;
  Regions(const Regions&) = delete;
  Regions& operator=(const Regions&) = delete;
  ~Regions();
  /// A block of memory that was used before; nullptr if no free range is large enough.
  void* reuse(size_t bytes);
  /// A block that costs memory when it is first touched, `cost` bytes in whole pages; nullptr if the system has none.
  void* fresh(size_t bytes, size_t& cost);
  void give_back(void* block);
  /// Gives pages of free ranges back to the system until these were `bytes`: of the smallest range that has enough, or else of the largest
  /// first. Returns how many bytes they were.
  size_t release(size_t bytes);

 private:
  struct Range {
    size_t bytes;
    char* region;
    bool is_free, is_touched;  // not touched: whole pages that cost no memory
  };
  using Ranges = std::map<char*, Range>;
  using Index = std::set<std::pair<size_t, char*>>;

  Index& index(const Range& r) { return r.is_touched ? touched_ : untouched_; }
  void add_free(char* start, size_t bytes, char* region, bool is_touched);
  Ranges::iterator join(Ranges::iterator range);
  void unmap_if_whole(Ranges::iterator range);

  Ranges ranges_;
  Index touched_, untouched_;  // the free ones by size
  std::map<char*, size_t> regions_;
};

}  // namespace tenon::detail
