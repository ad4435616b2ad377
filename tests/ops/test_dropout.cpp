// Dropout: how much it drops, that every table drops the same, gradients, and what it refuses.
#include "ops/agree.h"
#include "ops/op_test.h"
#include "tenon/ops/dropout.h"

using namespace tenon;

TEST_CASE("every table drops the same elements") {
  const std::vector<float> x = agree::normal(1001, 1);
  agree::for_tables([&](const Kernels& k) {
    for (const float p : {0.0f, 0.1f, 0.5f, 1.0f})
      for (const int64_t begin : {0, 3, 8, 24})
        for (const int64_t n : agree::sizes()) {
          const auto below = static_cast<uint32_t>(p * 65536);
          const Dropout d{.seed = 5, .stream = 2, .first = (uint64_t{1} << 32) - 3, .below = below, .scale = p < 1 ? 1 / (1 - p) : 0};
          std::vector<float> want(1002), got(1002);
          agree::ref().dropout(want.data(), x.data(), d, begin, n, DType::F32);
          k.dropout(got.data(), x.data(), d, begin, n, DType::F32);
          REQUIRE(got == want);
          const std::vector<bfloat16> half = agree::to_bf16(x);
          std::vector<bfloat16> want_half(1002), got_half(1002);
          agree::ref().dropout(want_half.data(), half.data(), d, begin, n, DType::BF16);
          k.dropout(got_half.data(), half.data(), d, begin, n, DType::BF16);
          REQUIRE(std::memcmp(got_half.data(), want_half.data(), 2 * want_half.size()) == 0);
        }
  });
}

TEST_CASE("dropout drops its share, keeps the mean, and depends on neither threads nor earlier calls") {
  const Tensor x = test::floats(std::vector<float>(100003, 1), {100003});
  std::vector<float> first;
  for (const int threads : {1, 3}) {
    Context ctx(threads);
    ctx.set_training({.dropout = true});
    ctx.random() = Random(7);
    const std::vector<float> y = test::values(ops::dropout(ctx, x, 0.1f));
    double sum = 0, zeros = 0;
    for (const float v : y) sum += v, zeros += v == 0;
    CHECK(sum / 100003 == doctest::Approx(1).epsilon(0.01));
    CHECK(zeros / 100003 == doctest::Approx(0.1).epsilon(0.05));
    CHECK(test::values(ops::dropout(ctx, x, 0.1f)) != y);
    if (first.empty()) first = y;
    CHECK(first == y);
  }
}

TEST_CASE("dropout does nothing unless asked") {
  Context ctx;
  const Tensor x = test::normal({3}, 1);
  CHECK(ops::dropout(ctx, x, 0.5f).id() == x.id());
  ctx.set_training({.dropout = true});
  CHECK(ops::dropout(ctx, x, 0).id() == x.id());
  CHECK(test::values(ops::dropout(ctx, x, 1)) == std::vector<float>{0, 0, 0});
}

TEST_CASE("dropout: finite differences and errors") {
  test::check_gradients(
      [](Context& ctx, const std::vector<Tensor>& in) {
        ctx.set_training({.dropout = true});
        ctx.random() = Random(3);
        return ops::dropout(ctx, in[0], 0.4f);
      },
      {test::normal({5, 7}, 1)});
  Context ctx;
  ctx.set_training({.dropout = true});
  test::expect_error(ErrorCode::Limit, {"[dropout]", "0 to 1", "1.5"}, [&] { ops::dropout(ctx, test::normal({3}, 1), 1.5f); });
  test::expect_error(ErrorCode::Limit, {"[dropout]"}, [&] { ops::dropout(ctx, test::normal({3}, 1), std::nanf("")); });
}
