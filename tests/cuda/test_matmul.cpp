// How products and linear layers become cuBLASLt's, and what our own kernel adds to them.
#include <array>

#include "device_agree.h"
#include "grouped_data.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

template <class E, class C>
void check_matmul(bool trans_a, bool trans_b, bool accumulate, int64_t M, int64_t N, int64_t K) {
  const std::vector<E> a = floats_as<E>(normal(size(M * K), 1)), b = floats_as<E>(normal(size(K * N), 2));
  std::vector<C> c = floats_as<C>(normal(size(M * N), 3));
  OnDevice<E> ga = a, gb = b;
  OnDevice<C> gc = c;
  MatmulCall call{.c = c.data(), .a = a.data(), .b = b.data(), .type = float_type<E>(), .c_type = float_type<C>()};
  call.trans_a = trans_a, call.trans_b = trans_b, call.accumulate = accumulate, call.M = M, call.N = N, call.K = K;
  ref().matmul(call);
  call.c = gc.p(), call.a = ga.p(), call.b = gb.p();
  kernels().matmul(call);
  CHECK(distance(gc.get(), c) <= step(c, 1e-5));
}

template <class E>
void check_linear(WeightFormat format, Activation act, bool with_bias, bool with_residual, int64_t M, int64_t N, int64_t K) {
  const std::vector<E> x = as<E>(normal(size(M * K), 1)), residual = as<E>(normal(size(M * N), 2));
  const std::vector<float> w = normal(size(N * K), 3), bias = normal(size(N), 4);
  std::vector<float> packed(size(N * K)), unpacked(size(N * K));
  ref().linear_pack(packed.data(), nullptr, w.data(), DType::F32, format, N, K, 1);
  std::vector<E> y(size(M * N));
  LinearCall call{.y = y.data(), .x = x.data(), .w = packed.data(), .w_scale = nullptr, .bias = with_bias ? bias.data() : nullptr};
  call.residual = with_residual ? residual.data() : nullptr, call.type = type_of<E>(), call.format = format, call.act = act;
  call.M = M, call.N = N, call.K = K;
  ref().linear(call);

  OnDevice<E> gx = x, gr = residual, gy = y;
  Floats gw = w, gb = bias, gpacked = packed, gunpacked = unpacked;
  CHECK(kernels().linear_packed_bytes(format, N, K) == ref().linear_packed_bytes(format, N, K));
  kernels().linear_pack(gpacked.p(), nullptr, gw.p(), DType::F32, format, N, K, 1);
  ref().linear_unpack(unpacked.data(), packed.data(), nullptr, format, N, K);
  kernels().linear_unpack(gunpacked.p(), gpacked.p(), nullptr, format, N, K);
  CHECK(distance(gunpacked.get(), unpacked) == 0);
  call.y = gy.p(), call.x = gx.p(), call.w = gpacked.p(), call.bias = with_bias ? gb.p() : nullptr;
  call.residual = with_residual ? gr.p() : nullptr;
  CHECK(kernels().linear_scratch(call) == 0);
  kernels().linear(call);
  CHECK(distance(gy.get(), y) <= step(y, 2e-5));
  if (!with_residual) return;
  call.y = gr.p();  // the residual's own memory
  kernels().linear(call);
  CHECK(distance(gr.get(), gy.get()) == 0);
}

}  // namespace

TEST_CASE("device: matmul agrees in every orientation and type") {
  for (bool trans_a : {false, true})
    for (bool trans_b : {false, true})
      for (bool accumulate : {false, true})
        for (const auto& [M, N, K] : std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {3, 5, 7}, {16, 8, 24}, {1, 33, 9}}) {
          INFO("trans ", trans_a, trans_b, ", accumulate ", accumulate, ", M ", M, ", N ", N, ", K ", K);
          check_matmul<float, float>(trans_a, trans_b, accumulate, M, N, K);
          check_matmul<bfloat16, float>(trans_a, trans_b, accumulate, M, N, K);
          check_matmul<bfloat16, bfloat16>(trans_a, trans_b, accumulate, M, N, K);
          check_matmul<float, bfloat16>(trans_a, trans_b, accumulate, M, N, K);
          check_matmul<float16, float>(trans_a, trans_b, accumulate, M, N, K);
          check_matmul<float16, float16>(trans_a, trans_b, accumulate, M, N, K);
        }
}

TEST_CASE("device: linear agrees with every bias, residual, activation and pair of types") {
  for (Activation act : {Activation::None, Activation::Gelu, Activation::Silu})
    for (bool bias : {false, true})
      for (bool residual : {false, true})
        for (const auto& [M, N, K] : std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {3, 5, 7}, {4, 16, 32}}) {
          INFO("act ", static_cast<int>(act), ", bias ", bias, ", residual ", residual, ", M ", M, ", N ", N, ", K ", K);
          for (WeightFormat format : {WeightFormat::F32, WeightFormat::BF16}) {
            check_linear<float>(format, act, bias, residual, M, N, K);
            check_linear<bfloat16>(format, act, bias, residual, M, N, K);
          }
        }
}

TEST_CASE("device: rows of different blocks meet different weights") {
  constexpr int64_t M = 7, N = 6, K = 5;
  const std::vector<float> x = normal(size(M * K), 1), w = normal(size(3 * N * K), 2);
  std::vector<float> y(size(M * N));
  Floats gx = x, gw = w, gy = y;
  const auto blocks = [&](const float* weights) {
    return std::vector<LinearBlock>{{0, 2, weights + 2 * N * K}, {2, 3, weights}, {3, 7, weights + N * K}};
  };
  std::vector<LinearBlock> list = blocks(w.data());
  LinearCall call{.y = y.data(), .x = x.data()};
  call.act = Activation::Silu, call.M = M, call.N = N, call.K = K, call.blocks = list.data(), call.num_blocks = 3;
  ref().linear(call);
  list = blocks(gw.p());
  call.y = gy.p(), call.x = gx.p(), call.blocks = list.data();
  kernels().linear(call);
  CHECK(distance(gy.get(), y) <= 1e-5);
}

TEST_CASE("device: what has no kernel is an error that names it") {
  const auto message = [](auto&& body) {
    try {
      body();
    } catch (const Error& e) {
      CHECK(e.code() == ErrorCode::Device);
      return std::string(e.what());
    }
    return std::string("no error");
  };
  CHECK(message([] { kernels().sparse_packed_bytes(4, 64, 32); }) ==
        "[sparse_packed_bytes] there is no kernel for cuda yet; compute this on the cpu");
  CHECK(message([] { kernels().sparse_linear({}); }).find("[sparse_linear]") == 0);
  // Every entry can be called: none is null. The table begins with its name and a flag.
  const auto* entry = reinterpret_cast<void* const*>(&kernels().linear_packed_bytes);
  const auto* end = reinterpret_cast<void* const*>(&kernels() + 1);
  CHECK(end - entry > 40);
  for (; entry < end; ++entry) CHECK(*entry != nullptr);
}

TEST_CASE("device: a linear layer of many rows with all that follows it is one launch of wgmma") {
  const bool there = by_wgmma();
  const WgmmaLaunches launches;
  check_linear<bfloat16>(WeightFormat::BF16, Activation::Gelu, true, true, 520, 600, 72);
  check_linear<bfloat16>(WeightFormat::BF16, Activation::None, true, true, 520, 601, 64);
  launches.check(there);
}
