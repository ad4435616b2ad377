// The tape: what it watches, how gradients add up, what it keeps and what it lets go.
#include "ops/op_test.h"
#include "tenon/ops/checkpoint.h"
#include "tenon/ops/dropout.h"
#include "tenon/ops/linear.h"
#include "tenon/ops/loss.h"
#include "tenon/train/tape.h"

namespace tenon {
namespace {

struct Recording {
  Context ctx;
  train::Tape tape;
  explicit Recording(const std::vector<Tensor>& watched) {
    for (const Tensor& t : watched) tape.watch(t);
    ctx.set_recorder(&tape);
  }
};

TEST_CASE("nothing is recorded for what nobody watches") {
  const Tensor a = test::normal({2, 2}, 1), b = test::normal({2, 2}, 2);
  Recording r({a});
  ops::mul(r.ctx, b, b);
  CHECK(r.tape.num_steps() == 0);
  const Tensor y = ops::mul(r.ctx, ops::mul(r.ctx, b, b), a);
  CHECK(r.tape.num_steps() == 1);
  CHECK(r.tape.wants(y));
  CHECK_FALSE(r.tape.wants(b));
  CHECK_FALSE(r.tape.wants(Tensor()));
  CHECK_FALSE(r.tape.grad(a).defined());
}

TEST_CASE("a chain with a fork: finite differences") {
  test::check_gradients(
      [](Context& c, const std::vector<Tensor>& in) {
        const Tensor h = ops::linear(c, in[0], in[1], in[2], Activation::Tanh);
        const Tensor again = ops::add(c, ops::linear(c, h, in[1], in[2]), h);
        return ops::mse_loss(c, ops::add(c, again, h), in[0]);
      },
      {test::normal({3, 4}, 1), test::normal({4, 4}, 2, 0.5f), test::normal({4}, 3)});
}

TEST_CASE("gradients add up over backward passes until clear") {
  const Tensor a = test::floats({2}, {1});
  Recording r({a});
  r.tape.backward(r.ctx, ops::scale(r.ctx, a, 3));
  CHECK(r.tape.grad(a).item() == 3);
  const Tensor first = r.tape.grad(a);
  r.tape.backward(r.ctx, ops::scale(r.ctx, a, 4));
  CHECK(r.tape.grad(a).item() == 7);
  CHECK(first.item() == 3);  // a handle given out is not written to
  r.tape.clear();
  CHECK_FALSE(r.tape.grad(a).defined());
  r.tape.backward(r.ctx, ops::scale(r.ctx, a, 5));
  CHECK(r.tape.grad(a).item() == 5);
}

TEST_CASE("both inputs of a sum own their gradient") {
  const Tensor a = test::normal({3}, 1), b = test::normal({3}, 2), dy = test::floats({1, 2, 3}, {3});
  Recording r({a, b});
  r.tape.backward(r.ctx, ops::add(r.ctx, a, b), dy);
  Tensor da = r.tape.grad(a);
  da.data<float>()[0] = 100;
  CHECK(test::values(r.tape.grad(b)) == std::vector<float>{1, 2, 3});
  CHECK(test::values(dy) == std::vector<float>{1, 2, 3});
}

TEST_CASE("a watched tensor in the middle keeps its gradient") {
  const Tensor a = test::floats({2}, {1});
  Recording r({a});
  const Tensor h = ops::mul(r.ctx, a, a);
  r.tape.watch(h);
  r.tape.backward(r.ctx, ops::scale(r.ctx, h, 5));
  CHECK(r.tape.grad(h).item() == 5);
  CHECK(r.tape.grad(a).item() == 20);
}

TEST_CASE("steps and the memory they hold are gone after backward") {
  const Tensor a = test::normal({1000}, 1);
  Recording r({a});
  std::weak_ptr<Storage> kept;
  {
    Tensor h = ops::mul(r.ctx, a, a);
    kept = h.storage();
    const Tensor loss = ops::mse_loss(r.ctx, ops::mul(r.ctx, h, h), a);
    h = Tensor();
    CHECK_FALSE(kept.expired());
    r.tape.backward(r.ctx, loss);
  }
  CHECK(kept.expired());
  CHECK(r.tape.num_steps() == 0);
  CHECK(r.ctx.recorder() == &r.tape);
}

TEST_CASE("what no gradient needs is not kept") {
  const Tensor a = test::normal({8}, 1);
  Recording r({a});
  std::weak_ptr<Storage> middle;
  Tensor y;
  {
    const Tensor h = ops::scale(r.ctx, a, 2);
    middle = h.storage();
    y = ops::scale(r.ctx, h, 2);
  }
  CHECK(middle.expired());
}

TEST_CASE("a branch that leads to no loss costs nothing") {
  const Tensor a = test::floats({2}, {1}), b = test::floats({3}, {1});
  Recording r({a, b});
  ops::mul(r.ctx, b, b);
  const Tensor loss = ops::scale(r.ctx, a, 2);
  r.tape.backward(r.ctx, loss);
  CHECK(r.tape.grad(a).item() == 2);
  CHECK_FALSE(r.tape.grad(b).defined());
}

TEST_CASE("several outputs at once") {
  const Tensor a = test::floats({2, 3}, {2});
  Recording r({a});
  const std::vector<Tensor> outputs{ops::scale(r.ctx, a, 3), ops::mul(r.ctx, a, a), ops::scale(r.ctx, a, 100)};
  const std::vector<Tensor> dy{test::floats({1, 10}, {2}), test::floats({1, 1}, {2}), Tensor()};
  r.tape.backward(r.ctx, outputs, dy);
  CHECK(test::values(r.tape.grad(a)) == std::vector<float>{3 + 4, 30 + 6});
  test::expect_error(ErrorCode::Shape, {"3 gradients", "2"}, [&] { r.tape.backward(r.ctx, outputs, std::span(dy).first(2)); });
}

TEST_CASE("a checkpoint keeps its inputs alone, and its gradients are the same bits") {
  const Tensor x = test::normal({5, 4}, 1), w = test::normal({4, 4}, 2), b = test::normal({4}, 3);
  std::weak_ptr<Storage> inside;
  const auto run = [&](bool checkpoint) {
    Recording r({x, w, b});
    r.ctx.set_training({.dropout = true, .checkpoint = checkpoint});
    Tensor h = ops::scale(r.ctx, x, 2);
    for (int layer = 0; layer < 2; ++layer)
      h = ops::checkpoint(r.ctx, "layer", {h, x}, [&inside, w, b](Context& c, std::span<const Tensor> in) -> std::vector<Tensor> {
        const Tensor middle = ops::dropout(c, ops::linear(c, in[0], w, b, Activation::Tanh), 0.3f);
        inside = middle.storage();
        return {ops::add(c, ops::linear(c, middle, w, b), in[1])};
      })[0];
    CHECK(inside.expired() == checkpoint);
    const Tensor loss = ops::mse_loss(r.ctx, h, ops::mul(r.ctx, x, x));
    r.tape.backward(r.ctx, loss);
    std::vector<float> all = test::values(loss);
    for (const Tensor& t : {x, w, b})
      for (const float v : test::values(r.tape.grad(t))) all.push_back(v);
    return all;
  };
  const std::vector<float> plain = run(false), again = run(true);
  for (size_t i = 0; i < plain.size(); ++i) CHECK(again[i] == doctest::Approx(plain[i]).epsilon(1e-5));
}

TEST_CASE("an error in a checkpoint's second run leaves the context as it was") {
  const Tensor x = test::normal({4}, 1);
  Recording r({x});
  r.ctx.set_training({.checkpoint = true});
  int runs = 0;
  const Tensor y = ops::checkpoint(r.ctx, "part", {x}, [&runs](Context& c, std::span<const Tensor> in) -> std::vector<Tensor> {
    check(++runs < 2, ErrorCode::Limit, "part", "the second run");
    return {ops::mul(c, in[0], in[0])};
  })[0];
  const uint64_t counter = r.ctx.random().counter();
  test::expect_error(ErrorCode::Limit, {"the second run"}, [&] { r.tape.backward(r.ctx, y, y); });
  CHECK(r.ctx.recorder() == &r.tape);
  CHECK(r.ctx.training().checkpoint);
  CHECK(r.ctx.random().counter() == counter);
}

TEST_CASE("check_finite names the op") {
  const Tensor a = test::floats({1e30f}, {1});
  Recording r({a});
  r.tape.check_finite();
  test::expect_error(ErrorCode::Limit, {"[mul]", "infinity"}, [&] { ops::mul(r.ctx, a, a); });
}

TEST_CASE("tape errors") {
  const Tensor a = test::normal({2}, 1);
  Recording r({a});
  test::expect_error(ErrorCode::Type, {"watch", "float32", "bfloat16"}, [&] { r.tape.watch(a.to(DType::BF16)); });
  test::expect_error(ErrorCode::Type, {"backward"}, [&] { r.tape.backward(r.ctx, test::floats({1}, {1})); });
  const Tensor y = ops::scale(r.ctx, a, 2);
  test::expect_error(ErrorCode::Shape, {"one element", "(2,)"}, [&] { r.tape.backward(r.ctx, y); });
  test::expect_error(ErrorCode::Shape, {"dy", "(2,)", "(3,)"}, [&] { r.tape.backward(r.ctx, y, test::normal({3}, 1)); });
  test::expect_error(ErrorCode::Type, {"[fancy]", "no backward"}, [&] { r.tape.record("fancy", {y}, {a}, nullptr); });
  r.tape.clear();
  const Tensor h = a.clone(), loss = test::floats({1}, {1});
  r.tape.record("broken", {loss}, {a}, [](Context&, std::span<const Tensor>) { return std::vector<Tensor>{}; });
  test::expect_error(ErrorCode::Type, {"[broken]", "1 inputs", "0"}, [&] { r.tape.backward(r.ctx, loss); });
  r.tape.clear();
  r.tape.record("wrong", {loss}, {a}, [](Context&, std::span<const Tensor> dy) { return std::vector<Tensor>{dy[0]}; });
  test::expect_error(ErrorCode::Shape, {"[wrong]", "(2,)", "(1,)"}, [&] { r.tape.backward(r.ctx, loss); });
  CHECK(r.ctx.recorder() == &r.tape);  // also after an error
}

}  // namespace
}  // namespace tenon
