// Sums, products, casts and changes of shape.
#include "ops/op_test.h"
#include "tenon/ops/elementwise.h"

namespace tenon {
namespace {

using Tensors = std::vector<Tensor>;

TEST_CASE("elementwise gradients") {
  const Tensor a = test::normal({4, 5}, 1), b = test::normal({4, 5}, 2), row = test::normal({5}, 3), one = test::floats({0.3f}, {1});
  test::check_gradients([](Context& c, const Tensors& in) { return ops::add(c, in[0], in[1]); }, {a, b});
  test::check_gradients([](Context& c, const Tensors& in) { return ops::add(c, in[0], in[1]); }, {a, row});
  test::check_gradients([](Context& c, const Tensors& in) { return ops::mul(c, in[0], in[1]); }, {a, b});
  test::check_gradients([](Context& c, const Tensors& in) { return ops::scale(c, in[0], -1.5f); }, {a});
  test::check_gradients([](Context& c, const Tensors& in) { return ops::scale_by_exp(c, in[0], in[1]); }, {a, one});
  test::check_gradients([](Context& c, const Tensors& in) { return ops::transpose(c, in[0]); }, {a});
  test::check_gradients([](Context& c, const Tensors& in) { return ops::reshape(c, in[0], {2, 10}); }, {a});
  test::check_gradients([](Context& c, const Tensors& in) { return ops::cast(c, in[0], DType::F32); }, {a});
}

TEST_CASE("one tensor used as both inputs") {
  const Tensor a = test::normal({3, 4}, 1);
  test::check_gradients([](Context& c, const Tensors& in) { return ops::add(c, in[0], in[0]); }, {a});
  test::check_gradients([](Context& c, const Tensors& in) { return ops::mul(c, in[0], in[0]); }, {a});
}

TEST_CASE("add over trailing dimensions, in float32 and bfloat16") {
  Context ctx;
  const Tensor a = test::floats({1, 2, 3, 4, 5, 6}, {3, 2}), b = test::floats({10, 20}, {2});
  const std::vector<float> want = {11, 22, 13, 24, 15, 26};
  CHECK(test::values(ops::add(ctx, a, b)) == want);
  const Tensor half = ops::add(ctx, a.to(DType::BF16), b.to(DType::BF16));
  CHECK(half.dtype() == DType::BF16);
  CHECK(test::values(half) == want);
  CHECK(test::values(a) == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK(ops::add(ctx, test::floats({}, {0, 2}), b).shape() == Shape{0, 2});
}

TEST_CASE("transpose of sizes around the tile") {
  Context ctx(2);
  for (const int64_t M : {1, 31, 32, 33, 70})
    for (const int64_t N : {1, 32, 65}) {
      const Tensor x = test::normal({M, N}, 5), y = ops::transpose(ctx, x);
      REQUIRE(y.shape() == Shape{N, M});
      bool same = true;
      for (int64_t m = 0; m < M; ++m)
        for (int64_t n = 0; n < N; ++n) same &= x.data<float>()[m * N + n] == y.data<float>()[n * M + m];
      CHECK(same);
    }
}

TEST_CASE("reshape shares memory, cast does not touch what fits") {
  Context ctx;
  const Tensor x = test::normal({2, 6}, 1);
  CHECK(ops::reshape(ctx, x, {3, 4}).raw() == x.raw());
  CHECK(ops::cast(ctx, x, DType::F32).id() == x.id());
  const Tensor half = ops::cast(ctx, x, DType::F16);
  CHECK(test::values(half) == test::values(x.to(DType::F16)));
  CHECK(test::values(ops::cast(ctx, half, DType::BF16)) == test::values(half.to(DType::BF16)));
  test::check_no_gradient("cast", [](Context& c, const Tensors& in) { return ops::cast(c, in[0], DType::BF16); }, {x});
}

TEST_CASE("elementwise errors name shapes and types") {
  Context ctx;
  const Tensor a = test::normal({2, 3}, 1), wide = test::normal({2, 4}, 2), half = a.to(DType::BF16);
  test::expect_error(ErrorCode::Shape, {"[add]", "(2, 3)", "(2, 4)"}, [&] { ops::add(ctx, a, wide); });
  test::expect_error(ErrorCode::Type, {"[add]", "float32", "bfloat16"}, [&] { ops::add(ctx, a, half); });
  test::expect_error(ErrorCode::Shape, {"[mul]", "(2, 3)", "(2, 4)"}, [&] { ops::mul(ctx, a, wide); });
  test::expect_error(ErrorCode::Type, {"[mul]", "bfloat16"}, [&] { ops::mul(ctx, half, half); });
  test::expect_error(ErrorCode::Type, {"[scale]", "bfloat16"}, [&] { ops::scale(ctx, half, 2); });
  test::expect_error(ErrorCode::Shape, {"[scale_by_exp]", "one element", "(2, 3)"}, [&] { ops::scale_by_exp(ctx, a, a); });
  test::expect_error(ErrorCode::Type, {"[cast]", "int8"}, [&] { ops::cast(ctx, a, DType::I8); });
  test::expect_error(ErrorCode::Shape, {"[transpose]", "(2, 3, 1)"}, [&] { ops::transpose(ctx, a.view({2, 3, 1})); });
  test::expect_error(ErrorCode::Shape, {"(4, 4)"}, [&] { ops::reshape(ctx, a, {4, 4}); });
  test::check_bf16_refused("add", [](Context& c, const Tensors& in) { return ops::add(c, in[0], in[1]); }, {a, a});
}

}  // namespace
}  // namespace tenon
