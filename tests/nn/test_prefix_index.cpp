// Pages of a cache that several sequences share: adopting, the index of beginnings, and what it forgets first.
#include "tenon/nn/prefix_index.h"

#include <doctest/doctest.h>

#include <numeric>

using namespace tenon;
using nn::KvCache;
using nn::PrefixIndex;

namespace {

constexpr int64_t kRows = KvCache::kPageRows;

std::vector<int64_t> tokens(int64_t n, int64_t first = 0) {
  std::vector<int64_t> t(static_cast<size_t>(n));
  std::iota(t.begin(), t.end(), first);
  return t;
}

KvCache cache_of(size_t pages) {
  const nn::CacheLayout layout{.layers = 2, .k_width = 4, .v_width = 4};
  return KvCache(layout, pages * static_cast<size_t>(kRows) * layout.bytes_per_token());
}

/// Adds a sequence of `n` tokens whose first page begins with the byte `mark`.
int64_t add(KvCache& cache, int64_t n, char mark = 0) {
  const int64_t i = cache.add();
  std::vector<int64_t> counts(static_cast<size_t>(cache.size()));
  counts.back() = n;
  cache.reserve(counts);
  cache.extend(counts);
  if (n) *static_cast<char*>(cache.page_of(i, 0)) = mark;
  return i;
}

void drop_all(KvCache& cache) { cache.reorder({}); }

}  // namespace

TEST_CASE("a sequence adopts the full pages of another, which it shares until it writes there") {
  KvCache cache = cache_of(8);
  const int64_t a = add(cache, 2 * kRows + 5, 'a'), b = add(cache, 0), c = add(cache, 3);
  const std::vector<KvCache::PageRef> pages = {cache.page(a, 0), cache.page(a, 1)};
  CHECK_THROWS_AS(cache.page(a, 2), Error);
  CHECK_THROWS_AS(cache.adopt(c, pages), Error);
  cache.adopt(b, pages);
  CHECK(cache.length(b) == 2 * kRows);
  CHECK(cache.bytes() == 4 * cache.page_bytes());
  CHECK(cache.page_of(a, 0) == cache.page_of(b, 0));
  const std::vector<int64_t> counts = {0, 1, 0};
  cache.reserve(counts);
  cache.extend(counts);
  CHECK(cache.bytes() == 5 * cache.page_bytes());
  CHECK(cache.page_of(a, 2 * kRows) != cache.page_of(b, 2 * kRows));
  cache.truncate(b, 1);  // from here on the first page is written to
  cache.reserve(counts);
  CHECK(cache.page_of(a, 0) != cache.page_of(b, 0));
  CHECK(*static_cast<char*>(cache.page_of(b, 0)) == 'a');
}

TEST_CASE("the index finds the longest known beginning in whole pages") {
  KvCache cache = cache_of(16);
  PrefixIndex index;
  auto text = tokens(3 * kRows + 7);
  index.insert(cache, add(cache, 3 * kRows + 7, 'x'), text);
  CHECK(index.size() == 3);
  CHECK(index.find(text, 1000).size() == 3);
  CHECK(index.find(text, 3 * kRows - 1).size() == 2);
  text[static_cast<size_t>(2 * kRows)] = 999;
  CHECK(index.find(text, 1000).size() == 2);
  text[0] = 999;
  CHECK(index.find(text, 1000).empty());
  CHECK(index.peek(tokens(kRows - 1), 1000).empty());
  // A branch shares its trunk.
  text = tokens(3 * kRows);
  text.back() = 5;
  index.insert(cache, add(cache, 3 * kRows), text);
  CHECK(index.size() == 4);
  drop_all(cache);
  CHECK(cache.bytes() == 4 * cache.page_bytes());
  const int64_t again = cache.add();
  cache.adopt(again, index.find(tokens(200), 200));
  CHECK(*static_cast<char*>(cache.page_of(again, 0)) == 'x');
}

TEST_CASE("what was unused longest is forgotten first, leaves before trunks, and never what is in use") {
  KvCache cache = cache_of(16);
  PrefixIndex index;
  index.insert(cache, add(cache, 2 * kRows), tokens(2 * kRows));
  index.insert(cache, add(cache, 2 * kRows), tokens(2 * kRows, 1000));
  CHECK(index.evictable() == 0);
  CHECK(index.evict(9) == 0);
  drop_all(cache);
  CHECK(index.evictable() == 4);
  index.find(tokens(2 * kRows), 2 * kRows);
  CHECK(index.evict(1) == 1);
  CHECK(index.peek(tokens(2 * kRows, 1000), 100).size() == 1);
  CHECK(index.peek(tokens(2 * kRows), 100).size() == 2);
  {
    const auto used = index.peek(tokens(2 * kRows), kRows);  // the trunk alone
    CHECK(index.evictable() == 2);
    CHECK(index.evict(9) == 2);
    CHECK(index.size() == 1);
  }
  CHECK(index.evict(9) == 1);
  CHECK(cache.bytes() == 0);
  // A leaf in use holds its trunk in the index, though nobody else holds the trunk's page.
  index.insert(cache, add(cache, 2 * kRows), tokens(2 * kRows));
  const KvCache::PageRef leaf = cache.page(0, 1);
  drop_all(cache);
  CHECK(index.evictable() == 0);
  CHECK(index.evict(9) == 0);
  index.clear();
  CHECK(index.size() == 0);
  CHECK(cache.bytes() == cache.page_bytes());
}

TEST_CASE("a long text is a deep tree that is found, forgotten and destroyed") {
  const nn::CacheLayout layout{.layers = 1, .k_width = 1, .v_width = 1};
  KvCache cache(layout);
  PrefixIndex index, other;
  const auto text = tokens(20000 * kRows);
  const int64_t i = add(cache, static_cast<int64_t>(text.size()));
  index.insert(cache, i, text);
  other.insert(cache, i, text);
  drop_all(cache);
  CHECK(index.find(text, INT64_MAX).size() == 20000);
  other.clear();
  CHECK(index.evictable() == 20000);
  CHECK(index.evict(10000) == 10000);
}
