// Layers whose weights are mostly zero: packed without their zeros, alone and fused, with the same results.
#include "ops/op_test.h"
#include "tenon/nn/linear.h"

namespace tenon {
namespace {

nn::Linear layer(int64_t in, int64_t out, uint32_t keep_every, uint64_t seed) {
  nn::Linear l(in, out);
  l.weight = test::normal({out, in}, seed);
  l.bias = test::normal({out}, seed + 1);
  Random random(seed);
  for (int64_t i = 0; i < l.weight.numel(); ++i)
    if (random.next() % keep_every) l.weight.data<float>()[i] = 0;
  return l;
}

TEST_CASE("a layer with an eighth of its weights is packed without zeros and gives the same") {
  Context ctx(2);
  const Tensor x = test::normal({3, 7, 96}, 1), residual = test::normal({3, 7, 50}, 2);
  for (const WeightFormat format : {WeightFormat::F32, WeightFormat::BF16, WeightFormat::Int8}) {
    nn::Linear thin = layer(96, 50, 8, 3), whole = layer(96, 50, 1, 4);
    const Tensor want = thin.forward(ctx, x, Activation::Gelu, residual);
    thin.pack(ctx, format);
    whole.pack(ctx, format);
    CHECK(thin.packed.sparse == (format != WeightFormat::Int8));
    CHECK_FALSE(whole.packed.sparse);
    CHECK(test::relative_error(thin.forward(ctx, x, Activation::Gelu, residual), want) < (format == WeightFormat::Int8 ? 2e-2 : 1e-5));
    thin.unpack();
    CHECK_FALSE(thin.packed.defined());
  }
}

TEST_CASE("layers above each other are packed without zeros together, if all together have few") {
  Context ctx;
  const Tensor x = test::normal({5, 64}, 1);
  nn::Linear q = layer(64, 40, 8, 1), k = layer(64, 24, 9, 3), v = layer(64, 40, 1, 5);
  nn::FusedLinear thin, mixed;
  std::vector<nn::Linear*> two = {&q, &k}, three = {&q, &k, &v};
  thin.pack(ctx, two, WeightFormat::F32);
  mixed.pack(ctx, three, WeightFormat::F32);
  CHECK(thin.packed.sparse);
  CHECK_FALSE(mixed.packed.sparse);
  const Tensor y = thin.forward(ctx, x, {&q, &k}), y_q = q.forward(ctx, x), y_k = k.forward(ctx, x);
  for (int64_t n = 0; n < 5; ++n) {
    for (int64_t c = 0; c < 40; ++c) CHECK(y.data<float>()[n * 64 + c] == doctest::Approx(y_q.data<float>()[n * 40 + c]).epsilon(1e-4));
    for (int64_t c = 0; c < 24; ++c)
      CHECK(y.data<float>()[n * 64 + 40 + c] == doctest::Approx(y_k.data<float>()[n * 24 + c]).epsilon(1e-4));
  }
}

}  // namespace
}  // namespace tenon
