// Losses of distillation against PyTorch's values, and their gradients.
#include "ops/op_test.h"
#include "tenon/ops/cosine_loss.h"
#include "tenon/ops/distillation.h"
#include "tenon/ops/loss.h"
#include "tenon/ops/nll_loss.h"
#include "tenon/ops/softmax.h"

namespace tenon {
namespace {

using ops::Reduction;
using Tensors = std::vector<Tensor>;
const std::vector<int64_t> kLabels = {1, 2, -100, 0};

Tensor student() { return test::floats({1, 2, -1, 0, -0.5f, 3, 2, 2, 2, -1, 0, 1}, {4, 3}); }
Tensor teacher() { return test::floats({0.5f, 1, -2, 1, 0, 2, -1, 2, 0, 3, 0, 1}, {4, 3}); }

TEST_CASE("kl_div equals PyTorch's in every reduction") {
  Context ctx;
  const Tensor x = ops::log_softmax(ctx, student()), p = ops::softmax(ctx, teacher()), log_p = ops::log_softmax(ctx, teacher());
  const std::pair<Reduction, double> expected[] = {
      {Reduction::Mean, 0.20905328}, {Reduction::BatchMean, 0.62715983}, {Reduction::Sum, 2.5086393}};
  for (const auto& [reduction, value] : expected) {
    CHECK(ops::kl_div(ctx, x, p, reduction).item() == doctest::Approx(value).epsilon(1e-6));
    CHECK(ops::kl_div(ctx, x, log_p, reduction, true).item() == doctest::Approx(value).epsilon(1e-6));
  }
  const Tensor sure = test::floats({1, 0}, {1, 2}), sharp = test::floats({0, -100}, {1, 2});
  CHECK(ops::kl_div(ctx, sharp, sure, Reduction::Sum).item() == 0);
}

TEST_CASE("distillation_loss equals the listing's formula") {
  Context ctx;
  CHECK(ops::distillation_loss(ctx, student(), teacher(), kLabels).item() == doctest::Approx(0.85917056).epsilon(1e-6));
  CHECK(ops::distillation_loss(ctx, student(), teacher(), kLabels, 4, 0.7f).item() == doctest::Approx(0.8328535).epsilon(1e-6));
  CHECK(ops::distillation_loss(ctx, student(), teacher(), {}, 1, 1).item() == doctest::Approx(0.62715983).epsilon(1e-6));
  CHECK(ops::distillation_loss(ctx, student(), teacher(), kLabels, 3, 0).item() ==
        doctest::Approx(ops::cross_entropy(ctx, student(), kLabels).item()));
  // Three dimensions: the batch is the first alone.
  CHECK(ops::distillation_loss(ctx, student().view({2, 2, 3}), teacher().view({2, 2, 3}), {}, 2, 1).item() ==
        doctest::Approx(1.5476389).epsilon(1e-6));
}

TEST_CASE("distillation_loss stays finite for extreme and masked logits") {
  Context ctx;
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor s = test::floats({500, -500, 0}, {1, 3}), t = test::floats({-500, 500, -inf}, {1, 3});
  CHECK(ops::distillation_loss(ctx, s, t, {}, 1, 1).item() == doctest::Approx(1000));
  CHECK(ops::distillation_loss(ctx, s, s, {}, 1, 1).item() == doctest::Approx(0));
}

TEST_CASE("distillation over many rows and classes: the same bits on any number of threads") {
  const Tensor s = test::normal({600, 70}, 1), t = test::normal({600, 70}, 2);
  std::vector<int64_t> labels(600);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i % 70);
  double values[2];
  Tensor grads[2];
  for (int i = 0; i < 2; ++i) {
    Context ctx(i == 0 ? 1 : 5);
    train::Tape tape;
    tape.watch(s);
    ctx.set_recorder(&tape);
    const Tensor loss = ops::distillation_loss(ctx, s, t, labels);
    values[i] = loss.item();
    tape.backward(ctx, loss);
    grads[i] = tape.grad(s);
  }
  CHECK(values[0] == values[1]);
  CHECK(test::values(grads[0]) == test::values(grads[1]));
}

TEST_CASE("cosine_embedding_loss and nll_loss equal PyTorch's") {
  Context ctx;
  const std::vector<int64_t> target = {1, -1, -1, 1};
  CHECK(ops::cosine_embedding_loss(ctx, student(), teacher()).item() == doctest::Approx(0.62624335).epsilon(1e-6));
  CHECK(ops::cosine_embedding_loss(ctx, student(), teacher(), target, 0.2f).item() == doctest::Approx(0.5964716).epsilon(1e-6));
  CHECK(ops::cosine_embedding_loss(ctx, test::floats({0, 0}, {1, 2}), test::floats({1, 0}, {1, 2})).item() == doctest::Approx(1));
  CHECK(ops::nll_loss(ctx, ops::log_softmax(ctx, student()), kLabels).item() == doctest::Approx(0.9445216).epsilon(1e-6));
  CHECK(std::isnan(ops::nll_loss(ctx, student(), std::vector<int64_t>(4, -100)).item()));
}

TEST_CASE("gradients of the losses of distillation") {
  Context plain;
  const Tensor x = ops::log_softmax(plain, student()), p = ops::softmax(plain, teacher()), log_p = ops::log_softmax(plain, teacher());
  for (const Reduction reduction : {Reduction::Mean, Reduction::BatchMean, Reduction::Sum}) {
    test::check_gradients([&](Context& c, const Tensors& in) { return ops::kl_div(c, in[0], in[1], reduction); }, {x, p}, 3e-3, 0.002f);
    test::check_gradients([&](Context& c, const Tensors& in) { return ops::kl_div(c, in[0], in[1], reduction, true); }, {x, log_p});
  }
  for (const auto& [temperature, alpha] : {std::pair{2.0f, 0.5f}, {4.0f, 0.9f}, {1.0f, 1.0f}, {2.0f, 0.0f}})
    test::check_gradients([&, T = temperature, a = alpha](
                              Context& c, const Tensors& in) { return ops::distillation_loss(c, in[0], teacher(), kLabels, T, a); },
                          {student()});
  test::check_no_gradient("teacher", [](Context& c, const Tensors& in) { return ops::distillation_loss(c, student(), in[0], kLabels); },
                          {teacher()});
  const Tensor a = test::normal({4, 5}, 1), b = test::normal({4, 5}, 2);
  const std::vector<int64_t> target = {1, -1, -1, 1};
  test::check_gradients([](Context& c, const Tensors& in) { return ops::cosine_embedding_loss(c, in[0], in[1]); }, {a, b});
  test::check_gradients([&](Context& c, const Tensors& in) { return ops::cosine_embedding_loss(c, in[0], in[1], target, -0.9f); }, {a, b});
  test::check_gradients([](Context& c, const Tensors& in) { return ops::nll_loss(c, in[0], kLabels); }, {student()});
}

TEST_CASE("errors of the losses of distillation") {
  Context ctx;
  test::expect_error(ErrorCode::Shape, {"[kl_div]", "(4, 3)", "(12,)"}, [&] { ops::kl_div(ctx, student(), teacher().view({12})); });
  test::expect_error(ErrorCode::Type, {"[kl_div]", "bfloat16"}, [&] { ops::kl_div(ctx, student().to(DType::BF16), teacher()); });
  test::expect_error(ErrorCode::Shape, {"[distillation_loss]", "teacher", "(4, 2)"}, [&] {
    ops::distillation_loss(ctx, student(), test::normal({4, 2}, 1), kLabels);
  });
  test::expect_error(ErrorCode::Shape, {"[distillation_loss]", "labels", "4", "0"},
                     [&] { ops::distillation_loss(ctx, student(), teacher(), {}); });
  test::expect_error(ErrorCode::Limit, {"[distillation_loss]", "0 to 2", "3", "position 1"}, [&] {
    ops::distillation_loss(ctx, student(), teacher(), std::vector<int64_t>{0, 3, 0, 0});
  });
  test::expect_error(ErrorCode::Limit, {"temperature", "0"}, [&] { ops::distillation_loss(ctx, student(), teacher(), kLabels, 0); });
  test::expect_error(ErrorCode::Limit, {"alpha", "1.5"}, [&] { ops::distillation_loss(ctx, student(), teacher(), kLabels, 1, 1.5f); });
  test::expect_error(ErrorCode::Limit, {"target", "0", "position 2"}, [&] {
    ops::cosine_embedding_loss(ctx, student(), teacher(), std::vector<int64_t>{1, -1, 0, 1});
  });
  test::expect_error(ErrorCode::Limit, {"[nll_loss]", "0 to 2", "-1"}, [&] {
    ops::nll_loss(ctx, student(), std::vector<int64_t>{0, -1, 0, 0});
  });
}

}  // namespace
}  // namespace tenon
