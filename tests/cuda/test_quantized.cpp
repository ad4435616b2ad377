// Linear layers with packed weights: few rows, tiles of many, every epilogue.
#include <array>
#include <type_traits>

#include "grouped_data.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

template <class E>
void check_linear(WeightFormat format, Activation act, bool with_bias, bool with_residual, int64_t M, int64_t N, int64_t K, int64_t group) {
  INFO("format ", static_cast<int>(format), ", ", name_of(float_type<E>()), ", act ", static_cast<int>(act), ", bias ", with_bias, ", residual ",
       with_residual, ", M ", M, ", N ", N, ", K ", K, ", group ", group);
  const Weights w(format, 1, N, K, group);
  const std::vector<E> x = floats_as<E>(normal(size(M * K), 1)), residual = floats_as<E>(normal(size(M * N), 2));
  const std::vector<float> bias = normal(size(N), 3);
  std::vector<E> y(size(M * N));
  LinearCall c{.y = y.data(), .x = x.data(), .w = w.host[0], .w_scale = w.host_scale[0], .bias = with_bias ? bias.data() : nullptr};
  c.residual = with_residual ? residual.data() : nullptr, c.type = float_type<E>(), c.format = format, c.act = act;
  c.M = M, c.N = N, c.K = K, c.group = group;
  Scratch scratch(ref().linear_scratch(c));
  c.scratch = scratch.data();
  ref().linear(c);
  OnDevice<E> gx = x, gy = y, gresidual = residual;
  Floats gbias = bias;
  c.y = gy.p(), c.x = gx.p(), c.w = w.device_list()[0], c.w_scale = w.device_scales()[0], c.bias = with_bias ? gbias.p() : nullptr;
  c.residual = with_residual ? gresidual.p() : nullptr, c.scratch = nullptr;
  CHECK(kernels().linear_scratch(c) == 0);
  kernels().linear(c);
  CHECK(distance(gy.get(), y) <= bound<E>(y, format, K));
  if (!with_residual) return;
  c.y = gresidual.p();
  kernels().linear(c);
  CHECK(distance(gresidual.get(), gy.get()) == 0);
}

constexpr std::array kFormats = {WeightFormat::Int4, WeightFormat::Fp8, WeightFormat::Int8};

}  // namespace

TEST_CASE("device: linear agrees for packed weights, from one row to several tiles") {
  for (const WeightFormat format : kFormats)
    for (const auto& [M, N, K, group] : std::vector<std::array<int64_t, 4>>{{1, 1, 1, 32},
                                                                            {1, 17, 32, 32},
                                                                            {3, 40, 1056, 128},
                                                                            {4, 9, 1025, 64},
                                                                            {7, 33, 63, 32},
                                                                            {8, 16, 4096, 128},
                                                                            {9, 130, 96, 32},
                                                                            {49, 129, 160, 128},
                                                                            {131, 257, 72, 96}}) {
      check_linear<float>(format, Activation::None, false, false, M, N, K, group);
      check_linear<bfloat16>(format, Activation::None, false, false, M, N, K, group);
      if (format != WeightFormat::Int8) check_linear<float16>(format, Activation::None, false, false, M, N, K, group);
    }
}

TEST_CASE("device: bias, activation and residual of linear layers with packed weights agree") {
  for (const WeightFormat format : kFormats)
    for (const int64_t M : {int64_t{2}, int64_t{50}})
      for (const bool bias : {false, true})
        for (const bool residual : {false, true})
          for (const Activation act : {Activation::None, Activation::Gelu}) {
            check_linear<float>(format, act, bias, residual, M, 24, 64, 32);
            check_linear<bfloat16>(format, act, bias, residual, M, 24, 64, 32);
          }
}

TEST_CASE("device: packed int8 weights agree, of every type of float") {
  const std::vector<float> w = normal(3 * 17, 1);
  const auto check = [&](auto tag, DType type) {
    using E = decltype(tag);
    std::vector<float> v = w;
    std::fill_n(v.begin() + 17, 17, 0.0f);
    const std::vector<E> from = floats_as<E>(v);
    std::vector<int8_t> packed(3 * 17);
    std::vector<float> scale(3);
    ref().linear_pack(packed.data(), scale.data(), from.data(), type, WeightFormat::Int8, 3, 17, 1);
    OnDevice<E> gfrom = from;
    OnDevice<int8_t> gpacked = std::vector<int8_t>(packed.size(), 99);
    Floats gscale = std::vector<float>(3);
    kernels().linear_pack(gpacked.p(), gscale.p(), gfrom.p(), type, WeightFormat::Int8, 3, 17, 1);
    CHECK(gpacked.get() == packed);
    CHECK(gscale.get() == scale);
    Floats unpacked = std::vector<float>(v.size());
    kernels().linear_unpack(unpacked.p(), gpacked.p(), gscale.p(), WeightFormat::Int8, 3, 17);
    CHECK(distance(unpacked.get(), v) <= 0.02);
  };
  check(float{}, DType::F32);
  check(bfloat16{}, DType::BF16);
  check(float16{}, DType::F16);
}
