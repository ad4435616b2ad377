// The ops of decoders: root-mean-square norm, rotary embedding, gated activation, parts of rows; gradients and errors.
#include "ops/op_test.h"
#include "tenon/ops/attention.h"
#include "tenon/ops/columns.h"
#include "tenon/ops/gated.h"
#include "tenon/ops/linear.h"
#include "tenon/ops/rms_norm.h"
#include "tenon/ops/rope.h"

namespace tenon {
namespace {

using Tensors = std::vector<Tensor>;

TEST_CASE("rms_norm normalises each part of a row, and has gradients") {
  Context ctx;
  const Tensor y = ops::rms_norm(ctx, test::floats({3, 4, 0, 2}, {1, 4}), test::floats({1, 10}, {2}), 0);
  CHECK(y.data<float>()[0] == doctest::Approx(3 / std::sqrt(12.5)));
  CHECK(y.data<float>()[1] == doctest::Approx(40 / std::sqrt(12.5)));
  CHECK(y.data<float>()[3] == doctest::Approx(10 * std::sqrt(2.0)));
  const auto f = [](Context& c, const Tensors& in) { return ops::rms_norm(c, in[0], in[1], 1e-5f); };
  test::check_gradients(f, {test::normal({2, 3, 9}, 1), test::normal({9}, 2)});
  test::check_gradients(f, {test::normal({4, 12}, 1), test::normal({3}, 2)});
  test::expect_error(ErrorCode::Shape, {"[rms_norm]", "3"}, [&] { ops::rms_norm(ctx, test::normal({2, 4}, 1), test::normal({3}, 2), 0); });
}

TEST_CASE("rope turns pairs, leaves the rest, keeps lengths, and has gradients") {
  Context ctx;
  const Tensor x = test::floats({1, 2, 3, 4, 9}, {1, 5}), cos = test::floats({0, 1}, {1, 2}), sin = test::floats({1, 0}, {1, 2});
  CHECK(test::values(ops::rope(ctx, x, cos, sin, {1, 0, 4, false})) == std::vector<float>{-3, 2, 1, 4, 9});
  CHECK(test::values(ops::rope(ctx, x, cos, sin, {1, 1, 4, true})) == std::vector<float>{1, -3, 2, 4, 9});
  const Tensor c2 = test::normal({3, 2}, 4), s2 = test::normal({3, 2}, 5);
  for (const bool interleaved : {false, true})
    test::check_gradients([&](Context& c, const Tensors& in) { return ops::rope(c, in[0], c2, s2, {2, 1, 4, interleaved}); }, {test::normal({3, 12}, 1)});
  test::expect_error(ErrorCode::Shape, {"[rope]", "layout"}, [&] { ops::rope(ctx, x, cos, sin, {1, 2, 4, false}); });
  test::expect_error(ErrorCode::Shape, {"[rope]", "cos"}, [&] { ops::rope(ctx, x, cos, test::floats({1}, {1, 1}), {1, 0, 4, false}); });
}

TEST_CASE("gated activations have gradients, and a pair side by side gives the same") {
  Context ctx;
  test::check_gradients([](Context& c, const Tensors& in) { return ops::gated(c, in[0], in[1], Activation::Silu); },
                        {test::normal({3, 5}, 1), test::normal({3, 5}, 2)});
  const Tensor g = test::normal({3, 5}, 1), u = test::normal({3, 5}, 2);
  const Tensor both = ops::join_columns(ctx, g, u, 1, false);
  CHECK(test::relative_error(ops::gated_pair(ctx, both, Activation::Silu), ops::gated(ctx, g, u, Activation::Silu)) == 0);
  test::expect_error(ErrorCode::Shape, {"[gated]", "up"}, [&] { ops::gated(ctx, g, test::normal({3, 4}, 1), Activation::Silu); });
}

TEST_CASE("columns and join_columns take rows apart and put them together") {
  Context ctx;
  const Tensor x = test::floats({1, 2, 3, 4, 5, 6, 7, 8}, {1, 8});
  const Tensor a = ops::columns(ctx, x, 0, 1, 2), b = ops::columns(ctx, x, 1, 3, 2);
  CHECK(test::values(a) == std::vector<float>{1, 5});
  CHECK(test::values(b) == std::vector<float>{2, 3, 4, 6, 7, 8});
  CHECK(test::values(ops::join_columns(ctx, a, b, 2, false)) == test::values(x));
  CHECK(test::values(ops::join_columns(ctx, a, test::floats({9}, {1, 1}), 2, true)) == std::vector<float>{1, 9, 5, 9});
  CHECK(test::values(ops::swap_parts(ctx, test::floats({1, 2, 3, 4, 5, 6}, {2, 3}), 2, 3)) == std::vector<float>{1, 4, 2, 5, 3, 6});
  test::check_gradients([](Context& c, const Tensors& in) { return ops::columns(c, in[0], 1, 2, 3); }, {test::normal({2, 12}, 1)});
  for (const bool shared : {false, true})
    test::check_gradients([&](Context& c, const Tensors& in) { return ops::join_columns(c, in[0], in[1], 3, shared); },
                          {test::normal({2, 6}, 1), test::normal({2, shared ? 4 : 12}, 2)});
  test::expect_error(ErrorCode::Shape, {"[columns]"}, [&] { ops::columns(ctx, x, 7, 2); });
}

TEST_CASE("a linear whose weight is stored (in, out) equals its transpose, gradients too") {
  Context ctx;
  const Tensor x = test::normal({3, 4}, 1), w = test::normal({4, 5}, 2), b = test::normal({5}, 3);
  Tensor t = Tensor::empty({5, 4}, DType::F32);
  for (int i = 0; i < 4; ++i)
    for (int o = 0; o < 5; ++o) t.data<float>()[o * 4 + i] = w.data<float>()[i * 5 + o];
  CHECK(test::relative_error(ops::linear(ctx, x, w, b, Activation::None, {}, true), ops::linear(ctx, x, t, b)) < 1e-6);
  test::check_gradients([](Context& c, const Tensors& in) { return ops::linear(c, in[0], in[1], in[2], Activation::Gelu, {}, true); }, {x, w, b});
}

TEST_CASE("attention with a window and with narrower values has gradients") {
  const std::vector<int64_t> start = {0, 7};
  test::check_gradients(
      [&](Context& c, const Tensors& in) {
        return ops::attention(c, in[0], in[1], in[2], {.heads = 2, .kv_heads = 1, .causal = true, .window = 3, .q_start = start, .k_start = start});
      },
      {test::normal({7, 8}, 1), test::normal({7, 4}, 2), test::normal({7, 3}, 3)});
  Context ctx;
  test::expect_error(ErrorCode::Limit, {"window", "causal"}, [&] {
    ops::attention(ctx, test::normal({7, 8}, 1), test::normal({7, 8}, 2), test::normal({7, 8}, 3), {.heads = 2, .window = 3, .q_start = start, .k_start = start});
  });
}

}  // namespace
}  // namespace tenon
