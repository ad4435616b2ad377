// The trials of products by wgmma. Factors are small whole numbers and scales powers of two, so that sums are exact in any order and must be
// those of plain loops. Two groups of 70 and 64 rows, more columns than a tile has, more slices of k than there are stages, remainders in each.
#include <array>
#include <type_traits>
#include <vector>

#include "bodies/fp8_tile.h"
#include "grouped.h"
#include "hopper.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

constexpr int64_t kGroups = 2, kStart[kGroups + 1] = {0, 70, 134}, kM = kStart[kGroups];

/// -2 to 2.
std::vector<float> small_numbers(int64_t n, uint32_t seed) {
  std::vector<float> v(static_cast<size_t>(n));
  for (float& e : v) {
    seed = seed * 1664525u + 1013904223u;
    e = static_cast<float>(seed >> 24) - 128;
    e = static_cast<float>(static_cast<int>(e) % 3);
  }
  return v;
}
template <class E>
std::vector<E> rounded(const std::vector<float>& v) {
  std::vector<E> r;
  for (const float e : v) {
    if constexpr (std::is_same_v<E, float8>) r.push_back({float_to_f8e4m3(e)});
    else r.push_back(Rounded<E>::from(e));
  }
  return r;
}

/// A copy on the device.
template <class T>
class There {
 public:
  explicit There(const std::vector<T>& v) : memory_(v.size() * sizeof(T)) {
    write_there(memory_.template as<void>(), v.data(), v.size() * sizeof(T));
  }
  T* p() const { return memory_.template as<T>(); }

 private:
  Scratch memory_;
};

bool holds(const There<float>& got, const std::vector<float>& expected) {
  std::vector<float> y(expected.size());
  read_back(y.data(), got.p(), y.size() * sizeof(float));
  return y == expected;
}
int64_t group_of(int64_t m) { return m < kStart[1] ? 0 : 1; }

/// y (M,N) of w(g, n, k) and x (M,K); gated: the product of rows n and N + n.
template <class Weight>
std::vector<float> products(const std::vector<float>& x, int64_t N, int64_t K, bool gated, Weight&& w) {
  std::vector<float> y(static_cast<size_t>(kM * N), 0.0f);
  for (int64_t m = 0; m < kM; ++m)
    for (int64_t n = 0; n < N; ++n) {
      float sum = 0, up = 0;
      for (int64_t k = 0; k < K; ++k) {
        const float e = x[static_cast<size_t>(m * K + k)];
        sum += e * w(group_of(m), n, k);
        if (gated) up += e * w(group_of(m), N + n, k);
      }
      y[static_cast<size_t>(m * N + n)] = gated ? sum * up : sum;
    }
  return y;
}

template <class E>
bool try_product(DType type, bool gated, bool transposed) {
  constexpr int64_t K = 328;
  const int64_t N = gated ? 136 : 264, lines = gated ? 2 * N : N;
  const std::vector<float> x = small_numbers(kM * K, 1), w = small_numbers(kGroups * lines * K, 2);
  const There<E> x_there(rounded<E>(x)), w_there(rounded<E>(w));
  const There<const void*> list({w_there.p(), w_there.p() + lines * K});
  const There<int64_t> start({std::begin(kStart), std::end(kStart)});
  const There<float> y(std::vector<float>(static_cast<size_t>(kM * N), -1.0f));
  GroupedProduct p{y.p(), x_there.p(), {start.p(), list.p(), nullptr, kGroups, kM, nullptr, nullptr}, type, DType::F32, N, K, 0};
  p.gated = gated;
  return product_by_wgmma(p, transposed, true) && holds(y, products(x, N, K, gated, [&](int64_t g, int64_t n, int64_t k) {
           return w[static_cast<size_t>(g * lines * K + (transposed ? k * lines + n : n * K + k))];
         }));
}

template <class E>
bool try_gradient(DType type) {
  constexpr int64_t N = 136, K = 264;
  const std::vector<float> a = small_numbers(kM * N, 3), b = small_numbers(kM * K, 4);
  std::vector<float> expected(static_cast<size_t>(kGroups * N * K), 0.0f);
  for (int64_t m = 0; m < kM; ++m)
    for (int64_t n = 0; n < N; ++n)
      for (int64_t k = 0; k < K; ++k)
        expected[static_cast<size_t>((group_of(m) * N + n) * K + k)] += a[static_cast<size_t>(m * N + n)] * b[static_cast<size_t>(m * K + k)];
  const There<E> a_there(rounded<E>(a)), b_there(rounded<E>(b));
  const There<float> dw(std::vector<float>(expected.size(), -1.0f));
  const There<float*> list({dw.p(), dw.p() + N * K});
  const There<int64_t> start({std::begin(kStart), std::end(kStart)});
  GroupedGradCall c{.dw = list.p(), .a = a_there.p(), .b = b_there.p(), .start = start.p(), .type = type};
  c.N = N, c.K = K, c.groups = kGroups;
  return gradient_by_wgmma(c, true) && holds(dw, expected);
}

/// The weight of both groups is one, of rows that lie apart as its scales do.
bool try_fp8(bool gated) {
  constexpr int64_t K = 656, kBlock = 128, G = (K + kBlock - 1) / kBlock;
  const int64_t N = gated ? 72 : 136, lines = gated ? 2 * N : N;
  const auto scale_of = [](int64_t line, int64_t g) { return g % 3 == 0 ? 0.5f : line % 2 ? 2.0f : 1.0f; };
  const auto scales = [&](int64_t n) {
    std::vector<float> s;
    for (int64_t i = 0; i < n * G; ++i) s.push_back(scale_of(i / G, i % G));
    return s;
  };
  std::vector<float> x = small_numbers(kM * K, 5);
  const std::vector<float> w = small_numbers(lines * K, 6);
  const There<float8> x_there(rounded<float8>(x)), w_there(rounded<float8>(w));
  const There<float> x_scale(scales(kM)), w_scale(scales(lines)), y(std::vector<float>(static_cast<size_t>(kM * N), -1.0f));
  const There<const void*> list({w_there.p(), w_there.p()});
  const There<int64_t> start({std::begin(kStart), std::end(kStart)});
  GroupedProduct p{y.p(), x_there.p(), {start.p(), list.p(), nullptr, kGroups, kM, nullptr, nullptr}, DType::BF16, DType::F32, N, K, kBlock};
  p.gated = gated;
  for (int64_t i = 0; i < kM * K; ++i) x[static_cast<size_t>(i)] *= scale_of(i / K, i % K / kBlock);
  const auto scaled = [&](int64_t, int64_t n, int64_t k) { return w[static_cast<size_t>(n * K + k)] * scale_of(n, k / kBlock); };
  return fp8_product_by_wgmma(p, {x_scale.p(), 1, kBlock, G}, {w_scale.p(), 1, kBlock, G}, K, 0, true) && holds(y, products(x, N, K, gated, scaled));
}

}  // namespace

bool try_grouped_wgmma() {
  return try_product<bfloat16>(DType::BF16, false, false) && try_product<bfloat16>(DType::BF16, true, false) &&
         try_product<float16>(DType::F16, false, true) && try_gradient<bfloat16>(DType::BF16);
}
bool try_fp8_wgmma() { return try_fp8(false) && try_fp8(true); }

}  // namespace tenon::cuda
