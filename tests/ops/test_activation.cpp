// Activations against PyTorch's values, their gradients and names.
#include "ops/op_test.h"
#include "tenon/ops/activation.h"

namespace tenon {
namespace {

constexpr Activation kAll[] = {Activation::None, Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu,
                               Activation::Relu, Activation::Tanh, Activation::Silu,     Activation::Sigmoid};

TEST_CASE("activations equal PyTorch's") {
  const std::vector<float> x = {-3, -1, -0.1f, 0, 0.5f, 2, 4};
  const std::vector<std::pair<Activation, std::vector<float>>> table = {
      {Activation::None, x},
      {Activation::Gelu, {-0.00405022f, -0.15865526f, -0.04601722f, 0, 0.34573123f, 1.95449972f, 3.99987364f}},
      {Activation::GeluTanh, {-0.00363743f, -0.15880799f, -0.04601725f, 0, 0.345714f, 1.95459771f, 3.9999299f}},
      {Activation::QuickGelu, {-0.01807131f, -0.15420423f, -0.04575524f, 0, 0.35038844f, 1.93565857f, 3.99558496f}},
      {Activation::Relu, {0, 0, 0, 0, 0.5f, 2, 4}},
      {Activation::Tanh, {-0.99505478f, -0.76159418f, -0.099668f, 0, 0.46211717f, 0.96402758f, 0.99932933f}},
      {Activation::Silu, {-0.14227761f, -0.26894143f, -0.04750208f, 0, 0.31122968f, 1.76159406f, 3.92805505f}},
      {Activation::Sigmoid, {0.04742587f, 0.26894142f, 0.4750208f, 0.5f, 0.62245935f, 0.88079703f, 0.98201376f}}};
  Context ctx;
  for (const auto& entry : table) {
    const Activation act = entry.first;
    const std::vector<float>& want = entry.second;
    CAPTURE(static_cast<int>(act));
    CHECK(test::relative_error(ops::activation(ctx, test::floats(x, {7}), act), test::floats(want, {7})) < 1e-5);
    const Tensor half = ops::activation(ctx, test::floats(x, {7}).to(DType::BF16), act);
    CHECK(half.dtype() == DType::BF16);
    CHECK(test::relative_error(half, test::floats(want, {7})) < 5e-3);
  }
}

TEST_CASE("activation gradients") {
  for (const Activation act : kAll) {
    CAPTURE(static_cast<int>(act));
    Tensor x = test::normal({3, 11}, 1, 1.5f);
    // relu has a corner at 0: stay away from it
    for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] += x.data<float>()[i] < 0 ? -0.2f : 0.2f;
    const auto f = [act](Context& ctx, const std::vector<Tensor>& in) { return ops::activation(ctx, in[0], act); };
    test::check_gradients(f, {x});
    if (act != Activation::None) test::check_bf16_refused("activation", f, {x});
  }
}

TEST_CASE("activation names of Transformers") {
  CHECK(ops::parse_activation("gelu") == Activation::Gelu);
  for (const char* name : {"gelu_new", "gelu_fast", "gelu_pytorch_tanh"}) CHECK(ops::parse_activation(name) == Activation::GeluTanh);
  for (const char* name : {"silu", "swish"}) CHECK(ops::parse_activation(name) == Activation::Silu);
  CHECK(ops::parse_activation("quick_gelu") == Activation::QuickGelu);
  CHECK(ops::parse_activation("relu") == Activation::Relu);
  CHECK(ops::parse_activation("tanh") == Activation::Tanh);
  CHECK(ops::parse_activation("sigmoid") == Activation::Sigmoid);
  test::expect_error(ErrorCode::Format, {"activation", "gelu_pytorch_tanh", "'mish'"}, [] { ops::parse_activation("mish"); });
}

TEST_CASE("activation refuses integers and nothing") {
  Context ctx;
  test::expect_error(ErrorCode::Type, {"activation", "int64"},
                     [&] { ops::activation(ctx, Tensor::zeros({2}, DType::I64), Activation::Relu); });
  test::expect_error(ErrorCode::Type, {"activation", "undefined"}, [&] { ops::activation(ctx, {}, Activation::Relu); });
}

}  // namespace
}  // namespace tenon
