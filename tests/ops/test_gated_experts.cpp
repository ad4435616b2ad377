// All experts of a mixture in one step: against a layer for each expert, gradients, rounded factors, and what is refused.
#include "ops/op_test.h"
#include "tenon/ops/elementwise.h"
#include "tenon/ops/embedding.h"
#include "tenon/ops/gated.h"
#include "tenon/ops/gated_experts.h"

using namespace tenon;

namespace {

using Tensors = std::vector<Tensor>;
constexpr int64_t kExperts = 3, kInner = 5, kWidth = 4;

/// x, router logits, then gate, up and down of each expert.
Tensors make_inputs(int64_t N) {
  Tensors in = {test::normal({N, kWidth}, 1), test::normal({N, kExperts}, 2)};
  for (int64_t e = 0; e < kExperts; ++e)
    for (const Shape& shape : {Shape{kInner, kWidth}, Shape{kInner, kWidth}, Shape{kWidth, kInner}})
      in.push_back(test::normal(shape, static_cast<uint64_t>(10 + in.size()), 0.5f));
  return in;
}

std::vector<ops::GatedExpert> experts_of(const Tensors& in) {
  std::vector<ops::GatedExpert> experts;
  for (size_t e = 0; e < kExperts; ++e) experts.push_back({in[2 + 3 * e], in[3 + 3 * e], in[4 + 3 * e]});
  return experts;
}

Tensor together(Context& ctx, const Tensors& in, const Tensor& residual, float capacity = 0) {
  const ops::Routing r = ops::route(ctx, in[1], {}, {.top_k = 2, .normalize = true, .capacity_factor = capacity});
  return ops::gated_experts(ctx, in[0], experts_of(in), Activation::Silu, ops::ExpertRows(r), r, residual);
}

/// One layer after another.
Tensor apart(Context& ctx, const Tensors& in, const Tensor& residual) {
  const ops::Routing r = ops::route(ctx, in[1], {}, {.top_k = 2, .normalize = true});
  const ops::ExpertRows rows(r);
  Tensors z(kExperts);
  for (size_t e = 0; e < kExperts; ++e) {
    const auto n = static_cast<size_t>(rows.start[e + 1] - rows.start[e]);
    if (n == 0) continue;
    const Tensor mine = ops::gather_rows(ctx, in[0], std::span(rows.token).subspan(static_cast<size_t>(rows.start[e]), n));
    const Tensor h = ops::gated(ctx, ops::linear(ctx, mine, in[2 + 3 * e], {}), ops::linear(ctx, mine, in[3 + 3 * e], {}), Activation::Silu);
    z[e] = ops::linear(ctx, h, in[4 + 3 * e], {});
  }
  return ops::add(ctx, ops::combine_experts(ctx, z, rows, r, kWidth), residual);
}

}  // namespace

TEST_CASE("experts in one step give what one layer after another gives, also where rows are filled up") {
  for (const int64_t N : {0, 1, 7, 300, 700}) {
    CAPTURE(N);
    for (const int threads : {1, 3}) {
      Context ctx(threads);
      const Tensors in = make_inputs(N);
      const Tensor residual = test::normal({N, kWidth}, 3);
      CHECK(test::relative_error(together(ctx, in, residual), apart(ctx, in, residual)) < 1e-5);
    }
  }
}

TEST_CASE("experts in one step: gradients") {
  Tensors in = make_inputs(6);
  in.push_back(test::normal({6, kWidth}, 4));
  test::check_gradients([](Context& ctx, const Tensors& t) { return together(ctx, t, t.back()); }, in, 6e-3, 0.005f);
  in.pop_back();
  test::check_gradients([](Context& ctx, const Tensors& t) { return together(ctx, t, {}, 0.5f); }, in, 6e-3, 0.005f);
}

TEST_CASE("experts in one step: gradients of many rows are those of one layer after another") {
  const Tensors in = make_inputs(300);
  const Tensor residual = test::normal({300, kWidth}, 3), dy = test::normal({300, kWidth}, 5);
  std::vector<Tensors> grads;
  for (const bool one : {false, true}) {
    Context ctx(2);
    train::Tape tape;
    for (const Tensor& t : in) tape.watch(t);
    ctx.set_recorder(&tape);
    const Tensor y = one ? together(ctx, in, residual) : apart(ctx, in, residual);
    tape.backward(ctx, y, dy);
    grads.emplace_back();
    for (const Tensor& t : in) grads.back().push_back(tape.grad(t));
  }
  for (size_t i = 0; i < in.size(); ++i) {
    CAPTURE(i);
    CHECK(test::relative_error(grads[1][i], grads[0][i]) < 1e-4);
  }
}

TEST_CASE("experts in one step: rounded factors stay close") {
  const Tensors in = make_inputs(200);
  const Tensor dy = test::normal({200, kWidth}, 5);
  std::vector<Tensors> results;
  for (const DType type : {DType::F32, DType::BF16}) {
    Context ctx(2);
    ctx.set_training({.matmul = type});
    train::Tape tape;
    for (const Tensor& t : in) tape.watch(t);
    ctx.set_recorder(&tape);
    const Tensor y = together(ctx, in, {});
    tape.backward(ctx, y, dy);
    results.push_back({y});
    for (const Tensor& t : in) results.back().push_back(tape.grad(t));
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    CAPTURE(i);
    const double error = test::relative_error(results[1][i], results[0][i]);
    CHECK(error < 0.02);
    CHECK(error > 0);
  }
}

TEST_CASE("experts in one step: errors") {
  Context ctx;
  Tensors in = make_inputs(3);
  in[4] = test::normal({kInner, kWidth}, 1);
  test::expect_error(ErrorCode::Shape, {"[gated_experts]", "(4, 5)", "(5, 4)"}, [&] { together(ctx, in, {}); });
  in = make_inputs(3);
  in[0] = test::normal({2, kWidth}, 1);
  test::expect_error(ErrorCode::Shape, {"[gated_experts]", "3 tokens"}, [&] { together(ctx, in, {}); });
  test::expect_error(ErrorCode::Shape, {"[gated_experts]", "residual"}, [&] { together(ctx, make_inputs(3), test::normal({2, kWidth}, 1)); });
}
