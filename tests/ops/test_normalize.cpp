// Rows scaled to unit length.
#include "ops/op_test.h"
#include "tenon/ops/normalize.h"

namespace tenon {
namespace {

TEST_CASE("l2_normalize gives unit rows, and leaves short ones short") {
  Context ctx;
  const Tensor y = ops::l2_normalize(ctx, test::floats({3, 4, 0, 0.5f}, {2, 2}), 1);
  CHECK(test::relative_error(y, test::floats({0.6f, 0.8f, 0, 0.5f}, {2, 2})) < 1e-6);
  const Tensor zero = ops::l2_normalize(ctx, Tensor::zeros({1, 3}, DType::F32), 1e-12f);
  for (const float v : test::values(zero)) CHECK(v == 0);
  const Tensor none = ops::l2_normalize(ctx, Tensor::zeros({1, 3}, DType::F32));
  for (const float v : test::values(none)) CHECK(std::isnan(v));
}

TEST_CASE("l2_normalize gradients, also where eps decides") {
  test::check_gradients([](Context& c, const std::vector<Tensor>& in) { return ops::l2_normalize(c, in[0]); }, {test::normal({4, 6}, 1)});
  test::check_gradients([](Context& c, const std::vector<Tensor>& in) { return ops::l2_normalize(c, in[0], 100); },
                        {test::normal({4, 6}, 1)});
}

TEST_CASE("l2_normalize errors") {
  Context ctx;
  test::expect_error(ErrorCode::Type, {"[l2_normalize]", "bfloat16"}, [&] { ops::l2_normalize(ctx, Tensor::zeros({2, 2}, DType::BF16)); });
}

}  // namespace
}  // namespace tenon
