// Layer normalisation.
#include "ops/op_test.h"
#include "tenon/ops/layer_norm.h"

namespace tenon {
namespace {

TEST_CASE("layer_norm equals the formula") {
  Context ctx(2);
  for (const int64_t C : {1, 3, 16, 65, 384}) {
    CAPTURE(C);
    const Tensor x = test::normal({7, C}, 1, 3), w = test::normal({C}, 2), b = test::normal({C}, 3);
    Tensor want = Tensor::empty(x.shape(), DType::F32);
    for (int64_t n = 0; n < 7; ++n) {
      const float* row = x.data<float>() + n * C;
      double mean = 0, var = 0;
      for (int64_t c = 0; c < C; ++c) mean += row[c] / static_cast<double>(C);
      for (int64_t c = 0; c < C; ++c) var += (row[c] - mean) * (row[c] - mean) / static_cast<double>(C);
      for (int64_t c = 0; c < C; ++c)
        want.data<float>()[n * C + c] =
            static_cast<float>((row[c] - mean) / std::sqrt(var + 1e-5) * w.data<float>()[c] + b.data<float>()[c]);
    }
    CHECK(test::relative_error(ops::layer_norm(ctx, x, w, b, 1e-5f), want) < 1e-5);
    const Tensor half = ops::layer_norm(ctx, x.to(DType::BF16), w, b, 1e-5f);
    CHECK(half.dtype() == DType::BF16);
    if (C > 1) CHECK(test::relative_error(half, want) < 0.02);
  }
}

TEST_CASE("layer_norm gradients") {
  const auto f = [](Context& c, const std::vector<Tensor>& in) { return ops::layer_norm(c, in[0], in[1], in[2], 1e-5f); };
  test::check_gradients(f, {test::normal({2, 3, 9}, 1), test::normal({9}, 2), test::normal({9}, 3)});
  test::check_gradients(f, {test::normal({200, 3}, 1, 2), test::normal({3}, 2), test::normal({3}, 3)}, 1e-2, 0.005f);
  test::check_bf16_refused("layer_norm",
                           [](Context& c, const std::vector<Tensor>& in) {
                             return ops::layer_norm(c, in[0], test::normal({4}, 1), test::normal({4}, 2), 1e-5f);
                           },
                           {test::normal({2, 4}, 1)});
}

TEST_CASE("layer_norm errors") {
  Context ctx;
  const Tensor x = test::normal({2, 4}, 1), w = test::normal({4}, 2), wrong = test::normal({3}, 3);
  test::expect_error(ErrorCode::Shape, {"[layer_norm]", "weight", "(4,)", "(3,)"}, [&] { ops::layer_norm(ctx, x, wrong, w, 1e-5f); });
  test::expect_error(ErrorCode::Shape, {"[layer_norm]", "bias", "(4,)", "(3,)"}, [&] { ops::layer_norm(ctx, x, w, wrong, 1e-5f); });
  test::expect_error(ErrorCode::Type, {"[layer_norm]", "int32"}, [&] { ops::layer_norm(ctx, x.to(DType::I32), w, w, 1e-5f); });
  CHECK(ops::layer_norm(ctx, Tensor::zeros({0, 4}, DType::F32), w, w, 1e-5f).shape() == Shape{0, 4});
}

}  // namespace
}  // namespace tenon
