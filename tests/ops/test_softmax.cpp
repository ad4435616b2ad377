// Softmax and its logarithm.
#include "ops/op_test.h"
#include "tenon/ops/softmax.h"

namespace tenon {
namespace {

TEST_CASE("softmax and log_softmax equal PyTorch's") {
  Context ctx;
  const Tensor x = test::floats({1, 2, -1, 0, -0.5f, 3, 2, 2, 2, -1, 0, 1}, {4, 3});
  const Tensor want = test::floats({-1.34901214f, -0.34901217f, -3.34901214f, -3.07694674f, -3.57694674f, -0.07694662f, -1.09861231f,
                                    -1.09861231f, -1.09861231f, -2.40760589f, -1.40760589f, -0.40760595f},
                                   {4, 3});
  CHECK(test::relative_error(ops::log_softmax(ctx, x), want) < 1e-6);
  const Tensor p = ops::softmax(ctx, x);
  for (int64_t i = 0; i < 12; ++i) CHECK(p.data<float>()[i] == doctest::Approx(std::exp(want.data<float>()[i])).epsilon(1e-5));
}

TEST_CASE("large logits do not overflow") {
  Context ctx;
  const Tensor x = test::floats({1e4f, 1e4f, -1e4f}, {1, 3});
  CHECK(test::values(ops::softmax(ctx, x)) == std::vector<float>{0.5f, 0.5f, 0});
  CHECK(ops::log_softmax(ctx, x).data<float>()[0] == doctest::Approx(-std::log(2.0)));
}

TEST_CASE("softmax gradients") {
  test::check_gradients([](Context& c, const std::vector<Tensor>& in) { return ops::softmax(c, in[0]); }, {test::normal({2, 2, 7}, 1)});
  test::check_gradients([](Context& c, const std::vector<Tensor>& in) { return ops::log_softmax(c, in[0]); }, {test::normal({4, 7}, 1)});
}

TEST_CASE("softmax errors") {
  Context ctx;
  test::expect_error(ErrorCode::Type, {"[softmax]", "bfloat16"}, [&] { ops::softmax(ctx, Tensor::zeros({2, 2}, DType::BF16)); });
  test::expect_error(ErrorCode::Type, {"[log_softmax]", "int64"}, [&] { ops::log_softmax(ctx, Tensor::zeros({2}, DType::I64)); });
  test::expect_error(ErrorCode::Shape, {"[softmax]", "at least one dimension"}, [&] { ops::softmax(ctx, Tensor::zeros({}, DType::F32)); });
  CHECK(ops::softmax(ctx, Tensor::zeros({0, 3}, DType::F32)).shape() == Shape{0, 3});
}

}  // namespace
}  // namespace tenon
