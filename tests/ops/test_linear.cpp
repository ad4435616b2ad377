// The linear layer on plain weights, its gradients, and the same on packed weights of every format.
#include "ops/op_test.h"
#include "tenon/ops/linear.h"

namespace tenon {
namespace {

using Tensors = std::vector<Tensor>;

struct Size {
  int64_t N, K;
};

/// The worst that a format (and a bfloat16 input) may add, relative to the largest output.
double bound(WeightFormat format, DType type) {
  if (format == WeightFormat::Int8) return 0.03;
  return format == WeightFormat::BF16 || type == DType::BF16 ? 0.015 : 1e-5;
}

TEST_CASE("linear on packed weights equals the plain one in every format") {
  Context ctx(2);
  for (const auto& f : quant::kFormats)
    for (const DType type : {DType::F32, DType::BF16})
      for (const int64_t M : {1, 5, 67})
        for (const auto& size : {Size{1, 7}, {33, 65}, {96, 128}})
          for (const Activation act : {Activation::None, Activation::Gelu})
            for (const bool extras : {false, true}) {
              CAPTURE(f.name);
              CAPTURE(name_of(type));
              CAPTURE(M);
              const int64_t N = size.N, K = size.K;
              CAPTURE(N);
              CAPTURE(K);
              CAPTURE(static_cast<int>(act));
              CAPTURE(extras);
              const Tensor x = test::normal({M, K}, 1), w = test::normal({N, K}, 2, 1 / std::sqrt(static_cast<float>(K)));
              const Tensor bias = extras ? test::normal({N}, 3) : Tensor(), residual = extras ? test::normal({M, N}, 4) : Tensor();
              const Tensor want = ops::linear(ctx, x, w, bias, act, residual);
              const auto packed = quant::pack(ctx, w, f.format);
              const Tensor got = ops::linear(ctx, x.to(type), packed, bias, act, residual.to(type));
              CHECK(got.dtype() == type);
              CHECK(test::relative_error(got, want) < bound(f.format, type));
            }
}

TEST_CASE("linear on plain weights: types, leading dimensions, empty rows") {
  Context ctx;
  const Tensor x = test::normal({2, 3, 8}, 1), w = test::normal({5, 8}, 2), bias = test::normal({5}, 3);
  const Tensor y = ops::linear(ctx, x, w, bias);
  CHECK(y.shape() == Shape{2, 3, 5});
  double sum = bias.data<float>()[1];
  for (int64_t k = 0; k < 8; ++k) sum += static_cast<double>(x.data<float>()[8 + k]) * w.data<float>()[8 + k];
  CHECK(y.data<float>()[5 + 1] == doctest::Approx(sum).epsilon(1e-5));
  const Tensor half = ops::linear(ctx, x.to(DType::BF16), w.to(DType::F16), bias, Activation::Tanh);
  CHECK(half.dtype() == DType::BF16);
  CHECK(test::relative_error(half, ops::linear(ctx, x, w, bias, Activation::Tanh)) < 0.02);
  CHECK(ops::linear(ctx, Tensor::zeros({0, 8}, DType::F32), w, bias).shape() == Shape{0, 5});
  CHECK(ops::linear(ctx, Tensor::zeros({0, 8}, DType::F32), quant::pack(ctx, w, WeightFormat::F32), bias).shape() == Shape{0, 5});
}

TEST_CASE("an int8 row does not depend on its companions") {
  Context ctx(2);
  const auto w = quant::pack(ctx, test::normal({48, 64}, 2), WeightFormat::Int8);
  const Tensor x = test::normal({9, 64}, 1), all = ops::linear(ctx, x, w, {});
  for (int64_t r = 0; r < 9; ++r) CHECK(test::relative_error(ops::linear(ctx, x.rows(r, r + 1), w, {}), all.rows(r, r + 1)) < 1e-6);
}

TEST_CASE("linear gradients, with and without the extras") {
  const Tensor x = test::normal({2, 2, 5}, 1), w = test::normal({3, 5}, 2), bias = test::normal({3}, 3),
               residual = test::normal({2, 2, 3}, 4);
  test::check_gradients([](Context& c, const Tensors& in) { return ops::linear(c, in[0], in[1], {}); }, {x, w});
  test::check_gradients([](Context& c, const Tensors& in) { return ops::linear(c, in[0], in[1], in[2], Activation::Gelu, in[3]); },
                        {x, w, bias, residual});
  // more rows than are summed in one block
  test::check_gradients([](Context& c, const Tensors& in) { return ops::linear(c, in[0], in[1], in[2]); },
                        {test::normal({300, 2}, 5), test::normal({2, 2}, 6), test::normal({2}, 7)});
}

TEST_CASE("the residual is left as it was") {
  Context ctx;
  const Tensor residual = test::normal({4, 6}, 1);
  const std::vector<float> before = test::values(residual);
  ops::linear(ctx, test::normal({4, 6}, 2), test::normal({6, 6}, 3), {}, Activation::None, residual);
  ops::linear(ctx, test::normal({4, 6}, 2), quant::pack(ctx, test::normal({6, 6}, 3), WeightFormat::F32), {}, Activation::None, residual);
  CHECK(test::values(residual) == before);
}

TEST_CASE("linear errors") {
  Context ctx;
  const Tensor x = test::normal({2, 4}, 1), w = test::normal({3, 4}, 2), bias = test::normal({3}, 3);
  const auto packed = quant::pack(ctx, w, WeightFormat::F32);
  test::expect_error(ErrorCode::Shape, {"[linear]", "(3, 4)", "(2, 3)"}, [&] { ops::linear(ctx, test::normal({2, 3}, 1), w, {}); });
  test::expect_error(ErrorCode::Shape, {"[linear]", "(3, 4)", "(2, 3)"}, [&] { ops::linear(ctx, test::normal({2, 3}, 1), packed, {}); });
  test::expect_error(ErrorCode::Shape, {"bias", "(3,)", "(4,)"}, [&] { ops::linear(ctx, x, w, test::normal({4}, 1)); });
  test::expect_error(ErrorCode::Type, {"bias", "bfloat16"}, [&] { ops::linear(ctx, x, w, bias.to(DType::BF16)); });
  test::expect_error(ErrorCode::Shape, {"residual", "(2, 3)", "(2, 4)"}, [&] { ops::linear(ctx, x, packed, bias, Activation::None, x); });
  test::expect_error(ErrorCode::Type, {"residual", "bfloat16"}, [&] {
    ops::linear(ctx, x, packed, bias, Activation::None, test::normal({2, 3}, 1).to(DType::BF16));
  });
  test::expect_error(ErrorCode::Shape, {"packed weight"}, [&] { ops::linear(ctx, x, quant::PackedWeight{}, bias); });
  test::check_no_gradient("packed", [&](Context& c, const Tensors& in) { return ops::linear(c, in[0], packed, bias); }, {x});
  test::check_bf16_refused("linear", [](Context& c, const Tensors& in) { return ops::linear(c, in[0], in[1], {}); }, {x, w});
}

}  // namespace
}  // namespace tenon
