// Optimisers: one step by hand, equal bits on any number of threads, groups, clipping, states saved and loaded, errors.
#include <algorithm>

#include "ops/op_test.h"
#include "tenon/ops/loss.h"
#include "tenon/train/optim.h"

namespace tenon {
namespace {

using train::Adafactor;
using train::AdamW;
using train::AdamW8bit;
using train::Algorithm;
using train::Lion;
using train::Optimizer;
using train::Sgd;
using train::Tape;

const std::vector<Algorithm>& all() {
  static const std::vector<Algorithm> algorithms = {AdamW{},
                                                    AdamW{.decoupled = false, .amsgrad = true},
                                                    AdamW8bit{},
                                                    Adafactor{},
                                                    Adafactor{.lr = 0.01, .beta1 = 0.9, .relative_step = false},
                                                    Lion{},
                                                    Sgd{},
                                                    Sgd{.momentum = 0.9, .nesterov = true}};
  return algorithms;
}

/// Steps `count` times towards an aim; every parameter's gradient is its distance from there.
void run(Optimizer& optimizer, Context& ctx, int count, double max_norm = std::numeric_limits<double>::infinity()) {
  for (int i = 0; i < count; ++i) {
    Tape tape;
    optimizer.watch(tape);
    ctx.set_recorder(&tape);
    std::vector<Tensor> losses, ones;
    uint64_t seed = 50;
    for (const train::ParameterGroup& group : optimizer.groups())
      for (const Tensor& p : group.parameters) {
        losses.push_back(ops::mse_loss(ctx, p, test::normal(p.shape(), ++seed)));
        ones.push_back(test::floats({static_cast<float>(p.numel())}, {}));
      }
    ctx.set_recorder(nullptr);
    tape.backward(ctx, losses, ones);
    optimizer.step(ctx, tape, max_norm);
  }
}

std::vector<Tensor> parameters() {
  return {test::normal({130, 257}, 1), test::normal({9001}, 2), test::normal({7}, 3), test::normal({2, 3, 5}, 4)};
}

TEST_CASE("the same bits on any number of threads, and states that are saved and loaded") {
  for (const Algorithm& algorithm : all()) {
    CAPTURE(algorithm.index());
    std::vector<std::vector<float>> results[3];
    for (int round = 0; round < 3; ++round) {
      Context ctx(round == 1 ? 5 : 1);
      const std::vector<Tensor> p = parameters();
      Optimizer optimizer(algorithm, p);
      run(optimizer, ctx, round == 2 ? 2 : 4, 50);
      if (round == 2) {
        Optimizer resumed(algorithm, p);
        resumed.load_state(optimizer.state());
        run(resumed, ctx, 2, 50);
      }
      for (const Tensor& t : p) results[round].push_back(test::values(t));
    }
    CHECK(results[1] == results[0]);
    CHECK(results[2] == results[0]);
  }
}

TEST_CASE("all come closer to the aim") {
  for (Algorithm algorithm : all()) {
    CAPTURE(algorithm.index());
    if (!std::holds_alternative<Adafactor>(algorithm)) train::set_learning_rate(algorithm, 0.02);
    Context ctx;
    const std::vector<Tensor> p = parameters();
    const auto distance = [&] {
      double sum = 0;
      for (size_t i = 0; i < p.size(); ++i) sum += ops::mse_loss(ctx, p[i], test::normal(p[i].shape(), 51 + i)).item();
      return sum;
    };
    const double before = distance();
    Optimizer optimizer(algorithm, p);
    run(optimizer, ctx, 20);
    CHECK(distance() < 0.9 * before);
  }
}

TEST_CASE("groups, schedules and parameters without a gradient") {
  Context ctx;
  const Tensor a = test::floats({1, 2}, {2}), b = test::floats({1}, {1}), c = test::floats({5}, {1});
  Optimizer optimizer(Sgd{.lr = 0.5}, {a, c});
  optimizer.add(Sgd{.lr = 2}, {b});
  optimizer.scale_learning_rate(0.1);
  CHECK(optimizer.learning_rate() == doctest::Approx(0.05));
  Tape tape;
  optimizer.watch(tape);
  ctx.set_recorder(&tape);
  const std::vector<Tensor> outputs = {ops::scale(ctx, a, 3), ops::scale(ctx, b, 4)},
                            dy = {test::floats({1, 0}, {2}), test::floats({1}, {1})};
  tape.backward(ctx, outputs, dy);
  CHECK(optimizer.step(ctx, tape, 1.0) == doctest::Approx(5));
  // The gradients 3, 0 and 4 are clipped to a fifth of themselves.
  CHECK(a.data<float>()[0] == doctest::Approx(1 - 0.05 * 0.6));
  CHECK(a.data<float>()[1] == 2);
  CHECK(b.data<float>()[0] == doctest::Approx(1 - 0.2 * 0.8));
  CHECK(c.data<float>()[0] == 5);
  CHECK(optimizer.groups()[0].states[1].step == 0);
}

TEST_CASE("a gradient that is not finite changes nothing where it is clipped") {
  Context ctx;
  const Tensor a = test::floats({1, 2}, {2});
  Optimizer optimizer(AdamW{}, {a});
  Tape tape;
  optimizer.watch(tape);
  ctx.set_recorder(&tape);
  const Tensor y = ops::scale(ctx, a, 1), dy = test::floats({1, std::numeric_limits<float>::quiet_NaN()}, {2});
  tape.backward(ctx, y, dy);
  CHECK(std::isnan(optimizer.step(ctx, tape, 1.0)));
  CHECK(test::values(a) == std::vector<float>{1, 2});
  CHECK(optimizer.groups()[0].states[0].step == 0);
}

TEST_CASE("clipping in place") {
  Context ctx;
  std::vector<Tensor> g = {test::floats({3, 0}, {2}), Tensor(), test::floats({-4}, {1})};
  CHECK(train::gradient_norm(ctx, g) == doctest::Approx(5));
  CHECK(train::clip_gradient_norm(ctx, g, 10) == doctest::Approx(5));
  CHECK(test::values(g[0]) == std::vector<float>{3, 0});
  CHECK(train::clip_gradient_norm(ctx, g, 1) == doctest::Approx(5));
  CHECK(g[0].data<float>()[0] == doctest::Approx(0.6));
  CHECK(g[2].data<float>()[0] == doctest::Approx(-0.8));
  train::clip_gradient_value(ctx, g, 0.7);
  CHECK(g[0].data<float>()[0] == doctest::Approx(0.6));
  CHECK(g[2].data<float>()[0] == doctest::Approx(-0.7));
}

TEST_CASE("errors of optimisers") {
  Context ctx;
  const Tensor p = test::floats({1, 2}, {2});
  const auto refused = [&](const Algorithm& algorithm, const std::vector<std::string>& parts) {
    test::expect_error(ErrorCode::Limit, parts, [&] { Optimizer(algorithm, {p}); });
  };
  refused(AdamW{.lr = -1}, {"[AdamW]", "lr", "-1"});
  refused(AdamW{.beta1 = 1}, {"beta1", "0 to below 1"});
  refused(AdamW8bit{.weight_decay = NAN}, {"[AdamW8bit]", "weight_decay"});
  refused(Lion{.beta2 = -0.5}, {"[Lion]", "beta2"});
  refused(Sgd{.nesterov = true}, {"[SGD]", "nesterov"});
  refused(Adafactor{.lr = 0.1}, {"[Adafactor]", "relative_step"});
  test::expect_error(ErrorCode::Type, {"optimizer", "already", "(2,)"}, [&] { Optimizer(AdamW{}, {p, p}); });
  test::expect_error(ErrorCode::Type, {"float32", "bfloat16"}, [&] { Optimizer(AdamW{}, {p.to(DType::BF16)}); });
  Tensor mapped = p.clone();
  mapped.storage()->read_only = true;
  test::expect_error(ErrorCode::Type, {"read-only"}, [&] { Optimizer(AdamW{}, {mapped}); });
  Optimizer optimizer(AdamW{}, {p});
  const auto state = optimizer.state();
  test::expect_error(ErrorCode::Format, {"0.step", "missing"}, [&] { optimizer.load_state({}); });
  Optimizer other(AdamW{}, {test::floats({1}, {1})});
  test::expect_error(ErrorCode::Format, {"0.exp_avg", "(1,)", "(2,)"}, [&] { other.load_state(state); });
  train::ParameterState s{0, train::new_state(AdamW{}, p)};
  const std::vector<train::Update> wrong = {{p, test::floats({1}, {1}), &s}};
  test::expect_error(ErrorCode::Shape, {"gradient", "(2,)", "(1,)"}, [&] { train::step(ctx, AdamW{}, wrong); });
}

}  // namespace
}  // namespace tenon
