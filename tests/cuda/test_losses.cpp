// Losses on a device against the CPU's: values and gradients; and the other ops that had no path there.
#include <functional>

#include "device_agree.h"
#include "tenon/ops/cosine_loss.h"
#include "tenon/ops/distillation.h"
#include "tenon/ops/linear.h"
#include "tenon/ops/nll_loss.h"
#include "tenon/ops/softmax.h"
#include "tenon/train/tape.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

using Loss = std::function<Tensor(Context&, const std::vector<Tensor>&)>;

/// The loss and the gradients of the inputs named in `wanted`.
std::vector<std::vector<float>> computed(Context& ctx, const Loss& loss, const std::vector<Tensor>& inputs, const std::vector<size_t>& wanted) {
  train::Tape tape;
  for (const size_t i : wanted) tape.watch(inputs[i]);
  Recorder* const before = ctx.set_recorder(&tape);
  const Tensor y = loss(ctx, inputs);
  ctx.set_recorder(before);
  std::vector<std::vector<float>> all = {down<float>(y)};
  tape.backward(ctx, y, Tensor::from(std::vector<float>{0.7f}, {}).to(ctx.device()));
  for (const size_t i : wanted) all.push_back(down<float>(tape.grad(inputs[i])));
  return all;
}

void check_loss(const Loss& loss, const std::vector<Tensor>& inputs, const std::vector<size_t>& wanted) {
  Context here(1), there(kDevice);
  std::vector<Tensor> copies;
  for (const Tensor& t : inputs) copies.push_back(t.to(kDevice));
  const auto expected = computed(here, loss, inputs, wanted), got = computed(there, loss, copies, wanted);
  for (size_t i = 0; i < expected.size(); ++i) {
    INFO("result ", i);
    CHECK(distance(got[i], expected[i]) <= 1e-5 * largest(expected[i]));
  }
}

Tensor random(const Shape& shape, unsigned seed, float scale = 1) { return Tensor::from(normal(static_cast<size_t>(shape.numel()), seed, scale), shape); }

}  // namespace

TEST_CASE("device: nll_loss, ignored rows included") {
  Context ctx(1);
  const std::vector<int64_t> labels = {3, -100, 0, 6, 6, 1}, none(6, -100);
  const Tensor x = ops::log_softmax(ctx, random({2, 3, 7}, 1));
  check_loss([&](Context& c, const auto& t) { return ops::nll_loss(c, t[0], labels); }, {x}, {0});
  Context there(kDevice);
  CHECK(std::isnan(ops::nll_loss(there, x.to(kDevice), none).item()));
  CHECK_THROWS_AS(ops::nll_loss(there, x.to(kDevice), std::vector<int64_t>{0, 0, 0, 7, 0, 0}), Error);
}

TEST_CASE("device: kl_div, of probabilities and of logarithms, targets of 0 included") {
  Context ctx(1);
  const Tensor x = ops::log_softmax(ctx, random({5, 9}, 1)), logs = ops::log_softmax(ctx, random({5, 9}, 2));
  Tensor p = ops::softmax(ctx, random({5, 9}, 2));
  for (const ops::Reduction reduction : {ops::Reduction::Mean, ops::Reduction::BatchMean, ops::Reduction::Sum}) {
    check_loss([&](Context& c, const auto& t) { return ops::kl_div(c, t[0], t[1], reduction); }, {x, p}, {0, 1});
    check_loss([&](Context& c, const auto& t) { return ops::kl_div(c, t[0], t[1], reduction, true); }, {x, logs}, {0, 1});
  }
  p.data<float>()[3] = 0;
  check_loss([&](Context& c, const auto& t) { return ops::kl_div(c, t[0], t[1]); }, {x, p}, {0});
  p.data<float>()[3] = -1;
  Context there(kDevice);
  CHECK(std::isnan(ops::kl_div(there, x.to(kDevice), p.to(kDevice)).item()));
}

TEST_CASE("device: cosine_embedding_loss, with targets, within the margin, of zeros") {
  const std::vector<int64_t> target = {1, -1, -1, 1};
  Tensor a = random({2, 2, 11}, 1), b = random({2, 2, 11}, 2);
  check_loss([&](Context& c, const auto& t) { return ops::cosine_embedding_loss(c, t[0], t[1]); }, {a, b}, {0, 1});
  for (float margin : {-1.0f, 0.5f})
    check_loss([&](Context& c, const auto& t) { return ops::cosine_embedding_loss(c, t[0], t[1], target, margin); }, {a, b}, {0, 1});
  std::fill_n(a.data<float>(), 11, 0.0f);
  check_loss([&](Context& c, const auto& t) { return ops::cosine_embedding_loss(c, t[0], t[1]); }, {a, b}, {1});
}

TEST_CASE("device: distillation_loss at several temperatures and shares") {
  const Tensor student = random({6, 13}, 1, 3), teacher = random({6, 13}, 2, 3);
  const std::vector<int64_t> labels = {3, -100, 0, 12, 5, 1};
  for (const auto& [temperature, alpha] : {std::pair{1.0f, 1.0f}, {2.0f, 0.5f}, {4.0f, 0.0f}})
    check_loss([&, temperature = temperature, alpha = alpha](Context& c, const auto& t) {
      return ops::distillation_loss(c, t[0], t[1], alpha < 1 ? labels : std::vector<int64_t>(), temperature, alpha);
    }, {student, teacher}, {0});
  Tensor masked = teacher.clone();
  masked.data<float>()[2] = -std::numeric_limits<float>::infinity();  // has no part in it
  check_loss([&](Context& c, const auto& t) { return ops::distillation_loss(c, t[0], t[1], {}, 2, 1); }, {student, masked}, {0});
}

TEST_CASE("device: a linear whose columns are in another order") {
  Context here(1), there(kDevice);
  const Tensor w = random({8, 12}, 3);
  std::vector<int64_t> order(12);
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i * 5 % 12);
  for (int64_t rows : {1, 4}) {
    const Tensor x = random({rows, 12}, 4);
    for (const DType type : {DType::F32, DType::BF16}) {
      const Tensor given = x.to(type);
      const Tensor expected = ops::detail::reordered(here, given, order), got = ops::detail::reordered(there, given.to(kDevice), order);
      CHECK(got.device() == kDevice);
      CHECK((down<float>(got.to(DType::F32)) == down<float>(expected.to(DType::F32))));
    }
  }
}
