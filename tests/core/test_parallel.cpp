// parallel_for covers its range once, keeps to its threads, passes exceptions on.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "io/temp_folder.h"
#include "tenon/core/parallel.h"

using namespace tenon;

TEST_CASE("parallel_for: every index once, ranges of at least the grain") {
  for (const int threads : {0, 1, 2, 3, 7})
    for (const int64_t n : {1, 2, 5, 10, 64, 1000})
      for (const int64_t grain : {1, 3, 4, 64, 5000}) {
        CAPTURE(threads);
        CAPTURE(n);
        CAPTURE(grain);
        std::mutex mutex;
        std::vector<std::pair<int64_t, int64_t>> ranges;
        parallel_for(threads, n, grain, [&](int64_t begin, int64_t end) {
          std::lock_guard lock(mutex);
          ranges.emplace_back(begin, end);
        });
        std::sort(ranges.begin(), ranges.end());
        CHECK(ranges.size() <= static_cast<size_t>(std::max(threads, 1)));
        int64_t at = 0;
        for (size_t i = 0; i < ranges.size(); ++i) {
          REQUIRE(ranges[i].first == at);
          at = ranges[i].second;
          if (i + 1 < ranges.size()) CHECK(ranges[i].second - ranges[i].first >= grain);
        }
        CHECK(at == n);
      }
}

TEST_CASE("parallel_for: nothing to do is nothing done") {
  int calls = 0;
  parallel_for(4, 0, 1, [&](int64_t, int64_t) { ++calls; });
  parallel_for(4, -5, 1, [&](int64_t, int64_t) { ++calls; });
  CHECK(calls == 0);
}

TEST_CASE("parallel_for: an exception reaches the caller and the next loop works") {
  for (const int threads : {1, 3}) {
    CHECK(contains(error_of([&] {
                     parallel_for(threads, 90, 1, [](int64_t begin, int64_t end) {
                       if (begin <= 45 && 45 < end) fail(ErrorCode::Limit, "body", "index 45");
                     });
                   }),
                   "Limit: [body] index 45"));
    std::atomic<int64_t> sum{0};
    parallel_for(threads, 90, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
    CHECK(sum == 90);
  }
}

TEST_CASE("parallel_for: a nested loop runs on its caller alone") {
  std::atomic<int> strays{0};
  std::atomic<int64_t> sum{0};
  parallel_for(3, 6, 1, [&](int64_t begin, int64_t end) {
    const auto outer = std::this_thread::get_id();
    for (int64_t i = begin; i < end; ++i)
      parallel_for(3, 100, 1, [&](int64_t b, int64_t e) {
        strays += std::this_thread::get_id() != outer;
        sum += e - b;
      });
  });
  CHECK(sum == 600);
  CHECK(strays == 0);
}

TEST_CASE("parallel_for: several callers at once") {
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      for (int k = 0; k < 20; ++k) parallel_for(2, 100, 10, [&](int64_t begin, int64_t end) { sum += end - begin; });
    });
  for (auto& t : callers) t.join();
  CHECK(sum == 4 * 20 * 100);
}

TEST_CASE("threads: the number can be set and reset") {
  CHECK(available_threads() >= 1);
  set_num_threads(3);
  CHECK(get_num_threads() == 3);
  set_num_threads(0);
  CHECK(get_num_threads() == available_threads());
  CHECK(contains(error_of([] { set_num_threads(-1); }), "Limit: "));
}
