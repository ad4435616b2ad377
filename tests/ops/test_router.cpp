// The router: choices, groups, ties, capacity, weights, gradients; experts put together; the balance loss.
#include "ops/op_test.h"
#include "tenon/ops/experts.h"
#include "tenon/ops/router.h"
#include "tenon/ops/router_loss.h"

namespace tenon {
namespace {

using ops::RouterOptions;
using ops::Routing;
using Choice = std::vector<int64_t>;

Routing route(const std::vector<float>& logits, int64_t E, const RouterOptions& o, const Tensor& bias = {}) {
  Context ctx(2);
  return ops::route(ctx, test::floats(logits, {static_cast<int64_t>(logits.size()) / E, E}), bias, o);
}

TEST_CASE("the best experts are chosen, the lower of equal ones first") {
  CHECK(route({1, 3, 2, 0}, 4, {.top_k = 2}).expert == Choice{1, 2});
  CHECK(route({1, 1, 1, 1}, 4, {.top_k = 3}).expert == Choice{0, 1, 2});
  CHECK(route({0, 5, 5, 1}, 4, {.top_k = 1}).expert == Choice{1});
  const float nan = std::nanf("");
  CHECK(route({nan, nan, nan, nan}, 4, {.top_k = 2}).expert.size() == 2);
}

TEST_CASE("weights are scores, normalised and scaled as asked") {
  const Routing plain = route({0, std::log(3.0f)}, 2, {.top_k = 1});
  CHECK(plain.weight.data<float>()[0] == doctest::Approx(0.75));
  CHECK(route({0, std::log(3.0f)}, 2, {.top_k = 1, .normalize = true, .scale = 2.5f}).weight.data<float>()[0] == doctest::Approx(2.5));
  const Routing sigmoid = route({0, 2, -1}, 3, {.top_k = 2, .score = ops::RouterScore::Sigmoid});
  CHECK(sigmoid.expert == Choice{1, 0});
  CHECK(sigmoid.weight.data<float>()[1] == doctest::Approx(0.5));
}

TEST_CASE("a bias decides who is chosen, not what they weigh") {
  const Tensor bias = test::floats({0, 0, 10, 0}, {4});
  const Routing r = route({2, 1, 0, -1}, 4, {.top_k = 2, .score = ops::RouterScore::Sigmoid}, bias);
  CHECK(r.expert == Choice{2, 0});
  CHECK(r.weight.data<float>()[0] == doctest::Approx(0.5));
}

TEST_CASE("groups limit the choice, by their best or their two best") {
  // groups: {9, 0}, {5, 5}, {4, 1}
  const std::vector<float> logits = {9, 0, 5, 5, 4, 1};
  CHECK(route(logits, 6, {.top_k = 2, .groups = 3, .top_groups = 1}).expert == Choice{0, 1});
  CHECK(route({6, -50, 5, 5, 4, 1}, 6, {.top_k = 2, .score = ops::RouterScore::Sigmoid, .groups = 3, .top_groups = 1, .group_by_top2 = true}).expert ==
        Choice{2, 3});
  CHECK(route(logits, 6, {.top_k = 3, .groups = 3, .top_groups = 2}).expert == Choice{0, 2, 3});
}

TEST_CASE("a capacity drops who comes too late, and says so") {
  const Routing r = route({1, 0, 1, 0, 1, 0, 0, 1}, 2, {.top_k = 1, .capacity_factor = 1});  // 4 tokens, 2 places each
  CHECK(r.expert == Choice{0, 0, -1, 1});
  CHECK(r.weight.data<float>()[2] == 0);
  CHECK(r.dropped_share() == doctest::Approx(0.25));
  CHECK(r.loads() == Choice{2, 1});
  CHECK(r.max_violation() == doctest::Approx(1.0 / 3));
}

TEST_CASE("experts choose their tokens") {
  const Routing r = route({3, 0, 2, 1, 1, 2, 0, 3}, 2, {.top_k = 1, .expert_choice = true});  // each expert takes 2 of 4
  CHECK(r.loads() == Choice{2, 2});
  CHECK(r.expert == Choice{0, -1, 0, -1, -1, 1, -1, 1});
  CHECK(r.load_entropy() == doctest::Approx(1));
}

TEST_CASE("options that do not fit are refused by name") {
  test::expect_error(ErrorCode::Limit, {"[router]", "top_k"}, [] { route({1, 2}, 2, {.top_k = 3}); });
  test::expect_error(ErrorCode::Limit, {"[router]", "groups"}, [] { route({1, 2, 3}, 3, {.top_k = 1, .groups = 2}); });
  test::expect_error(ErrorCode::Limit, {"[router]", "groups"}, [] { route({1, 2, 3, 4}, 4, {.top_k = 3, .groups = 2, .top_groups = 1}); });
  test::expect_error(ErrorCode::Shape, {"[router]", "bias"}, [] { route({1, 2}, 2, {.top_k = 1}, test::floats({1}, {1})); });
}

TEST_CASE("gradients reach the logits through the weights of the chosen") {
  for (const auto score : {ops::RouterScore::Softmax, ops::RouterScore::Sigmoid})
    for (const bool normalize : {false, true})
      test::check_gradients(
          [&](Context& c, const std::vector<Tensor>& in) {
            return ops::route(c, in[0], {}, {.top_k = 2, .score = score, .normalize = normalize, .scale = 1.5f}).weight;
          },
          {test::floats({0, 1, 2, 3, 3, -1, 0.5f, 1.5f}, {2, 4})}, 3e-3, 0.01f);
}

TEST_CASE("gradients of experts put together reach each expert and its weight") {
  const Routing fixed = route({0, 1, 2, 5, 1, 0, 1, 0, 3}, 3, {.top_k = 2});
  const ops::ExpertRows rows(fixed);
  const auto load = [&](int64_t e) { return rows.start[static_cast<size_t>(e) + 1] - rows.start[static_cast<size_t>(e)]; };
  const auto f = [&](Context& c, const std::vector<Tensor>& in) {
    Routing r = fixed;
    r.weight = in[3];
    return ops::combine_experts(c, {in[0], in[1], in[2]}, rows, r, 4);
  };
  test::check_gradients(f, {test::normal({load(0), 4}, 1), test::normal({load(1), 4}, 2), test::normal({load(2), 4}, 3), test::normal({3, 2}, 4)});
  Context ctx;
  std::vector<float> all;
  const std::vector<Tensor> parts = {test::normal({load(0), 4}, 1), test::normal({load(1), 4}, 2), test::normal({load(2), 4}, 3)};
  for (const Tensor& p : parts) all.insert(all.end(), p.data<float>(), p.data<float>() + p.numel());
  const Tensor together = ops::combine_experts(ctx, test::floats(all, {6, 4}), rows, fixed, {});
  CHECK(test::relative_error(ops::combine_experts(ctx, parts, rows, fixed, 4), together) < 1e-6);
}

TEST_CASE("scale_rows and clamp") {
  test::check_gradients([](Context& c, const std::vector<Tensor>& in) { return ops::scale_rows(c, in[0], in[1]); },
                        {test::normal({3, 5}, 1), test::normal({3, 1}, 2)});
  test::check_gradients([](Context& c, const std::vector<Tensor>& in) { return ops::clamp(c, in[0], -1, 1); },
                        {test::floats({-3, -0.5f, 0.2f, 0.8f, 2}, {5})}, 3e-3, 0.01f);
}

TEST_CASE("the balance loss is K for perfect balance, and its gradient that of the probabilities") {
  Context ctx;
  const Routing even = route({4, 0, 0, 4}, 2, {.top_k = 1});
  CHECK(ops::load_balancing_loss(ctx, std::vector<Routing>{even}).item() == doctest::Approx(1));
  const Routing collapsed = route({40, 0, 40, 0}, 2, {.top_k = 1});
  CHECK(ops::load_balancing_loss(ctx, std::vector<Routing>{collapsed}).item() == doctest::Approx(2));
  const std::vector<uint8_t> first = {1, 0};
  CHECK(ops::load_balancing_loss(ctx, std::vector<Routing>{route({40, 0, 0, 40}, 2, {.top_k = 1})}, first).item() == doctest::Approx(2));
  test::check_gradients(
      [](Context& c, const std::vector<Tensor>& in) {
        const std::vector<Routing> layers = {ops::route(c, in[0], {}, {.top_k = 2}), ops::route(c, in[1], {}, {.top_k = 2})};
        return ops::load_balancing_loss(c, layers);
      },
      {test::floats({0, 1, 2, 3, 3, -1, 0.5f, 1.5f}, {2, 4}), test::floats({2, 1, 0, 3, 3, -1, 0.5f, 1.5f}, {2, 4})}, 3e-3, 0.01f);
}

}  // namespace
}  // namespace tenon
