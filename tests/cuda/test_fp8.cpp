// Float8: quantisation by blocks, products of e4m3 factors, and FP8 weights that meet rounded rows.
#include <array>

#include "device_agree.h"
#include "grouped_data.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

std::vector<uint8_t> bits_of(const std::vector<float8>& q) {
  std::vector<uint8_t> b;
  for (const float8 v : q) b.push_back(v.bits);
  return b;
}

template <class E>
void check_quantised(int64_t N, int64_t C, int64_t rows, int64_t columns, bool transposed) {
  INFO("N ", N, ", C ", C, ", blocks of ", rows, " x ", columns, ", transposed ", transposed, ", ", name_of(float_type<E>()));
  std::vector<float> values = normal(size(N * C), 1, 3);
  for (int64_t i = 0; i < std::min<int64_t>(N * C, 3); ++i) values[size(i)] = 0;
  const std::vector<E> x = floats_as<E>(values);
  const int64_t P = transposed ? C : N, Q = transposed ? N : C, scales = blocks_of(P, rows) * blocks_of(Q, columns);
  std::vector<float8> q(size(N * C));
  std::vector<float> scale(size(scales));
  OnDevice<E> gx = x;
  OnDevice<uint8_t> gq = std::vector<uint8_t>(size(N * C), 0x7f);
  Floats gscale = scale;
  ref().quantize_blocks_fp8(q.data(), scale.data(), x.data(), N, C, rows, columns, transposed, float_type<E>());
  kernels().quantize_blocks_fp8(reinterpret_cast<float8*>(gq.p()), gscale.p(), gx.p(), N, C, rows, columns, transposed, float_type<E>());
  CHECK(distance(gscale.get(), scale) == 0);
  CHECK(gq.get() == bits_of(q));
}

/// e4m3 codes without a NaN.
std::vector<uint8_t> codes(int64_t n, unsigned seed) {
  std::vector<uint8_t> c;
  for (const float v : normal(size(n), seed, 40)) c.push_back(float_to_f8e4m3(v));
  return c;
}

void check_product(int64_t M, int64_t N, int64_t K, int64_t a_rows, int64_t b_rows, int64_t block, DType c_type, bool accumulate) {
  INFO("M ", M, ", N ", N, ", K ", K, ", rows ", a_rows, " and ", b_rows, ", block ", block, ", ", name_of(c_type), ", accumulate ", accumulate);
  const std::vector<uint8_t> a = codes(M * K, 1), b = codes(N * K, 2);
  const int64_t G = blocks_of(K, block);
  const std::vector<float> a_scale = normal(size(blocks_of(M, a_rows) * G), 3, 0.01f, 0.05f), b_scale = normal(size(blocks_of(N, b_rows) * G), 4, 0.01f, 0.05f);
  const auto run = [&](auto tag) {
    using E = decltype(tag);
    std::vector<E> c = floats_as<E>(normal(size(M * N), 5));
    OnDevice<uint8_t> ga = a, gb = b;
    Floats ga_scale = a_scale, gb_scale = b_scale;
    OnDevice<E> gc = c;
    Fp8MatmulCall call{.c = c.data(), .a = reinterpret_cast<const float8*>(a.data()), .b = reinterpret_cast<const float8*>(b.data())};
    call.a_scale = a_scale.data(), call.b_scale = b_scale.data();
    call.c_type = c_type, call.accumulate = accumulate, call.M = M, call.N = N, call.K = K, call.a_rows = a_rows, call.b_rows = b_rows, call.block = block;
    ref().fp8_matmul(call);
    call.c = gc.p(), call.a = reinterpret_cast<const float8*>(ga.p()), call.b = reinterpret_cast<const float8*>(gb.p());
    call.a_scale = ga_scale.p(), call.b_scale = gb_scale.p();
    kernels().fp8_matmul(call);
    CHECK(distance(gc.get(), c) <= (sizeof(E) == 2 ? 1.0 / 128 : 1e-5) * (1 + largest(c)));
  };
  if (c_type == DType::F32) run(float{});
  else run(bfloat16{});
}

template <class X>
void check_linear(int64_t M, int64_t N, int64_t K, int64_t group) {
  INFO("M ", M, ", N ", N, ", K ", K, ", group ", group, ", ", name_of(float_type<X>()));
  const Weights w(WeightFormat::Fp8, 1, N, K, group);
  const std::vector<X> x = floats_as<X>(normal(size(M * K), 1)), residual = floats_as<X>(normal(size(M * N), 2));
  std::vector<X> y(size(M * N));
  const std::vector<float> bias = normal(size(N), 3);
  OnDevice<X> gx = x, gresidual = residual, gy = y;
  Floats gbias = bias;
  LinearCall c{.y = y.data(), .x = x.data(), .w = w.host[0], .bias = bias.data(), .residual = residual.data(), .type = float_type<X>()};
  c.format = WeightFormat::Fp8, c.act = Activation::Gelu, c.M = M, c.N = N, c.K = K, c.group = group, c.fp8_rows = true;
  ref().linear(c);
  const std::vector<X> exact = [&] {
    std::vector<X> e(y.size());
    LinearCall other = c;
    other.fp8_rows = false, other.y = e.data();
    ref().linear(other);
    return e;
  }();
  if (K > 1) CHECK(distance(y, exact) > 0);  // the flag is looked at
  CHECK(distance(y, exact) <= 0.1 * (1 + largest(exact)));
  c.y = gy.p(), c.x = gx.p(), c.w = w.device_list()[0], c.bias = gbias.p(), c.residual = gresidual.p();
  kernels().linear(c);
  CHECK(distance(gy.get(), y) <= (sizeof(X) == 2 ? 1.0 / 128 : 1e-5) * (1 + largest(y)));
}

template <class X, class Y>
void check_grouped(const std::vector<int64_t>& start, int64_t N, int64_t K, int64_t group, bool gated, bool accumulate) {
  INFO("M ", start.back(), ", N ", N, ", K ", K, ", group ", group, ", gated ", gated, ", accumulate ", accumulate, ", ", name_of(float_type<X>()));
  const int64_t groups = static_cast<int64_t>(start.size()) - 1, M = start.back() + 2;
  const Weights w(WeightFormat::Fp8, groups, gated ? 2 * N : N, K, group);
  const std::vector<X> x = floats_as<X>(normal(size(M * K), 1));
  std::vector<Y> y = floats_as<Y>(normal(size(M * N), 2));
  OnDevice<X> gx = x;
  OnDevice<Y> gy = y;
  Indices gstart = start;
  Addresses<const void> gw(w.device_list());
  GroupedLinearCall c{.y = y.data(), .x = x.data(), .w = w.host.data(), .start = start.data(), .type = float_type<X>(), .y_type = float_type<Y>()};
  c.format = WeightFormat::Fp8, c.act = accumulate ? Activation::None : Activation::Silu, c.gated = gated, c.accumulate = accumulate;
  c.M = M, c.N = N, c.K = K, c.groups = groups, c.group = group, c.fp8_rows = true;
  ref().grouped_linear(c);
  c.y = gy.p(), c.x = gx.p(), c.w = gw.p(), c.start = gstart.p();
  kernels().grouped_linear(c);
  CHECK(distance(gy.get(), y) <= (sizeof(Y) == 2 ? 1.0 / 128 : 1e-5) * (1 + largest(y)));
}

}  // namespace

TEST_CASE("device: quantisation by blocks agrees") {
  for (const auto& [N, C] : std::vector<std::array<int64_t, 2>>{{1, 1}, {3, 7}, {5, 128}, {33, 129}, {130, 260}, {200, 44}})
    for (const auto& [rows, columns] : std::vector<std::array<int64_t, 2>>{{1, 128}, {128, 128}, {1, 32}, {16, 40}, {1, 100000}, {100000, 100000}, {130, 3}})
      for (const bool transposed : {false, true}) {
        check_quantised<float>(N, C, rows, columns, transposed);
        check_quantised<bfloat16>(N, C, rows, columns, transposed);
        check_quantised<float16>(N, C, rows, columns, transposed);
      }
}

TEST_CASE("device: products of e4m3 factors agree") {
  for (const auto& [M, N, K] : std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {7, 9, 31}, {33, 40, 128}, {5, 130, 257}, {60, 16, 400}, {130, 136, 272}})
    for (const auto& [a_rows, b_rows, block] : std::vector<std::array<int64_t, 3>>{{1, 128, 128}, {1, 1, 128}, {128, 128, 256}, {1000, 1000, 1000}, {1, 1, 10000}})
      for (const bool accumulate : {false, true}) {
        check_product(M, N, K, a_rows, b_rows, block, DType::F32, accumulate);
        check_product(M, N, K, a_rows, b_rows, block, DType::BF16, accumulate);
      }
}

TEST_CASE("device: linear layers of FP8 weights with rounded rows agree") {
  for (const int64_t M : {1, 8, 9, 33, 70, 130})
    for (const auto& [N, K, group] : std::vector<std::array<int64_t, 3>>{{1, 1, 32}, {9, 31, 32}, {40, 64, 32}, {24, 200, 64}, {36, 300, 96}, {130, 400, 128}}) {
      check_linear<float>(M, N, K, group);
      check_linear<bfloat16>(M, N, K, group);
      check_linear<float16>(M, N, K, group);
    }
}

TEST_CASE("device: grouped products of FP8 weights with rounded rows agree") {
  for (const std::vector<int64_t>& start : std::vector<std::vector<int64_t>>{{0, 1}, {0, 0, 2, 3, 3, 7}, {0, 33, 33, 34, 99}, {0, 130, 135, 400}})
    for (const auto& [N, K, group] : std::vector<std::array<int64_t, 3>>{{1, 1, 32}, {9, 31, 32}, {24, 200, 64}, {72, 400, 128}})
      for (const bool gated : {false, true}) {
        check_grouped<float, float>(start, N, K, group, gated, false);
        check_grouped<bfloat16, bfloat16>(start, N, K, group, gated, false);
        if (!gated) check_grouped<bfloat16, float>(start, N, K, group, gated, true);
      }
}

// More than one tile of 128 by 128 and more slices of 128 of k than there are stages, each with a remainder.
TEST_CASE("device: products of e4m3 factors with many rows and columns agree") {
  const bool wgmma = by_wgmma();
  const WgmmaLaunches launches;
  for (const auto& [M, N, K] : std::vector<std::array<int64_t, 3>>{{130, 136, 720}, {257, 129, 128}, {70, 300, 97}})
    for (const auto& [a_rows, b_rows, block] : std::vector<std::array<int64_t, 3>>{{1, 128, 128}, {1, 1, 256}, {1000, 1000, 1000}})
      for (const DType type : {DType::F32, DType::BF16}) check_product(M, N, K, a_rows, b_rows, block, type, type == DType::F32);
  launches.check(wgmma);
}

TEST_CASE("device: grouped products of FP8 weights with many rounded rows agree") {
  const std::vector<int64_t> start = {0, 130, 130, 258, 265};
  for (const auto& [N, K] : std::vector<std::array<int64_t, 2>>{{136, 656}, {131, 77}, {64, 128}}) {
    check_grouped<bfloat16, bfloat16>(start, N, K, 128, true, false);
    check_grouped<bfloat16, bfloat16>(start, N, K, 128, false, false);
    check_grouped<float, float>(start, N, K, 128, false, true);
    check_grouped<float16, float16>(start, N, K, 64, false, false);  // its scales change within a slice
  }
  check_linear<bfloat16>(200, 136, 400, 128);
  check_linear<float>(70, 300, 128, 128);
}
