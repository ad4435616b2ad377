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
  INFO(name_of(float_type<E>()), ", y ", name_of(float_type<Y>()), ", M ", start.back(), " in ", start.size() - 1, ", N ", N, ", K ", K,
       ", gated ", gated, ", transposed ", transposed, ", accumulate ", accumulate);
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

// More than one tile of 128 rows by 256 columns and more slices of 64 of k than there are stages, each with a remainder; groups that end in a
// tile's middle, at its end, and empty ones.
TEST_CASE("device: grouped products of 16 bits with many rows agree") {
  const bool wgmma = by_wgmma();
  const WgmmaLaunches launches;
  const std::vector<int64_t> ragged = {0, 130, 130, 258, 265}, even = {0, 128, 256};
  for (const auto& [N, K] : std::vector<std::array<int64_t, 2>>{{136, 328}, {300, 64}, {131, 77}}) {
    check_products<bfloat16>(ragged, N, K);
    check_products<float16>(even, N, K);
  }
  check_products<bfloat16>({0, 70}, 640, 72);
  launches.check(wgmma);
}

TEST_CASE("device: grouped products of many groups agree") {
  check_products<bfloat16>({0, 1, 1, 3, 40, 40, 41, 42, 43, 43, 90, 90, 90, 90, 90, 90, 90, 91, 130, 131}, 24, 40);
  check_products<bfloat16>({0, 0, 200, 200, 200, 200, 200, 200, 200, 640, 641}, 128, 64);
}

TEST_CASE("device: the gradients of many columns of 16 bits agree") {
  const auto check = [](auto tag, const std::vector<int64_t>& start, int64_t N, int64_t K, bool accumulate) {
    using E = decltype(tag);
    INFO(name_of(float_type<E>()), ", M ", start.back(), ", N ", N, ", K ", K, ", accumulate ", accumulate);
    const int64_t groups = static_cast<int64_t>(start.size()) - 1, M = start.back();
    const std::vector<E> a = floats_as<E>(normal(size(M * N), 1)), b = floats_as<E>(normal(size(M * K), 2));
    std::vector<float> dw = normal(size(groups * N * K), 3);
    OnDevice<E> ga = a, gb = b;
    Floats gdw = dw;
    Indices gstart = start;
    std::vector<float*> host, device;
    for (int64_t g = 0; g < groups; ++g) host.push_back(dw.data() + g * N * K), device.push_back(gdw.p() + g * N * K);
    Addresses<float> list(device);
    GroupedGradCall c{.dw = host.data(), .a = a.data(), .b = b.data(), .start = start.data(), .type = float_type<E>()};
    c.accumulate = accumulate, c.N = N, c.K = K, c.groups = groups;
    ref().grouped_gradient(c);
    c.dw = list.p(), c.a = ga.p(), c.b = gb.p(), c.start = gstart.p();
    kernels().grouped_gradient(c);
    CHECK(distance(gdw.get(), dw) <= 1e-5 * (1 + largest(dw)));
  };
  const bool wgmma = by_wgmma();
  const WgmmaLaunches launches;
  for (const bool accumulate : {false, true}) {
    check(bfloat16{}, {0, 300, 300, 364, 365}, 136, 264, accumulate);
    check(float16{}, {0, 5, 133}, 129, 131, accumulate);
  }
  launches.check(wgmma);
}

TEST_CASE("device: grouped products go by wgmma where it is right, and as before where it is not") {
  constexpr Device second{Device::Kind::Cuda, 1};
  constexpr int64_t M = 70, N = 128, K = 64;
  const std::vector<bfloat16> x = floats_as<bfloat16>(normal(size(M * K), 1)), w = floats_as<bfloat16>(normal(size(N * K), 2));
  const auto product = [&](Device device) {
    const Tensor gx = Tensor::from(x, {M * K}).to(device), gw = Tensor::from(w, {N * K}).to(device);
    const Tensor list = Tensor::from(std::vector<int64_t>{reinterpret_cast<int64_t>(gw.address())}, {1}).to(device);
    const Tensor start = Tensor::from(std::vector<int64_t>{0, M}, {2}).to(device);
    Tensor y = Tensor::from(std::vector<float>(size(M * N)), {M * N}).to(device);
    GroupedLinearCall c{.y = y.address(), .x = gx.address(), .w = static_cast<const void* const*>(list.address()), .start = start.ptr<int64_t>()};
    c.type = DType::BF16, c.format = WeightFormat::BF16, c.M = M, c.N = N, c.K = K, c.groups = 1;
    cuda::kernels(device.index).grouped_linear(c);
    return down<float>(y);
  };
  if (!by_wgmma()) return;
  int before = counts().wgmma;
  const std::vector<float> by_mma = product(second);  // of compute capability 8.0
  CHECK(counts().wgmma == before);
  settings().capability[1] = 90, settings().wgmma_is_wrong = true;
  CHECK(product(second) == by_mma);
  CHECK(counts().wgmma > before);  // the trial
  settings().capability[1] = 80, settings().wgmma_is_wrong = false;
  before = counts().wgmma;
  CHECK(distance(product(kDevice), by_mma) <= 1e-5 * (1 + largest(by_mma)));
  CHECK(counts().wgmma > before);
}
