// Kernels over elements of every table against ref, and the functions behind them against std:: in double.
#include "agree.h"

using namespace tenon;
using namespace tenon::agree;

namespace {

constexpr Activation kActivations[] = {Activation::None, Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu,
                                       Activation::Relu, Activation::Tanh, Activation::Silu,     Activation::Sigmoid};
constexpr float kInf = std::numeric_limits<float>::infinity();

/// From -limit to limit in n steps.
std::vector<float> ramp(float limit, int n) {
  std::vector<float> x;
  for (int i = 0; i <= n; ++i) x.push_back(limit * (2.0f * static_cast<float>(i) / static_cast<float>(n) - 1));
  return x;
}

double exact(double x, Activation act) {
  switch (act) {
    case Activation::None:
      return x;
    case Activation::Gelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::GeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case Activation::QuickGelu:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::Relu:
      return x > 0 ? x : 0;
    case Activation::Tanh:
      return std::tanh(x);
    case Activation::Silu:
      return x / (1 + std::exp(-x));
    case Activation::Sigmoid:
      return 1 / (1 + std::exp(-x));
  }
  return x;
}

/// |y - exact| where the kernel's own arithmetic, not the rounding of bf16, decides.
double error(const Kernels& k, Activation act, const std::vector<float>& x) {
  std::vector<float> y(x.size());
  k.activation(y.data(), x.data(), static_cast<int64_t>(x.size()), act, DType::F32);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, std::fabs(y[i] - exact(x[i], act)) / std::max(1.0, std::fabs(static_cast<double>(x[i]))));
  return worst;
}

template <class E>
void check_activation(const Kernels& k, Activation act, int64_t n, double bound) {
  const std::vector<E> x = as<E>(normal(static_cast<size_t>(n), 1, 3));
  std::vector<E> expected(x.size() + 1, E{}), got(x.size() + 1, E{});
  ref().activation(expected.data(), x.data(), n, act, type_of<E>());
  k.activation(got.data(), x.data(), n, act, type_of<E>());
  CHECK(distance(got, expected) <= bound);
  std::vector<E> in_place = x;
  k.activation(in_place.data(), in_place.data(), n, act, type_of<E>());
  CHECK(std::memcmp(in_place.data(), got.data(), x.size() * sizeof(E)) == 0);
}

}  // namespace

TEST_CASE("activations are within 1e-6 of the exact values over [-10, 10], gelu within 3e-7") {
  const std::vector<float> x = ramp(10, 400000);
  for_tables([&](const Kernels& k) {
    for (Activation act : kActivations) {
      INFO("activation ", static_cast<int>(act));
      CHECK(error(k, act, x) <= (act == Activation::Gelu ? 3e-7 : 1e-6));
    }
  });
}

TEST_CASE("tanh and sigmoid keep their relative accuracy near zero and in the tail") {
  std::vector<float> x;
  for (float v = 1e-6f; v < 20; v *= 1.01f) x.push_back(v), x.push_back(-v);
  std::vector<float> y(x.size());
  for_tables([&](const Kernels& k) {
    double worst_tanh = 0, worst_sigmoid = 0, worst_gelu = 0;
    const auto relative = [&](Activation act, double& worst) {
      k.activation(y.data(), x.data(), static_cast<int64_t>(x.size()), act, DType::F32);
      for (size_t i = 0; i < x.size(); ++i)
        if (const double e = exact(x[i], act); std::fabs(e) > 1e-37) worst = std::max(worst, std::fabs(y[i] - e) / std::fabs(e));
    };
    relative(Activation::Tanh, worst_tanh);
    relative(Activation::Sigmoid, worst_sigmoid);
    relative(Activation::Gelu, worst_gelu);
    CHECK(worst_tanh <= 4e-7);
    CHECK(worst_sigmoid <= 4e-7);
    if (std::string(k.name) == "portable") return;  // 1 + erf(x) of float32 cancels, which the specification allows
    CHECK(worst_gelu <= 2e-5);                      // e^(-x^2 / 2): half an ulp of x^2 in the exponent, at x = -13
  });
}

TEST_CASE("activations agree at every size, in place and in both types") {
  for_tables([&](const Kernels& k) {
    for (Activation act : kActivations)
      for (int64_t n : sizes()) {
        INFO("activation ", static_cast<int>(act), " n ", n);
        check_activation<float>(k, act, n, 4e-6);
        check_activation<bfloat16>(k, act, n, 0.07);  // one step of bf16 at 12
      }
  });
}

TEST_CASE("activations at infinities and NaN") {
  const std::vector<float> x = {kInf,  -kInf,  std::nanf(""), 3e38f, -3e38f, 0.0f,   -0.0f, 1e-40f, -1e-40f,
                                88.8f, -88.8f, 104,           -104,  1e10f,  -1e10f, 15,    -15};
  for_tables([&](const Kernels& k) {
    for (Activation act : kActivations) {
      INFO("activation ", static_cast<int>(act));
      std::vector<float> y(x.size());
      k.activation(y.data(), x.data(), static_cast<int64_t>(x.size()), act, DType::F32);
      CHECK(std::isnan(y[2]));
      const bool bounded = act == Activation::Tanh || act == Activation::Sigmoid;
      CHECK(y[0] == (bounded ? 1 : kInf));
      for (size_t i = 3; i < x.size(); ++i) CHECK(std::fabs(y[i] - exact(x[i], act)) <= 1e-6 * std::max(1.0f, std::fabs(x[i])));
      std::vector<float> dy(x.size(), 1.0f), dx(x.size());
      k.activation_backward(dx.data(), dy.data(), x.data(), static_cast<int64_t>(x.size()), act);
      for (size_t i = 5; i < x.size(); ++i) CHECK(std::isfinite(dx[i]));
    }
  });
}

TEST_CASE("activation gradients agree") {
  for_tables([&](const Kernels& k) {
    for (Activation act : kActivations)
      for (int64_t n : sizes()) {
        INFO("activation ", static_cast<int>(act), " n ", n);
        const std::vector<float> x = normal(static_cast<size_t>(n), 1, 3), dy = normal(static_cast<size_t>(n), 2);
        std::vector<float> expected(x.size()), got(x.size());
        ref().activation_backward(expected.data(), dy.data(), x.data(), n, act);
        k.activation_backward(got.data(), dy.data(), x.data(), n, act);
        CHECK(distance(got, expected) <= 4e-6);
      }
  });
}

TEST_CASE("add, mul and axpby agree to the last bit or one rounding") {
  for_tables([&](const Kernels& k) {
    for (int64_t n : sizes()) {
      const std::vector<float> a = normal(static_cast<size_t>(n), 1), b = normal(static_cast<size_t>(n), 2);
      std::vector<float> expected(a.size()), got(a.size());
      ref().add(expected.data(), a.data(), b.data(), n, DType::F32);
      k.add(got.data(), a.data(), b.data(), n, DType::F32);
      CHECK(distance(got, expected) == 0);
      const std::vector<bfloat16> a16 = to_bf16(a), b16 = to_bf16(b);
      std::vector<bfloat16> expected16(a.size()), got16(a.size());
      ref().add(expected16.data(), a16.data(), b16.data(), n, DType::BF16);
      k.add(got16.data(), a16.data(), b16.data(), n, DType::BF16);
      CHECK(distance(got16, expected16) == 0);
      ref().mul(expected.data(), a.data(), b.data(), n);
      k.mul(got.data(), a.data(), b.data(), n);
      CHECK(distance(got, expected) == 0);
      for (float beta : {0.0f, 0.9f, 1.0f}) {
        expected = got = b;
        if (beta == 0) std::fill(got.begin(), got.end(), std::nanf(""));  // must not be read
        ref().axpby(expected.data(), a.data(), n, 0.3f, beta);
        k.axpby(got.data(), a.data(), n, 0.3f, beta);
        CHECK(distance(got, expected) <= 1e-6);
      }
    }
  });
}

TEST_CASE("casts agree to the last bit, specials and ties included") {
  std::vector<float> x = normal(3000, 1, 1);
  for (uint32_t u : {0x7f800000u, 0xff800000u, 0x7fc00000u, 0x7f800001u, 0xffffffffu, 0u,          0x80000000u,
                     1u,          0x00400000u, 0x3f808000u, 0x3f818000u, 0x3f807fffu, 0x3f808001u, 0x7f7fffffu,
                     0x477fefffu, 0x477ff000u, 0x33000000u, 0x33000001u, 0x387fe000u, 0x38801000u, 0x00008000u})
    x.push_back(std::bit_cast<float>(u));
  for (int i = -140; i < 128; ++i) x.push_back(std::ldexp(1.2345678f, i)), x.push_back(std::ldexp(-1.0f, i));
  const int64_t n = static_cast<int64_t>(x.size());
  for_tables([&](const Kernels& k) {
    for (DType from : {DType::F32, DType::BF16, DType::F16})
      for (DType to : {DType::F32, DType::BF16, DType::F16}) {
        INFO(std::string(name_of(from)), " to ", std::string(name_of(to)));
        std::vector<char> source(x.size() * 4), expected(x.size() * 4), got(x.size() * 4, 1);
        ref().cast(source.data(), from, x.data(), DType::F32, n);
        for (int64_t count : {n, int64_t{1}, int64_t{5}, int64_t{19}}) {
          ref().cast(expected.data(), to, source.data(), from, count);
          k.cast(got.data(), to, source.data(), from, count);
          bool same = true;
          for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
            if (std::memcmp(&got[i * size_of(to)], &expected[i * size_of(to)], size_of(to)) == 0) continue;
            // Only a NaN's payload may differ.
            float a, b;
            ref().cast(&a, DType::F32, &got[i * size_of(to)], to, 1);
            ref().cast(&b, DType::F32, &expected[i * size_of(to)], to, 1);
            same = same && std::isnan(a) && std::isnan(b);
          }
          CHECK(same);
        }
      }
  });
}
