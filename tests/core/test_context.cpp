// Contexts: threads, scratch memory, and who records.
#include "tenon/core/context.h"

#include <doctest/doctest.h>

#include <atomic>

using namespace tenon;

namespace {

struct WantsOne : Recorder {
  uint64_t wanted = 0;
  bool wants(const Tensor& t) const override { return t.id() == wanted; }
  void record(std::string_view, std::vector<Tensor>, std::vector<Tensor>, Backward) override {}
};

}  // namespace

TEST_CASE("context: threads") {
  CHECK(Context().threads() == get_num_threads());
  Context ctx(3);
  CHECK(ctx.threads() == 3);
  ctx.set_threads(0);
  CHECK(ctx.threads() == get_num_threads());
}

TEST_CASE("context: scratch memory is its own, and reused") {
  Context a(1), b(1);
  const void* first = nullptr;
  {
    const Tensor t = a.zeros({50}, DType::F32);
    for (const float v : t.values<float>()) REQUIRE(v == 0);
    first = t.raw();
  }
  CHECK(std::as_const(b).threads() == 1);
  CHECK(b.pool().held_bytes() == 0);
  const Tensor again = a.empty({50}, DType::F32);
  CHECK(again.raw() == first);
}

TEST_CASE("context: rows are covered once, and cheap ones stay on the caller") {
  const Context ctx(2);
  for (const int64_t cost : {int64_t{0}, int64_t{1}, int64_t{100000}}) {
    std::atomic<int64_t> rows{0}, calls{0};
    ctx.over_rows(100, cost, [&](int64_t begin, int64_t end) { rows += end - begin, ++calls; });
    CHECK(rows == 100);
    if (cost <= 1) CHECK(calls == 1);
  }
}

TEST_CASE("context: a recorder is asked, and nobody without one") {
  Context ctx(1);
  const Tensor t = Tensor::zeros({1}, DType::F32), other = t.clone();
  CHECK_FALSE(ctx.wants(t));
  WantsOne recorder;
  recorder.wanted = t.id();
  CHECK(ctx.set_recorder(&recorder) == nullptr);
  CHECK(ctx.wants(t));
  CHECK_FALSE(ctx.wants(other));
  CHECK_FALSE(ctx.wants(Tensor()));
  CHECK(ctx.wants_any(other, t));
  CHECK_FALSE(ctx.wants_any(other));
  CHECK(ctx.set_recorder(nullptr) == &recorder);
  CHECK_FALSE(ctx.wants_any(other, t));
}
