// Rows that meet plain weights of their own 16 bits: the tiles of tensor cores over sizes around them, and groups around a tile's rows.
#include <array>

#include "device_agree.h"
#include "grouped_data.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

template <class E>
std::vector<const E*> parts(const E* p, int64_t groups, int64_t each) {
  std::vector<const E*> v;
  for (int64_t g = 0; g < groups; ++g) v.push_back(p + g * each);
  return v;
}
template <class E>
std::vector<const void*> untyped(const std::vector<const E*>& v) {
  return {v.begin(), v.end()};
}

template <class E, class Y>
void check_product(const std::vector<int64_t>& start, int64_t N, int64_t K, bool gated, bool transposed, bool accumulate) {
  INFO(name_of(float_type<E>()), ", y ", name_of(float_type<Y>()), ", M ", start.back(), " in ", start.size() - 1, ", N ", N, ", K ", K, ", gated ", gated,
       ", transposed ", transposed, ", accumulate ", accumulate);
  const int64_t groups = static_cast<int64_t>(start.size()) - 1, M = start.back() + 2, lines = gated ? 2 * N : N;
  const std::vector<E> x = floats_as<E>(normal(size(M * K), 1)), w = floats_as<E>(normal(size(groups * lines * K), 3));
  std::vector<Y> y = floats_as<Y>(normal(size(M * N), 2));
  OnDevice<E> gx = x, gw = w;
  OnDevice<Y> gy = y;
  Indices gstart = start;
  const std::vector<const void*> host = untyped(parts(w.data(), groups, lines * K)), device = untyped(parts<E>(gw.p(), groups, lines * K));
  Addresses<const void> list(device);
  GroupedLinearCall c{.y = y.data(), .x = x.data(), .w = host.data(), .start = start.data(), .type = float_type<E>(), .y_type = float_type<Y>()};
  c.format = WeightFormat::BF16, c.act = accumulate ? Activation::None : Activation::Silu;
  c.gated = gated, c.transposed = transposed, c.accumulate = accumulate, c.M = M, c.N = N, c.K = K, c.groups = groups;
  ref().grouped_linear(c);
  c.y = gy.p(), c.x = gx.p(), c.w = list.p(), c.start = gstart.p();
  kernels().grouped_linear(c);
  CHECK(distance(gy.get(), y) <= bound<E, Y>(y, c.format, K));
}

template <class E>
void check_products(const std::vector<int64_t>& start, int64_t N, int64_t K) {
  for (const bool gated : {false, true})
    for (const bool transposed : {false, true}) {
      if (gated && transposed) continue;
      check_product<E, E>(start, N, K, gated, transposed, false);
      check_product<E, float>(start, N, K, gated, transposed, !gated);
    }
}

}  // namespace

TEST_CASE("device: grouped products of 16 bits agree") {
  for (const std::vector<int64_t>& start : std::vector<std::vector<int64_t>>{{0, 1}, {0, 0, 2, 3, 3, 7}, {0, 33, 33, 34, 99}, {0, 130, 135, 400}})
    for (const auto& [N, K] : std::vector<std::array<int64_t, 2>>{{1, 1}, {7, 9}, {40, 72}}) {
      check_products<float16>(start, N, K);
      check_products<bfloat16>(start, N, K);
    }
}
