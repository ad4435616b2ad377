// What the tests of ops share: random tensors, comparisons, expected errors, and gradients against finite differences.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/train/tape.h"

namespace tenon::test {

inline Tensor normal(const Shape& shape, uint64_t seed, float scale = 1) {
  Random random(seed, 7);
  Tensor t = Tensor::empty(shape, DType::F32);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = scale * random.normal();
  return t;
}

inline Tensor floats(const std::vector<float>& values, const Shape& shape) { return Tensor::from(values, shape); }

inline std::vector<float> values(const Tensor& t) {
  const Tensor f = t.to(DType::F32);
  const auto v = f.values<float>();
  return {v.begin(), v.end()};
}

/// Largest difference over the largest magnitude of `want`; infinite for a NaN or another shape.
inline double relative_error(const Tensor& got, const Tensor& want) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (!got.defined() || got.shape() != want.shape()) return kInfinity;
  const std::vector<float> a = values(got), b = values(want);
  double difference = 0, largest = 1e-30;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i])) return kInfinity;
    difference = std::max(difference, std::fabs(static_cast<double>(a[i]) - b[i]));
    largest = std::max(largest, std::fabs(static_cast<double>(b[i])));
  }
  return difference / largest;
}

/// The error that f throws must have this code, and its message each of the parts.
template <class F>
void expect_error(ErrorCode code, const std::vector<std::string>& parts, F&& f) {
  try {
    f();
  } catch (const Error& e) {
    INFO(e.what());
    CHECK(e.code() == code);
    for (const std::string& part : parts) CHECK_MESSAGE(std::string(e.what()).find(part) != std::string::npos, part);
    return;
  }
  FAIL("expected an error");
}

using Function = std::function<Tensor(Context&, const std::vector<Tensor>&)>;

/// sum(weights * f(inputs)), in double.
inline double weighted(const Function& f, const std::vector<Tensor>& inputs, const Tensor& weights) {
  Context ctx(1);
  const Tensor y = f(ctx, inputs);
  double sum = 0;
  for (int64_t i = 0; i < y.numel(); ++i) sum += static_cast<double>(y.data<float>()[i]) * weights.data<float>()[i];
  return sum;
}

/// Checks the gradients of all inputs against differences of four points around each element; the tape's are computed with one
/// thread and with three, and once for each input alone, as if the others were constants.
/// Units: `tolerance` is relative to the largest element of a gradient.
inline void check_gradients(const Function& f, const std::vector<Tensor>& inputs, double tolerance = 3e-3, float step = 0.02f) {
  Context plain(1);
  const Tensor y = f(plain, inputs), weights = normal(y.shape(), 99);
  const auto from_tape = [&](int threads, int only) {
    Context ctx(threads);
    train::Tape tape;
    for (size_t i = 0; i < inputs.size(); ++i)
      if (only < 0 || only == static_cast<int>(i)) tape.watch(inputs[i]);
    ctx.set_recorder(&tape);
    const Tensor recorded = f(ctx, inputs);
    CHECK(relative_error(recorded, y) < 1e-6);
    tape.backward(ctx, recorded, weights);
    std::vector<Tensor> grads;
    for (const Tensor& t : inputs) grads.push_back(tape.grad(t));
    return grads;
  };
  const std::vector<Tensor> grads = from_tape(1, -1), threaded = from_tape(3, -1);
  for (size_t i = 0; i < inputs.size(); ++i) {
    CAPTURE(i);
    Tensor want = Tensor::empty(inputs[i].shape(), DType::F32);
    for (int64_t j = 0; j < want.numel(); ++j) {
      const auto at = [&](float offset) {
        std::vector<Tensor> moved = inputs;
        moved[i] = inputs[i].clone();
        moved[i].data<float>()[j] += offset;
        return weighted(f, moved, weights);
      };
      want.data<float>()[j] = static_cast<float>((8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step));
    }
    REQUIRE(grads[i].defined());
    CHECK(relative_error(grads[i], want) < tolerance);
    CHECK(relative_error(threaded[i], grads[i]) < 1e-5);
    const std::vector<Tensor> alone = from_tape(2, static_cast<int>(i));
    CHECK(relative_error(alone[i], grads[i]) < 1e-5);
    for (size_t other = 0; other < inputs.size(); ++other)
      if (other != i) CHECK_FALSE(alone[other].defined());
  }
}

/// f must refuse to record: the message names `op`.
inline void check_no_gradient(const std::string& op, const Function& f, const std::vector<Tensor>& inputs) {
  Context ctx;
  train::Tape tape;
  for (const Tensor& t : inputs) tape.watch(t);
  ctx.set_recorder(&tape);
  expect_error(ErrorCode::Type, {op, "gradient"}, [&] { f(ctx, inputs); });
}

/// A tensor of another type than float32 that wants a gradient, as only a recorder of another kind can say.
struct WantsAll : Recorder {
  bool wants(const Tensor&) const override { return true; }
  void record(std::string_view, std::vector<Tensor>, std::vector<Tensor>, Backward) override {}
};

/// f on inputs rounded to bfloat16 that want a gradient must name the op and the type.
inline void check_bf16_refused(const std::string& op, const Function& f, std::vector<Tensor> inputs) {
  for (Tensor& t : inputs) t = t.to(DType::BF16);
  Context ctx;
  WantsAll recorder;
  ctx.set_recorder(&recorder);
  expect_error(ErrorCode::Type, {op, "gradient", "bfloat16"}, [&] { f(ctx, inputs); });
}

}  // namespace tenon::test
