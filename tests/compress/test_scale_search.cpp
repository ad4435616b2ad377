// The search for scales and limits: what it leaves unchanged, and what it makes better.
#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>

#include "tenon/compress/scale_search.h"
#include "tenon/core/random.h"

using namespace tenon;
using compress::ScaleGroup;

namespace {

Tensor random_matrix(int64_t N, int64_t K, uint64_t seed, float std = 1) {
  Random random(seed);
  Tensor t = Tensor::empty({N, K}, DType::F32);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = std * random.normal();
  return t;
}

nn::Linear linear(int64_t in, int64_t out, uint64_t seed) {
  nn::Linear l(in, out, false);
  l.weight = random_matrix(out, in, seed, 0.1f);
  return l;
}

double distance(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.numel(); ++i) sum += std::pow(static_cast<double>(a.data<float>()[i]) - b.data<float>()[i], 2);
  return sum / static_cast<double>(a.numel());
}

/// Hidden states with some channels far larger than the rest.
Tensor with_outliers(int64_t rows, int64_t K, uint64_t seed) {
  Tensor x = random_matrix(rows, K, seed);
  for (int64_t r = 0; r < rows; ++r)
    for (const int64_t k : {3, 40}) x.data<float>()[r * K + k] *= 30;
  return x;
}

}  // namespace

TEST_CASE("scales found on outliers lower the error of rounding, and cancel in exact arithmetic") {
  Context ctx(2);
  const int64_t K = 64;
  nn::Linear a = linear(K, 24, 1), b = linear(K, 16, 2), router = linear(K, 8, 3);
  const Tensor x = with_outliers(128, K, 4);
  Tensor norm = Tensor::empty({K}, DType::F32);
  for (int64_t k = 0; k < K; ++k) norm.data<float>()[k] = 1 + 0.01f * static_cast<float>(k);
  compress::ChannelStatistics seen;
  REQUIRE(seen.add(x));
  ScaleGroup g{.name = "norm", .rounded = {&a, &b}, .others = {&router}, .weight = &norm, .input = &seen};
  const Tensor to = random_matrix(24, 16, 20);
  g.output = [&](Context& c) { return ops::add(c, ops::matmul(c, a.forward(c, x), to), b.forward(c, x)); };
  const Tensor a_before = a.weight.clone(), router_before = router.weight.clone(), norm_before = norm.clone(), y = a.forward(ctx, x);
  const compress::ScaleChoice choice = compress::search_scales(ctx, g, {.group = 32});
  CHECK(distance(a.weight, a_before) == 0);  // as before
  CHECK(choice.loss < 0.7 * choice.plain_loss);
  CHECK(choice.scale[3] > 1);
  CHECK(choice.scale[3] > 1.5 * choice.scale[4]);
  CHECK(choice.ratio > 0);

  compress::apply_scales(g, choice.scale);
  for (int64_t k = 0; k < K; ++k) {  // every consumer of the norm sees what it saw before: the router, too
    CHECK(norm.data<float>()[k] * router.weight.data<float>()[k] ==
          doctest::Approx(norm_before.data<float>()[k] * router_before.data<float>()[k]).epsilon(1e-5));
    CHECK(norm.data<float>()[k] * a.weight.data<float>()[K + k] ==
          doctest::Approx(norm_before.data<float>()[k] * a_before.data<float>()[K + k]).epsilon(1e-5));
  }
}

TEST_CASE("scales go from a Linear's rows to the columns that they make, shared ones too") {
  Context ctx(1);
  nn::Linear value(32, 16, true), output = linear(32, 8, 5);
  value.weight = random_matrix(16, 32, 6);
  value.bias = random_matrix(1, 16, 7).view({16});
  ScaleGroup g{.name = "values", .rounded = {&output}, .previous = &value};
  for (int64_t c = 0; c < 16; ++c) g.row.push_back(c);
  for (int64_t k = 0; k < 32; ++k) g.channel.push_back(k % 16);  // two heads of queries share each value
  const Tensor x = random_matrix(5, 32, 8);
  const auto whole = [&] {
    const Tensor v = value.forward(ctx, x);
    Tensor twice = Tensor::empty({5, 32}, DType::F32);
    for (int64_t i = 0; i < 5 * 32; ++i) twice.data<float>()[i] = v.data<float>()[i / 32 * 16 + i % 16];
    return output.forward(ctx, twice);
  };
  const Tensor before = whole();
  std::vector<float> s;
  for (int c = 0; c < 16; ++c) s.push_back(0.5f + static_cast<float>(c));
  compress::apply_scales(g, s);
  const Tensor after = whole();
  for (int64_t i = 0; i < before.numel(); ++i) CHECK(after.data<float>()[i] == doctest::Approx(before.data<float>()[i]).epsilon(1e-4));
  s[2] = 0;
  CHECK_THROWS_AS(compress::apply_scales(g, s), Error);
  CHECK_THROWS_AS(compress::apply_scales(g, {1.0f}), Error);
}

TEST_CASE("weights are as before when the block throws") {
  Context ctx(1);
  nn::Linear a = linear(32, 8, 9);
  Tensor norm = Tensor::zeros({32}, DType::F32);
  const uint64_t id = a.weight.id();
  compress::ChannelStatistics seen;
  seen.add(random_matrix(4, 32, 10));
  int calls = 0;
  ScaleGroup g{.name = "norm", .rounded = {&a}, .weight = &norm, .input = &seen};
  g.output = [&](Context&) -> Tensor {
    if (++calls > 2) throw std::runtime_error("no");
    return Tensor::zeros({1, 1}, DType::F32);
  };
  CHECK_THROWS_AS(compress::search_scales(ctx, g, {.group = 32}), std::runtime_error);
  CHECK(a.weight.id() == id);
}

TEST_CASE("SmoothQuant's scales move outliers from the input to the weight") {
  nn::Linear a = linear(64, 8, 11);
  Tensor norm = Tensor::zeros({64}, DType::F32);
  compress::ChannelStatistics seen;
  seen.add(with_outliers(64, 64, 12));
  ScaleGroup g{.name = "norm", .rounded = {&a}, .weight = &norm, .input = &seen};
  const std::vector<float> s = compress::smooth_scales(g, 0.5f);
  float most = 0;
  for (int64_t n = 0; n < 8; ++n) most = std::max(most, std::fabs(a.weight.data<float>()[n * 64 + 3]));
  CHECK(s[3] == doctest::Approx(std::sqrt(seen.most[3] / most)).epsilon(1e-4));
  CHECK(s[3] > 3 * s[4]);
  CHECK_THROWS_AS(compress::smooth_scales(g, 1.5f), Error);
}

TEST_CASE("limits lower the error of the output on the tokens they were found on") {
  Context ctx(2);
  const int64_t K = 64;
  const Tensor x = random_matrix(200, K, 13);
  nn::Linear plain = linear(K, 32, 14);
  for (int64_t n = 0; n < 32; ++n) plain.weight.data<float>()[n * K + n] *= 6;  // one weight of a row stretches its group's range
  const Tensor w = plain.weight.clone();
  const Tensor wanted = plain.forward(ctx, x);
  const auto error = [&](const Tensor& weight) {
    quant::QuantizedMatrix m = quant::round_to_nearest(ctx, weight, WeightFormat::Int4, 32);
    compress::refit_scales(ctx, m, w, x);
    nn::Linear l(K, 32, false);
    l.weight = quant::dequantize(ctx, m);
    return distance(l.forward(ctx, x), wanted);
  };
  Tensor cut = w.clone();
  const double share = compress::search_clip(ctx, cut, x, {.group = 32});
  CHECK(share > 0);
  CHECK(share <= 1);
  CHECK(error(cut) < error(w));
}

TEST_CASE("scales fitted to the codes: no other scale of a group is nearer to its product") {
  Context ctx;
  constexpr int64_t N = 6, K = 96, kGroup = 32;
  const Tensor w = random_matrix(N, K, 21, 0.1f);
  Tensor x = with_outliers(50, K, 22);
  for (int64_t r = 0; r < 50; ++r) std::fill_n(x.data<float>() + r * K + 2 * kGroup, kGroup, 0.0f);  // nothing is known of the last group
  for (const bool symmetric : {false, true}) {
    quant::QuantizedMatrix m = quant::round_to_nearest(ctx, w, WeightFormat::Int4, kGroup, symmetric);
    const Tensor before = m.scale.clone();
    // Of one row: the error of group g alone, with its scale times `factor`.
    const auto error = [&](const quant::QuantizedMatrix& q, int64_t n, int64_t g, float factor) {
      const Tensor d = quant::dequantize(ctx, q);
      double sum = 0;
      for (int64_t r = 0; r < 50; ++r) {
        double of_row = 0;
        for (int64_t k = g * kGroup; k < (g + 1) * kGroup; ++k)
          of_row += (static_cast<double>(d.data<float>()[n * K + k]) * factor - w.data<float>()[n * K + k]) * x.data<float>()[r * K + k];
        sum += of_row * of_row;
      }
      return sum;
    };
    const quant::QuantizedMatrix rounded = [&] { auto copy = m; copy.scale = before; return copy; }();
    compress::refit_scales(ctx, m, w, x);
    bool changed = false;
    for (int64_t n = 0; n < N; ++n) {
      for (int64_t g = 0; g < 2; ++g) {
        const double fitted = error(m, n, g, 1);
        CHECK(fitted <= error(rounded, n, g, 1) * (1 + 1e-4));
        for (const float factor : {0.99f, 1.01f}) CHECK(fitted <= error(m, n, g, factor));
        changed |= m.scale.data<float>()[n * 3 + g] != before.data<float>()[n * 3 + g];
      }
      CHECK(m.scale.data<float>()[n * 3 + 2] == before.data<float>()[n * 3 + 2]);
    }
    CHECK(changed);
  }
  quant::QuantizedMatrix other = quant::round_to_nearest(ctx, w, WeightFormat::Int4, kGroup);
  CHECK_THROWS_AS(compress::refit_scales(ctx, other, random_matrix(N, K + 1, 1), x), Error);
}

TEST_CASE("statistics leave out what is not finite") {
  compress::ChannelStatistics seen;
  Tensor x = random_matrix(3, 4, 15);
  REQUIRE(seen.add(x));
  const std::vector<float> mean = seen.mean();
  x.data<float>()[5] = NAN;
  CHECK_FALSE(seen.add(x));
  CHECK(seen.rows == 3);
  CHECK(seen.mean() == mean);
}
