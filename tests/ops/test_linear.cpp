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
  if (format == WeightFormat::Int4) return 0.3;  // of few columns; see the tests of quantised matrices for what is exact
  if (format == WeightFormat::Int8 || format == WeightFormat::Fp8) return format == WeightFormat::Fp8 ? 0.08 : 0.03;
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

TEST_CASE("several linear layers over the same rows: values and gradients, also where one is not used") {
  const auto run = [](Context& c, const Tensors& in) {
    const ops::LinearPart parts[] = {{in[1], in[2]}, {in[3], {}}, {in[4], {}}};
    const std::vector<Tensor> y = ops::linears(c, in[0], parts);
    return ops::add(c, y[0], y[1]);
  };
  const Tensors in = {test::normal({2, 2, 5}, 1), test::normal({3, 5}, 2), test::normal({3}, 3), test::normal({3, 5}, 4)};
  Tensors all = in;
  all.push_back(test::normal({2, 5}, 5));
  Context ctx;
  CHECK(test::relative_error(run(ctx, all), ops::add(ctx, ops::linear(ctx, in[0], in[1], in[2]), ops::linear(ctx, in[0], in[3], {}))) < 1e-6);
  test::check_gradients(run, all);
}

TEST_CASE("linear with factors rounded to bfloat16 errs as rounding does, forward and backward") {
  const Tensor x = test::normal({130, 70}, 1), w = test::normal({40, 70}, 2), bias = test::normal({40}, 3), dy = test::normal({130, 40}, 4);
  const auto rounded = [](const Tensor& t) { return t.to(DType::BF16).to(DType::F32); };
  const auto step = [&](const Tensor& x0, const Tensor& w0, DType type) {
    Context ctx(2);
    ctx.set_training({.matmul = type});
    train::Tape tape;
    for (const Tensor& t : {x0, w0, bias}) tape.watch(t);
    ctx.set_recorder(&tape);
    const Tensor y = ops::linear(ctx, x0, w0, bias);
    tape.backward(ctx, y, dy);
    return Tensors{y, tape.grad(x0), tape.grad(w0), tape.grad(bias)};
  };
  Context ctx;
  const Tensors got = step(x, w, DType::BF16), exact = step(x, w, DType::F32);
  for (const Tensor& t : got) CHECK(t.dtype() == DType::F32);
  CHECK(test::relative_error(got[0], ops::linear(ctx, rounded(x), rounded(w), bias)) < 1e-5);
  CHECK(test::relative_error(got[1], ops::matmul(ctx, rounded(dy), rounded(w))) < 1e-5);
  CHECK(test::relative_error(got[2], ops::matmul(ctx, ops::transpose(ctx, rounded(dy)), rounded(x))) < 1e-5);
  CHECK(test::relative_error(got[3], exact[3]) == 0);
  for (int i = 0; i < 3; ++i) {
    CHECK(test::relative_error(got[i], exact[i]) > 0);
    CHECK(test::relative_error(got[i], exact[i]) < 0.01);
  }
  ctx.set_training({.matmul = DType::BF16});
  CHECK(test::values(ops::linear(ctx, x, w, bias)) == test::values(got[0]));
  const ops::PreciseProducts precise(ctx);
  CHECK(test::values(ops::linear(ctx, x, w, bias)) == test::values(exact[0]));
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
