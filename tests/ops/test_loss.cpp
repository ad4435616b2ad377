// Losses against PyTorch's values, and their gradients.
#include "ops/op_test.h"
#include "tenon/ops/loss.h"

namespace tenon {
namespace {

using Tensors = std::vector<Tensor>;
const std::vector<int64_t> kLabels = {1, 2, -100, 0};

Tensor logits() { return test::floats({1, 2, -1, 0, -0.5f, 3, 2, 2, 2, -1, 0, 1}, {4, 3}); }

TEST_CASE("losses equal PyTorch's") {
  Context ctx;
  CHECK(ops::cross_entropy(ctx, logits(), kLabels).item() == doctest::Approx(0.9445216).epsilon(1e-6));
  CHECK(ops::cross_entropy(ctx, logits(), kLabels, -100, 0.1f).item() == doctest::Approx(1.0278549).epsilon(1e-6));
  const Tensor a = test::floats({0.5f, -2, 3, 0}, {2, 2}), b = test::floats({1, 0, 1, 0.25f}, {2, 2});
  CHECK(ops::mse_loss(ctx, a, b).item() == doctest::Approx(2.078125));
  CHECK(ops::bce_with_logits_loss(ctx, a, b).item() == doctest::Approx(0.3356849).epsilon(1e-6));
  CHECK(ops::mse_loss(ctx, a, b).shape() == Shape{});
}

TEST_CASE("a batch without labels gives NaN and no gradient") {
  Context ctx;
  const std::vector<int64_t> none = {-100, -100, -100, -100};
  train::Tape tape;
  const Tensor x = logits();
  tape.watch(x);
  ctx.set_recorder(&tape);
  const Tensor loss = ops::cross_entropy(ctx, x, none);
  CHECK(std::isnan(loss.item()));
  tape.backward(ctx, loss);
  for (const float v : test::values(tape.grad(x))) CHECK(v == 0);
}

TEST_CASE("loss gradients") {
  for (const float smoothing : {0.0f, 0.2f})
    test::check_gradients([=](Context& c, const Tensors& in) { return ops::cross_entropy(c, in[0], kLabels, -100, smoothing); },
                          {logits()});
  const Tensor a = test::normal({3, 4}, 1), b = test::normal({3, 4}, 2);
  Tensor target = Tensor::empty({3, 4}, DType::F32);
  for (int64_t i = 0; i < 12; ++i) target.data<float>()[i] = static_cast<float>(i) / 12;
  test::check_gradients([](Context& c, const Tensors& in) { return ops::mse_loss(c, in[0], in[1]); }, {a, b});
  test::check_gradients([&](Context& c, const Tensors& in) { return ops::bce_with_logits_loss(c, in[0], target); }, {a});
  test::check_no_gradient("target", [&](Context& c, const Tensors& in) { return ops::bce_with_logits_loss(c, a, in[0]); }, {target});
}

TEST_CASE("the gradient of a scaled loss is scaled") {
  Context ctx;
  train::Tape tape;
  const Tensor x = logits();
  tape.watch(x);
  ctx.set_recorder(&tape);
  tape.backward(ctx, ops::cross_entropy(ctx, x, kLabels));
  const std::vector<float> once = test::values(tape.grad(x));
  tape.clear();
  tape.backward(ctx, ops::scale(ctx, ops::cross_entropy(ctx, x, kLabels), 3));
  const std::vector<float> thrice = test::values(tape.grad(x));
  for (size_t i = 0; i < once.size(); ++i) CHECK(thrice[i] == doctest::Approx(3 * once[i]).epsilon(1e-5));
}

TEST_CASE("loss errors") {
  Context ctx;
  test::expect_error(ErrorCode::Limit, {"[cross_entropy]", "0 to 2", "3", "position 1"}, [&] {
    ops::cross_entropy(ctx, logits(), std::vector<int64_t>{0, 3, 0, 0});
  });
  test::expect_error(ErrorCode::Limit, {"[cross_entropy]", "-1"}, [&] {
    ops::cross_entropy(ctx, logits(), std::vector<int64_t>{0, -1, 0, 0});
  });
  test::expect_error(ErrorCode::Shape, {"[cross_entropy]", "(4, 3)", "2"}, [&] {
    ops::cross_entropy(ctx, logits(), std::vector<int64_t>{0, 1});
  });
  test::expect_error(ErrorCode::Limit, {"smoothing", "1"}, [&] { ops::cross_entropy(ctx, logits(), kLabels, -100, 1.0f); });
  test::expect_error(ErrorCode::Shape, {"[mse_loss]", "(4, 3)", "(12,)"}, [&] { ops::mse_loss(ctx, logits(), logits().view({12})); });
  test::expect_error(ErrorCode::Type, {"[bce_with_logits_loss]", "bfloat16"},
                     [&] { ops::bce_with_logits_loss(ctx, logits(), logits().to(DType::BF16)); });
}

}  // namespace
}  // namespace tenon
