// The ref kernels over elements and images.
#include <cmath>
#include <type_traits>

#include "cpu/ref.h"
#include "cpu/scalar.h"

namespace tenon {
namespace {

using scalar::load;
using scalar::store;
using scalar::with_float;

constexpr float kSqrtHalf = 0.70710678118654752f;     // 1 / sqrt(2)
constexpr float kInvSqrt2Pi = 0.39894228040143268f;   // 1 / sqrt(2 pi)
constexpr float kSqrt2OverPi = 0.79788456080286536f;  // sqrt(2 / pi)
constexpr float kGeluCubic = 0.044715f;

float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

float activate(float x, Activation act) {
  switch (act) {
    case Activation::None:
      return x;
    case Activation::Gelu:
      return 0.5f * x * (1 + std::erf(x * kSqrtHalf));
    case Activation::GeluTanh:
      return 0.5f * x * (1 + std::tanh(kSqrt2OverPi * (x + kGeluCubic * x * x * x)));
    case Activation::QuickGelu:
      return x * sigmoid(1.702f * x);
    case Activation::Relu:
      return x > 0 ? x : x == x ? 0 : x;  // NaN stays NaN
    case Activation::Tanh:
      return std::tanh(x);
    case Activation::Silu:
      return x * sigmoid(x);
    case Activation::Sigmoid:
      return sigmoid(x);
  }
  return x;
}

float slope(float x, Activation act) {
  switch (act) {
    case Activation::None:
      return 1;
    case Activation::Gelu:
      return 0.5f * (1 + std::erf(x * kSqrtHalf)) + x * kInvSqrt2Pi * std::exp(-0.5f * x * x);
    case Activation::GeluTanh: {
      const float t = std::tanh(kSqrt2OverPi * (x + kGeluCubic * x * x * x));
      return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * kSqrt2OverPi * (1 + 3 * kGeluCubic * x * x);
    }
    case Activation::QuickGelu: {
      const float s = sigmoid(1.702f * x);
      return s + 1.702f * x * s * (1 - s);
    }
    case Activation::Relu:
      return x > 0 ? 1 : 0;
    case Activation::Tanh: {
      const float t = std::tanh(x);
      return 1 - t * t;
    }
    case Activation::Silu: {
      const float s = sigmoid(x);
      return s + x * s * (1 - s);
    }
    case Activation::Sigmoid: {
      const float s = sigmoid(x);
      return s * (1 - s);
    }
  }
  return 1;
}

void activation(void* y, const void* x, int64_t n, Activation act, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    for (int64_t i = 0; i < n; ++i) store(static_cast<E*>(y) + i, activate(load(static_cast<const E*>(x) + i), act));
  });
}

void gated(void* y, const void* gate, const void* up, int64_t ld, int64_t N, int64_t F, Activation act, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    for (int64_t n = 0; n < N; ++n)
      for (int64_t i = 0; i < F; ++i)
        store(static_cast<E*>(y) + n * F + i,
              activate(load(static_cast<const E*>(gate) + n * ld + i), act) * load(static_cast<const E*>(up) + n * ld + i));
  });
}

void gated_backward(float* dgate, float* dup, const float* dy, const float* gate, const float* up, int64_t n, Activation act) {
  for (int64_t i = 0; i < n; ++i) {
    const float d = dy[i], g = gate[i];
    dgate[i] = d * up[i] * slope(g, act);
    dup[i] = d * activate(g, act);
  }
}

void activation_backward(float* dx, const float* dy, const float* x, int64_t n, Activation act) {
  for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * slope(x[i], act);
}

void add(void* y, const void* a, const void* b, int64_t n, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    for (int64_t i = 0; i < n; ++i) store(static_cast<E*>(y) + i, load(static_cast<const E*>(a) + i) + load(static_cast<const E*>(b) + i));
  });
}

void mul(float* y, const float* a, const float* b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = a[i] * b[i];
}

void axpby(float* y, const float* x, int64_t n, float a, float b) {
  for (int64_t i = 0; i < n; ++i) y[i] = b == 0 ? a * x[i] : a * x[i] + b * y[i];
}

void cast(void* y, DType y_type, const void* x, DType x_type, int64_t n) {
  with_float(y_type, [&](auto* y_tag) {
    with_float(x_type, [&](auto* x_tag) {
      using Y = std::remove_pointer_t<decltype(y_tag)>;
      using X = std::remove_pointer_t<decltype(x_tag)>;
      for (int64_t i = 0; i < n; ++i) store(static_cast<Y*>(y) + i, load(static_cast<const X*>(x) + i));
    });
  });
}

void unfold_patches(void* y, DType y_type, const float* x, int64_t B, int64_t channels, int64_t height, int64_t width, int64_t p) {
  with_float(y_type, [&](auto* tag) {
    auto* out = static_cast<decltype(tag)>(y);
    const int64_t rows = height / p, columns = width / p;
    for (int64_t b = 0; b < B; ++b)
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c)
          for (int64_t channel = 0; channel < channels; ++channel)
            for (int64_t i = 0; i < p; ++i) {
              const float* line = x + ((b * channels + channel) * height + r * p + i) * width + c * p;
              for (int64_t j = 0; j < p; ++j) store(out++, line[j]);
            }
  });
}

}  // namespace

void fill_ref_elements(Kernels& k) {
  k.activation = activation;
  k.activation_backward = activation_backward;
  k.gated = gated;
  k.gated_backward = gated_backward;
  k.add = add;
  k.mul = mul;
  k.axpby = axpby;
  k.cast = cast;
  k.unfold_patches = unfold_patches;
}

}  // namespace tenon
