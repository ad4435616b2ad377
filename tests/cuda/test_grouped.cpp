// Rows that meet the weights of their groups in one launch: every kind of row, weight and tile, and the gradients.
#include <array>
#include <type_traits>

#include "device_agree.h"
#include "grouped_data.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

template <class X, class Y>
void check_grouped(WeightFormat format, const std::vector<int64_t>& start, int64_t N, int64_t K, int64_t group, bool gated, bool transposed,
                   bool accumulate) {
  INFO("format ", static_cast<int>(format), ", x ", name_of(float_type<X>()), ", y ", name_of(float_type<Y>()), ", M ", start.back(), ", N ", N, ", K ", K,
       ", group ", group, ", gated ", gated, ", transposed ", transposed, ", accumulate ", accumulate);
  const int64_t groups = static_cast<int64_t>(start.size()) - 1, M = start.back() + 2, lines = gated ? 2 * N : N;
  const Weights w(format, groups, transposed ? K : lines, transposed ? lines : K, group);
  const std::vector<X> x = floats_as<X>(normal(size(M * K), 1));
  std::vector<Y> y = floats_as<Y>(normal(size(M * N), 2));
  OnDevice<X> gx = x;
  OnDevice<Y> gy = y;
  Indices gstart = start;
  GroupedLinearCall c{.y = y.data(), .x = x.data(), .w = w.host.data(), .w_scale = w.host_scale.data(), .start = start.data()};
  c.type = float_type<X>(), c.y_type = float_type<Y>(), c.format = format, c.act = accumulate ? Activation::None : Activation::Silu;
  c.gated = gated, c.transposed = transposed, c.accumulate = accumulate;
  c.M = M, c.N = N, c.K = K, c.groups = groups, c.group = group;
  ref().grouped_linear(c);
  Addresses<const void> gw(w.device_list());
  Addresses<const float> gscale(w.device_scales());
  c.y = gy.p(), c.x = gx.p(), c.w = gw.p(), c.w_scale = gscale.p(), c.start = gstart.p();
  kernels().grouped_linear(c);
  CHECK(distance(gy.get(), y) <= bound<X, Y>(y, format, K));
}

const std::vector<std::vector<int64_t>>& starts() {
  static const std::vector<std::vector<int64_t>> s = {{0, 1}, {0, 0, 2, 3, 3, 7}, {0, 33, 33, 34, 99}, {0, 130, 135, 400}};
  return s;
}

}  // namespace

TEST_CASE("device: grouped products agree for plain weights") {
  for (const std::vector<int64_t>& start : starts())
    for (const auto& [N, K] : std::vector<std::array<int64_t, 2>>{{1, 1}, {7, 9}, {16, 24}, {40, 72}, {136, 40}})
      for (const bool gated : {false, true})
        for (const bool transposed : {false, true}) {
          if (gated && transposed) continue;
          check_grouped<float, float>(WeightFormat::F32, start, N, K, 0, gated, transposed, false);
          check_grouped<bfloat16, bfloat16>(WeightFormat::BF16, start, N, K, 0, gated, transposed, false);
          check_grouped<bfloat16, float>(WeightFormat::BF16, start, N, K, 0, gated, transposed, false);
          check_grouped<float, float>(WeightFormat::BF16, start, N, K, 0, gated, transposed, false);
          check_grouped<bfloat16, bfloat16>(WeightFormat::F32, start, N, K, 0, gated, transposed, false);
          if (gated) continue;
          check_grouped<float, float>(WeightFormat::F32, start, N, K, 0, gated, transposed, true);
          check_grouped<bfloat16, float>(WeightFormat::BF16, start, N, K, 0, gated, transposed, true);
        }
}

TEST_CASE("device: grouped products agree for packed weights") {
  for (const std::vector<int64_t>& start : starts())
    for (const auto& [N, K, group] : std::vector<std::array<int64_t, 3>>{{1, 1, 32}, {9, 31, 32}, {40, 64, 32}, {24, 200, 64}, {72, 1300, 128}})
      for (const WeightFormat format : {WeightFormat::Int4, WeightFormat::Fp8, WeightFormat::Int8})
        for (const bool gated : {false, true}) {
          check_grouped<float, float>(format, start, N, K, group, gated, false, false);
          check_grouped<bfloat16, bfloat16>(format, start, N, K, group, gated, false, false);
          check_grouped<bfloat16, float>(format, start, N, K, group, gated, false, false);
          if (format != WeightFormat::Int8) check_grouped<float16, float16>(format, start, N, K, group, gated, false, false);
        }
}

TEST_CASE("device: the gradients of groups' weights agree") {
  for (const std::vector<int64_t>& start : starts())
    for (const auto& [N, K] : std::vector<std::array<int64_t, 2>>{{1, 1}, {7, 9}, {72, 40}, {136, 264}})
      for (const bool accumulate : {false, true})
        for (const DType type : {DType::F32, DType::BF16, DType::F16}) {
          INFO("M ", start.back(), ", N ", N, ", K ", K, ", accumulate ", accumulate, ", ", name_of(type));
          const int64_t groups = static_cast<int64_t>(start.size()) - 1, M = start.back();
          const auto run = [&](auto tag) {
            using E = decltype(tag);
            const std::vector<E> a = floats_as<E>(normal(size(M * N), 1)), b = floats_as<E>(normal(size(M * K), 2));
            std::vector<float> dw = normal(size(groups * N * K), 3);
            OnDevice<E> ga = a, gb = b;
            Floats gdw = dw;
            Indices gstart = start;
            const auto list = [&](float* p) {
              std::vector<float*> v;
              for (int64_t g = 0; g < groups; ++g) v.push_back(p + g * N * K);
              return v;
            };
            const std::vector<float*> host = list(dw.data());
            Addresses<float> glist(list(gdw.p()));
            GroupedGradCall c{.dw = host.data(), .a = a.data(), .b = b.data(), .start = start.data(), .type = type};
            c.accumulate = accumulate, c.N = N, c.K = K, c.groups = groups;
            ref().grouped_gradient(c);
            c.dw = glist.p(), c.a = ga.p(), c.b = gb.p(), c.start = gstart.p();
            kernels().grouped_gradient(c);
            CHECK(distance(gdw.get(), dw) <= 1e-5 * (1 + largest(dw)));
          };
          if (type == DType::F32) run(float{});
          else if (type == DType::BF16) run(bfloat16{});
          else run(float16{});
        }
}
