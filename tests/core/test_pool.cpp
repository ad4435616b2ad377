// The pool reuses blocks, outlives nobody's tensors, and serves several threads.
#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <limits>
#include <thread>

#ifdef __linux__
#include <unistd.h>
#endif

#include "io/temp_folder.h"
#include "tenon/core/pool.h"

using namespace tenon;

TEST_CASE("pool: a block that came back serves the next tensor of about its size") {
  auto pool = std::make_shared<Pool>();
  const void* first;
  {
    Tensor t = pool->empty({100, 10}, DType::F32);
    first = t.raw();
    std::memset(t.raw(), 1, t.nbytes());
  }
  const size_t held = pool->held_bytes();
  CHECK(held >= 4000);
  const Tensor again = pool->empty({1000}, DType::F32), near = pool->empty({1001}, DType::F32);
  CHECK(again.raw() == first);
  CHECK(near.raw() != first);
  CHECK(pool->held_bytes() > held);
  CHECK(pool->peak_bytes() == pool->held_bytes());
}

TEST_CASE("pool: a warmed-up pattern of sizes holds no more memory") {
  auto pool = std::make_shared<Pool>();
  const auto pass = [&] {
    const Tensor a = pool->empty({64, 64}, DType::F32), b = pool->empty({64, 256}, DType::BF16);
    const Tensor c = pool->empty({3}, DType::I64);
    return a.nbytes() + b.nbytes() + c.nbytes();
  };
  const size_t needed = pass();
  const size_t held = pool->held_bytes();
  CHECK(held >= needed);
  CHECK(held < 2 * needed + 4096);
  for (int i = 0; i < 10; ++i) pass();
  CHECK(pool->held_bytes() == held);
  pool->trim();
  CHECK(pool->held_bytes() == 0);
  CHECK(pool->peak_bytes() == held);
}

TEST_CASE("pool: large blocks that came back serve larger and smaller ones") {
  int64_t unit = 0;
  SUBCASE("of 256 KB") { unit = 1 << 16; }
  SUBCASE("of 4 MB") { unit = 1 << 20; }
  auto pool = std::make_shared<Pool>();
  {
    std::vector<Tensor> parts;
    for (int i = 0; i < 6; ++i) parts.push_back(pool->empty({4 * unit + 100}, DType::U8));
    for (Tensor& t : parts) std::memset(t.raw(), 1, t.nbytes());
    for (const int i : {3, 0, 5, 1, 4, 2}) parts[static_cast<size_t>(i)] = Tensor();
  }
  const size_t held = pool->held_bytes();
  CHECK(held >= static_cast<size_t>(24 * unit));
  {
    const Tensor all = pool->empty({24 * unit}, DType::U8);  // joined
    CHECK(pool->held_bytes() == held);
  }
  std::vector<Tensor> small;
  for (int i = 0; i < 12; ++i) small.push_back(pool->empty({2 * unit - i}, DType::U8));  // split
  CHECK(pool->held_bytes() == held);
  for (size_t i = 0; i < small.size(); ++i) std::memset(small[i].raw(), static_cast<int>(i), small[i].nbytes());
  for (size_t i = 0; i < small.size(); ++i) CHECK(std::as_const(small[i]).data<uint8_t>()[small[i].numel() - 1] == i);
  small.clear();
  pool->trim();
  CHECK(pool->held_bytes() == 0);
}

TEST_CASE("pool: beyond 256 MB, unused memory goes before more is taken") {
  auto pool = std::make_shared<Pool>();
  constexpr int64_t kMega = 1 << 20;
  std::vector<Tensor> kept;
  for (int i = 0; i < 10; ++i) {  // every other block stays, so that no two holes join
    const Tensor hole = pool->empty({30 * kMega}, DType::U8);
    kept.push_back(pool->empty({2 * kMega}, DType::U8));
  }
  std::vector<Tensor> holes;
  for (int i = 0; i < 8; ++i) holes.push_back(pool->empty({30 * kMega}, DType::U8));
  holes.clear();
  const size_t held = pool->held_bytes();
  CHECK(held >= size_t{260} * kMega);
  const Tensor large = pool->empty({200 * kMega}, DType::U8);
  CHECK(pool->held_bytes() <= held + 2 * kMega);
  CHECK(pool->peak_bytes() <= held + 2 * kMega);
}

#ifdef __linux__
TEST_CASE("pool: what the process has in memory is what the pool says it holds, however sizes come and go") {
  const auto resident = [] {
    std::ifstream file("/proc/self/statm");
    size_t all = 0, pages = 0;
    file >> all >> pages;
    return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  };
  auto pool = std::make_shared<Pool>();
  constexpr int64_t kMega = 1 << 20;
  const size_t before = resident();
  uint32_t state = 1;
  const auto below = [&](uint32_t n) { return (state = state * 1664525u + 1013904223u) / 65536u % n; };
  std::vector<Tensor> live(24);
  for (int i = 0; i < 600; ++i) {
    Tensor& t = live[below(24)];
    t = Tensor();
    t = pool->empty({kMega + below(400) * kMega / 16}, DType::U8);
    std::memset(t.raw(), 1, t.nbytes());
  }
  CHECK(resident() < before + pool->held_bytes() + size_t{8} * kMega);
  live.clear();
  pool->trim();
  CHECK(pool->held_bytes() == 0);
  CHECK(resident() < before + size_t{8} * kMega);
}
#endif

TEST_CASE("pool: blocks are aligned, disjoint and large enough at every size") {
  auto pool = std::make_shared<Pool>();
  std::vector<Tensor> tensors;
  for (int64_t n : {0, 1, 63, 64, 65, 255, 256, 257, 4095, 4096, 4097, 5000, 6144, 8191, 8192, 8193, 100001})
    for (int k = 0; k < 2; ++k) {
      tensors.push_back(pool->empty({n}, DType::U8));
      CHECK(reinterpret_cast<uintptr_t>(tensors.back().raw()) % 64 == 0);
      std::memset(tensors.back().raw(), static_cast<int>(tensors.size()), static_cast<size_t>(n));
    }
  for (size_t i = 0; i < tensors.size(); ++i)
    for (const uint8_t v : tensors[i].values<uint8_t>()) REQUIRE(v == i + 1);
}

TEST_CASE("pool: tensors outlive the handle to their pool") {
  auto pool = std::make_shared<Pool>();
  Tensor t = pool->empty({1000}, DType::F32);
  std::weak_ptr<Pool> watch = pool;
  pool.reset();
  std::memset(t.raw(), 1, t.nbytes());
  CHECK_FALSE(watch.expired());
  t = Tensor();
  CHECK(watch.expired());
}

TEST_CASE("pool: threads share it") {
  auto pool = std::make_shared<Pool>();
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int id = 1; id <= 4; ++id)
    threads.emplace_back([&, id] {
      for (int i = 0; i < 300; ++i) {
        Tensor t = pool->empty({100 + i % 7}, DType::U8);
        std::memset(t.raw(), id, t.nbytes());
        std::this_thread::yield();
        for (const uint8_t v : std::as_const(t).values<uint8_t>()) wrong += v != id;
      }
    });
  for (auto& t : threads) t.join();
  CHECK(wrong == 0);
}

TEST_CASE("pool: sizes that cannot be are errors, not wrapped around") {
  auto pool = std::make_shared<Pool>();
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  for (const DType dtype : {DType::F64, DType::F32, DType::BF16, DType::U8}) {
    CAPTURE(name_of(dtype));
    const std::string error = error_of([&] { pool->empty({kMost}, dtype); });
    CHECK((contains(error, "Limit: ") || contains(error, "Memory: ")));
  }
  CHECK(contains(error_of([&] { pool->empty({int64_t{1} << 60}, DType::U8); }), "Memory: "));
  CHECK(pool->held_bytes() == 0);
}
