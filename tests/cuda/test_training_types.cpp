// Training in float8 and in 16 bits on a device: linear layers and experts against the CPU, attention against float32.
#include <cmath>

#include "device_test.h"
#include "ops/op_test.h"
#include "tenon/ops/attention.h"
#include "tenon/ops/gated_experts.h"
#include "tenon/ops/linear.h"

using namespace tenon;
using namespace tenon::device_test;

namespace {

using Tensors = std::vector<Tensor>;

/// y and the gradients of f's inputs, computed on a device, in the host's memory.
template <class F>
Tensors step(Device device, DType type, const Tensors& inputs, const Tensor& dy, F&& f, Fp8Scaling scaling = Fp8Scaling::Block) {
  Context ctx = device.is_cpu() ? Context(2) : Context(device);
  ctx.set_training({.matmul = type, .fp8_scaling = scaling});
  train::Tape tape;
  Tensors in;
  for (const Tensor& t : inputs) {
    in.push_back(t.to(device));
    tape.watch(in.back());
  }
  ctx.set_recorder(&tape);
  const Tensor y = f(ctx, in);
  CHECK(y.dtype() == DType::F32);
  tape.backward(ctx, y, dy.to(device));
  Tensors found = {y.to(Device{})};
  for (const Tensor& t : in) found.push_back(tape.grad(t).to(Device{}));
  return found;
}

/// |a - b| / |b| over all elements.
double distance(const Tensor& a, const Tensor& b) {
  const std::vector<float> x = test::values(a), y = test::values(b);
  REQUIRE(x.size() == y.size());
  double difference = 0, length = 0;
  for (size_t i = 0; i < x.size(); ++i) difference += (x[i] - y[i]) * (x[i] - y[i]), length += y[i] * y[i];
  return std::sqrt(difference / length);
}

}  // namespace

TEST_CASE("device: linear layers train in float8 as on the CPU") {
  const Tensor x = test::normal({140, 150}, 1), w = test::normal({130, 150}, 2), bias = test::normal({130}, 3), dy = test::normal({140, 130}, 4);
  for (const Fp8Scaling scaling : {Fp8Scaling::Block, Fp8Scaling::Tensor})
    for (const bool in_out : {false, true}) {
      CAPTURE(in_out);
      const Tensors in = {x, in_out ? test::normal({150, 130}, 5) : w, bias};
      const auto layer = [&](Context& c, const Tensors& t) { return ops::linear(c, t[0], t[1], t[2], Activation::None, {}, in_out); };
      const Tensors got = step(kDevice, DType::F8E4M3, in, dy, layer, scaling), want = step({}, DType::F8E4M3, in, dy, layer, scaling);
      for (size_t i = 0; i < got.size(); ++i) CHECK(test::relative_error(got[i], want[i]) < 1e-5);
    }
}

TEST_CASE("device: linear layers train in float16") {
  const Tensor x = test::normal({33, 20}, 1), w = test::normal({17, 20}, 2), dy = test::normal({33, 17}, 4);
  const auto rounded = [](const Tensor& t) {
    Tensor y = t.clone();
    for (int64_t i = 0; i < y.numel(); ++i) y.data<float>()[i] = float16::from(y.data<float>()[i]);
    return y;
  };
  const auto layer = [](Context& c, const Tensors& t) { return ops::linear(c, t[0], t[1], {}); };
  const Tensors got = step(kDevice, DType::F16, {x, w}, dy, layer), want = step({}, DType::F32, {rounded(x), rounded(w)}, rounded(dy), layer),
                exact = step({}, DType::F32, {x, w}, dy, layer);
  for (size_t i = 0; i < got.size(); ++i) {
    CHECK(test::relative_error(got[i], want[i]) < 1e-5);
    CHECK(distance(got[i], exact[i]) > 1e-5);
  }
}

TEST_CASE("device: experts train in float8 and float16") {
  constexpr int64_t N = 40, C = 24, F = 20, E = 3;
  Tensors in = {test::normal({N, C}, 1), test::normal({N, E}, 2)};
  for (int64_t e = 0; e < E; ++e)
    for (const Shape& shape : {Shape{F, C}, Shape{F, C}, Shape{C, F}}) in.push_back(test::normal(shape, static_cast<uint64_t>(10 + in.size()), 0.3f));
  const Tensor dy = test::normal({N, C}, 9);
  const auto mixture = [](Context& ctx, const Tensors& t) {
    const ops::Routing r = ops::route(ctx, t[1], {}, {.top_k = 2, .normalize = true});
    std::vector<ops::GatedExpert> experts;
    for (size_t e = 0; e < E; ++e) experts.push_back({t[2 + 3 * e], t[3 + 3 * e], t[4 + 3 * e]});
    return ops::gated_experts(ctx, t[0], experts, Activation::Silu, ops::ExpertRows(r), r, {});
  };
  const Tensors got = step(kDevice, DType::F8E4M3, in, dy, mixture), want = step({}, DType::F8E4M3, in, dy, mixture),
                half = step(kDevice, DType::F16, in, dy, mixture), exact = step({}, DType::F32, in, dy, mixture);
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    CHECK(distance(got[i], want[i]) < 1e-3);  // a sum in another order may round to the other neighbour
    CHECK(distance(half[i], exact[i]) > 1e-6);
    CHECK(distance(half[i], exact[i]) < 2e-3);
  }
}

TEST_CASE("device: attention trains in 16 bits where products do") {
  constexpr int64_t H = 4, Hkv = 2, D = 24, Dv = 16, N = 90;
  const std::vector<int64_t> starts = {0, 70, 71, N};
  const std::vector<float> bias = test::values(test::normal({N}, 5));
  const Tensors in = {test::normal({N, H * D}, 1), test::normal({N, Hkv * D}, 2), test::normal({N, Hkv * Dv}, 3)};
  const Tensor dy = test::normal({N, H * Dv}, 4);
  const auto run = [&](bool causal, bool with_bias) {
    return [&, causal, with_bias](Context& c, const Tensors& t) {
      return ops::attention(c, t[0], t[1], t[2],
                            {.heads = H, .kv_heads = Hkv, .causal = causal, .q_start = starts, .k_start = starts, .key_bias = with_bias ? bias.data() : nullptr});
    };
  };
  for (const auto& [causal, with_bias] : {std::pair{false, false}, {true, false}, {true, true}}) {
    CAPTURE(causal);
    const Tensors exact = step({}, DType::F32, in, dy, run(causal, with_bias)), same = step(kDevice, DType::F32, in, dy, run(causal, with_bias));
    for (size_t i = 0; i < exact.size(); ++i) CHECK(distance(same[i], exact[i]) < 1e-5);
    for (const auto& [type, most] : {std::pair{DType::BF16, 0.01}, {DType::F16, 0.0015}, {DType::F8E4M3, 0.01}}) {
      INFO(name_of(type));
      const Tensors got = step(kDevice, type, in, dy, run(causal, with_bias));
      for (size_t i = 0; i < got.size(); ++i) {
        CHECK(distance(got[i], exact[i]) > 1e-5);
        CHECK(distance(got[i], exact[i]) < most);
      }
    }
  }
}
