// Rounding and back agrees with the matrices that are written, and GPTQ with what it is for.
#include <doctest/doctest.h>

#include <cmath>

#include "tenon/compress/gptq.h"
#include "tenon/compress/rounding.h"
#include "tenon/core/random.h"
#include "tenon/quant/dequantize.h"

using namespace tenon;
using compress::Rounding;

namespace {

Tensor random_matrix(int64_t N, int64_t K, uint64_t seed, float std = 1) {
  Random random(seed);
  Tensor t = Tensor::empty({N, K}, DType::F32);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = std * random.normal();
  return t;
}

/// Rows whose columns depend on each other, as hidden states do.
Tensor correlated(int64_t rows, int64_t K, uint64_t seed) {
  const Tensor z = random_matrix(rows, K, seed), mix = random_matrix(K, K, seed + 1, 0.5f);
  Tensor x = z.clone();
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t k = 0; k < K; ++k)
      for (int64_t j = 0; j < K / 4; ++j) x.data<float>()[n * K + k] += z.data<float>()[n * K + j] * mix.data<float>()[j * K + k];
  return x;
}

/// |x (a - b)^T|^2
double output_error(const Tensor& x, const Tensor& a, const Tensor& b) {
  const int64_t N = a.size(0), K = a.size(1);
  double sum = 0;
  for (int64_t r = 0; r < x.size(0); ++r)
    for (int64_t n = 0; n < N; ++n) {
      double dot = 0;
      for (int64_t k = 0; k < K; ++k)
        dot += static_cast<double>(x.data<float>()[r * K + k]) * (a.data<float>()[n * K + k] - b.data<float>()[n * K + k]);
      sum += dot * dot;
    }
  return sum;
}

}  // namespace

TEST_CASE("rounding there and back is what the written matrix holds") {
  Context ctx(2);
  const Tensor w = random_matrix(24, 96, 1, 0.02f);
  for (const bool symmetric : {false, true}) {
    const Tensor back = quant::dequantize(quant::round_to_nearest(ctx, w, WeightFormat::Int4, 32, symmetric));
    Tensor mine = Tensor::empty(w.shape(), DType::F32);
    compress::round_weights(ctx, mine.data<float>(), w.data<float>(), nullptr, 24, 96, {.group = 32, .symmetric = symmetric});
    for (int64_t i = 0; i < w.numel(); ++i) REQUIRE(std::as_const(mine).data<float>()[i] == back.data<float>()[i]);
  }
  Tensor int8 = w.clone();
  compress::round_weights(ctx, int8.data<float>(), int8.data<float>(), nullptr, 24, 96, {.format = WeightFormat::Int8});
  const Tensor int8_back = compress::dequantize(compress::to_int8(ctx, w));
  for (int64_t i = 0; i < w.numel(); ++i) REQUIRE(int8.data<float>()[i] == int8_back.data<float>()[i]);
  Tensor fp8 = w.clone();
  compress::round_weights(ctx, fp8.data<float>(), fp8.data<float>(), nullptr, 24, 96, {.format = WeightFormat::Fp8, .group = 32});
  const Tensor fp8_back = quant::dequantize(quant::round_to_blocks(ctx, w, 32));
  for (int64_t i = 0; i < w.numel(); ++i) REQUIRE(fp8.data<float>()[i] == fp8_back.data<float>()[i]);
}

TEST_CASE("scales stand beside the rounding and cancel without it") {
  Context ctx(1);
  const Tensor w = random_matrix(8, 32, 2);
  std::vector<float> s;
  for (int k = 0; k < 32; ++k) s.push_back(0.25f + 0.125f * static_cast<float>(k));
  Tensor scaled = w.clone(), rounded = Tensor::empty(w.shape(), DType::F32);
  for (int64_t i = 0; i < w.numel(); ++i) scaled.data<float>()[i] *= s[static_cast<size_t>(i % 32)];
  const Tensor plain = quant::dequantize(quant::round_to_nearest(ctx, scaled, WeightFormat::Int4, 32));
  compress::round_weights(ctx, rounded.data<float>(), w.data<float>(), s.data(), 8, 32, {.group = 32});
  for (int64_t i = 0; i < w.numel(); ++i)
    CHECK(rounded.data<float>()[i] == doctest::Approx(plain.data<float>()[i] / s[static_cast<size_t>(i % 32)]).epsilon(1e-5));
}

TEST_CASE("shapes that the formats cannot hold are refused by name") {
  CHECK(Rounding{.group = 128}.refuses(256, 256).empty());
  CHECK(Rounding{.group = 128}.refuses(256, 192).find("multiple of the group size 128") != std::string::npos);
  CHECK(Rounding{.group = 32}.refuses(12, 64).find("8 codes") != std::string::npos);
  CHECK(Rounding{.format = WeightFormat::Int8}.refuses(3, 5).empty());
  CHECK(Rounding{.format = WeightFormat::Fp8}.refuses(3, 5).empty());
  Context ctx(1);
  Tensor w = random_matrix(2, 8, 3);
  w.data<float>()[11] = NAN;
  CHECK_THROWS_WITH_AS(compress::to_int8(ctx, w), doctest::Contains("row 1"), Error);
}

TEST_CASE("gptq on inputs that do not depend on each other is plain rounding") {
  Context ctx(2);
  const int64_t K = 64;
  const Tensor w = random_matrix(16, K, 4);
  Tensor x = Tensor::zeros({K, K}, DType::F32);
  for (int64_t k = 0; k < K; ++k) x.data<float>()[k * K + k] = 2;
  compress::Hessian h(K);
  REQUIRE(h.add(ctx, x));
  for (const bool symmetric : {false, true}) {
    const auto got = compress::gptq(ctx, w, h, {.group = 32, .symmetric = symmetric}).matrix;
    const auto plain = quant::round_to_nearest(ctx, w, WeightFormat::Int4, 32, symmetric);
    for (int64_t n = 0; n < 16; ++n)
      for (int64_t k = 0; k < K; ++k) REQUIRE(got.code(n, k) == plain.code(n, k));
  }
}

TEST_CASE("gptq loses less of the output than plain rounding") {
  Context ctx(2);
  const int64_t K = 160;  // more than a block of columns
  const Tensor w = random_matrix(24, K, 5), x = correlated(400, K, 6), other = correlated(100, K, 6);
  compress::Hessian h(K);
  REQUIRE(h.add(ctx, x));
  CHECK(h.rows() == 400);
  const double plain = output_error(other, w, quant::dequantize(quant::round_to_nearest(ctx, w, WeightFormat::Int4, 32)));
  const auto result = compress::gptq(ctx, w, h, {.group = 32, .symmetric = false});
  CHECK(output_error(other, w, quant::dequantize(result.matrix)) < 0.6 * plain);
  const auto ordered = compress::gptq(ctx, w, h, {.group = 32, .symmetric = false, .desc_act = true});
  CHECK(ordered.matrix.order.size() == 160);
  quant::check_matrix(ordered.matrix);
  CHECK(output_error(other, w, quant::dequantize(ordered.matrix)) < 0.6 * plain);
}

TEST_CASE("gptq survives channels that are always zero, and names what it cannot do") {
  Context ctx(1);
  const Tensor w = random_matrix(8, 32, 7);
  Tensor x = random_matrix(40, 32, 8);
  for (int64_t r = 0; r < 40; ++r) x.data<float>()[r * 32 + 5] = 0;
  compress::Hessian h(32);
  REQUIRE(h.add(ctx, x));
  const Tensor back = quant::dequantize(compress::gptq(ctx, w, h, {.group = 32}).matrix);
  for (int64_t n = 0; n < 8; ++n) CHECK(back.data<float>()[n * 32 + 5] == 0);
  CHECK_THROWS_WITH_AS(compress::gptq(ctx, w, compress::Hessian(32)), doctest::Contains("got none"), Error);
  CHECK_THROWS_AS(compress::gptq(ctx, w, compress::Hessian(16)), Error);
  x.data<float>()[0] = INFINITY;
  CHECK_FALSE(h.add(ctx, x));
  CHECK(h.rows() == 40);
}
