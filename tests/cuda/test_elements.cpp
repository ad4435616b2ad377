// Kernels over elements and images.
#include "device_agree.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

constexpr Activation kActivations[] = {Activation::None, Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu,
                                       Activation::Relu, Activation::Tanh, Activation::Silu, Activation::Sigmoid};
size_t size(int64_t n) { return static_cast<size_t>(n); }

/// Beside the widths, more than the emulation's grid has in one stride.
std::vector<int64_t> counts_of_elements() {
  std::vector<int64_t> n = widths();
  n.push_back(20011);
  return n;
}

template <class E>
void check_activation(int64_t n, Activation act) {
  std::vector<float> v = normal(size(n), 1, 3);
  if (n > 4 && sizeof(E) == 4) v[2] = -std::numeric_limits<float>::infinity(), v[3] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<E> x = as<E>(v);
  std::vector<E> expected(x.size());
  ref().activation(expected.data(), x.data(), n, act, type_of<E>());
  OnDevice<E> gx = x;
  kernels().activation(gx.p(), gx.p(), n, act, type_of<E>());
  CHECK(distance(gx.get(), expected) <= step(expected, 1e-5));
}

template <class E>
void check_gated(int64_t F, int64_t ld) {
  constexpr int64_t N = 3;
  const std::vector<E> gate = as<E>(normal(size(N * ld), 1)), up_ = as<E>(normal(size(N * ld), 2));
  std::vector<E> expected(size(N * F));
  ref().gated(expected.data(), gate.data(), up_.data(), ld, N, F, Activation::Silu, type_of<E>());
  OnDevice<E> g = gate, u = up_, y = expected;
  kernels().gated(y.p(), g.p(), u.p(), ld, N, F, Activation::Silu, type_of<E>());
  CHECK(distance(y.get(), expected) <= step(expected, 1e-5));
}

template <class Y, class X>
void check_cast(DType y_type, DType x_type, int64_t n) {
  std::vector<float> v = normal(size(n), 1, 100);
  if (n > 4) v[1] = std::numeric_limits<float>::infinity(), v[2] = std::numeric_limits<float>::quiet_NaN(), v[3] = 1e-7f;
  std::vector<X> x(size(n));
  ref().cast(x.data(), x_type, v.data(), DType::F32, n);
  std::vector<Y> expected(size(n));
  ref().cast(expected.data(), y_type, x.data(), x_type, n);
  OnDevice<X> gx = x;
  OnDevice<Y> gy = std::vector<Y>(size(n));
  kernels().cast(gy.p(), y_type, gx.p(), x_type, n);
  CHECK(distance(gy.get(), expected) == 0);
}

template <class E>
void check_rope(bool interleaved, int64_t R) {
  constexpr int64_t N = 5, H = 3;
  const int64_t stride = R + 3, ld = H * stride + 2;
  const std::vector<E> x = as<E>(normal(size(N * ld), 1));
  const std::vector<float> cos = normal(size(N * R / 2), 2), sin = normal(size(N * R / 2), 3);
  std::vector<E> expected = x;
  ref().rope(expected.data(), x.data(), cos.data(), sin.data(), N, H, ld, stride, R, interleaved, type_of<E>());
  OnDevice<E> gx = x;
  Floats c = cos, s = sin;
  kernels().rope(gx.p(), gx.p(), c.p(), s.p(), N, H, ld, stride, R, interleaved, type_of<E>());
  CHECK(distance(gx.get(), expected) <= step(expected, 1e-6));
}

}  // namespace

TEST_CASE("device: activations and their gradients agree") {
  for (Activation act : kActivations) {
    INFO("activation ", static_cast<int>(act));
    for (int64_t n : {int64_t{1}, int64_t{7}, int64_t{1003}}) {
      check_activation<float>(n, act);
      check_activation<bfloat16>(n, act);
      const std::vector<float> x = normal(size(n), 1, 3), dy = normal(size(n), 2), up_ = normal(size(n), 3);
      std::vector<float> dx(x.size()), dup(x.size());
      ref().activation_backward(dx.data(), dy.data(), x.data(), n, act);
      Floats gx = x, gdy = dy, gdx = dx, gdup = dup, gup = up_;
      kernels().activation_backward(gdx.p(), gdy.p(), gx.p(), n, act);
      CHECK(distance(gdx.get(), dx) <= 1e-5);
      ref().gated_backward(dx.data(), dup.data(), dy.data(), x.data(), up_.data(), n, act);
      kernels().gated_backward(gdx.p(), gdup.p(), gdy.p(), gx.p(), gup.p(), n, act);
      CHECK(distance(gdx.get(), dx) <= 1e-4);
      CHECK(distance(gdup.get(), dup) <= 1e-4);
    }
  }
}

TEST_CASE("device: gated agrees, rows apart and side by side") {
  for (int64_t F : {int64_t{1}, int64_t{8}, int64_t{24}, int64_t{31}, int64_t{100}})
    for (int64_t ld : {F, 2 * F, F + 1, F + 8}) {
      INFO("F ", F, ", ld ", ld);
      check_gated<float>(F, ld);
      check_gated<bfloat16>(F, ld);
    }
}

TEST_CASE("device: add, mul, axpby and cast agree, and change nothing behind the last element") {
  for (int64_t n : counts_of_elements()) {
    INFO("n ", n);
    const std::vector<float> a = normal(size(n + 1), 1), b = normal(size(n + 1), 2);
    std::vector<float> expected = a;
    ref().add(expected.data(), a.data(), b.data(), n, DType::F32);
    Floats ga = a, gb = b;
    kernels().add(ga.p(), ga.p(), gb.p(), n, DType::F32);
    CHECK(distance(ga.get(), expected) == 0);
    const std::vector<bfloat16> a16 = to_bf16(a), b16 = to_bf16(b);
    std::vector<bfloat16> expected16 = a16;
    ref().add(expected16.data(), a16.data(), b16.data(), n, DType::BF16);
    OnDevice<bfloat16> ga16 = a16, gb16 = b16;
    kernels().add(ga16.p(), ga16.p(), gb16.p(), n, DType::BF16);
    CHECK(distance(ga16.get(), expected16) == 0);

    expected = a;
    ref().mul(expected.data(), a.data(), b.data(), n);
    Floats gm = a;
    kernels().mul(gm.p(), gm.p(), gb.p(), n);
    CHECK(distance(gm.get(), expected) == 0);
    for (float beta : {0.0f, 0.5f}) {
      expected = a;
      ref().axpby(expected.data(), b.data(), n, 2, beta);
      Floats gy = a;
      kernels().axpby(gy.p(), gb.p(), n, 2, beta);
      CHECK(distance(gy.get(), expected) <= 1e-6);
    }
    if (n > 1) {  // from the second element on: no pointer is aligned
      expected = a;
      ref().axpby(expected.data() + 1, b.data() + 1, n - 1, 2, 1);
      Floats gy = a;
      kernels().axpby(gy.p() + 1, gb.p() + 1, n - 1, 2, 1);
      CHECK(distance(gy.get(), expected) <= 1e-6);
    }
    check_cast<float, bfloat16>(DType::F32, DType::BF16, n);
    check_cast<bfloat16, float>(DType::BF16, DType::F32, n);
    check_cast<float16, float>(DType::F16, DType::F32, n);
    check_cast<float, float16>(DType::F32, DType::F16, n);
    check_cast<bfloat16, float16>(DType::BF16, DType::F16, n);
  }
}

TEST_CASE("device: rope agrees and leaves what lies between the heads") {
  for (bool interleaved : {false, true})
    for (int64_t R : {int64_t{0}, int64_t{2}, int64_t{6}, int64_t{64}}) {
      INFO("R ", R);
      check_rope<float>(interleaved, R);
      check_rope<bfloat16>(interleaved, R);
    }
}

TEST_CASE("device: unfold_patches agrees, images that are no multiple of a patch included") {
  constexpr int64_t B = 2, channels = 3, height = 13, width = 17;
  const std::vector<float> x = normal(size(B * channels * height * width), 1);
  Floats gx = x;
  for (int64_t p : {int64_t{1}, int64_t{4}, int64_t{5}}) {
    std::vector<float> expected(size(B * (height / p) * (width / p) * channels * p * p));
    ref().unfold_patches(expected.data(), DType::F32, x.data(), B, channels, height, width, p);
    Floats y = expected;
    kernels().unfold_patches(y.p(), DType::F32, gx.p(), B, channels, height, width, p);
    CHECK(distance(y.get(), expected) == 0);
    std::vector<bfloat16> expected16(expected.size());
    ref().unfold_patches(expected16.data(), DType::BF16, x.data(), B, channels, height, width, p);
    OnDevice<bfloat16> y16 = expected16;
    kernels().unfold_patches(y16.p(), DType::BF16, gx.p(), B, channels, height, width, p);
    CHECK(distance(y16.get(), expected16) == 0);
  }
}
