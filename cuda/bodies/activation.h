// Activation functions and their slopes, one element at a time.
#pragma once

#include "block.h"

namespace tenon::cuda {

constexpr float kSqrtHalf = 0.70710678118654752f;     // 1 / sqrt(2)
constexpr float kInvSqrt2Pi = 0.39894228040143268f;   // 1 / sqrt(2 pi)
constexpr float kSqrt2OverPi = 0.79788456080286536f;  // sqrt(2 / pi)
constexpr float kGeluCubic = 0.044715f;

TENON_BODY float sigmoid(float x) { return 1 / (1 + expf(-x)); }

TENON_BODY float activate(float x, Activation act) {
  switch (act) {
    case Activation::None: return x;
    case Activation::Gelu: return 0.5f * x * (1 + erff(x * kSqrtHalf));
    case Activation::GeluTanh: return 0.5f * x * (1 + tanhf(kSqrt2OverPi * (x + kGeluCubic * x * x * x)));
    case Activation::QuickGelu: return x * sigmoid(1.702f * x);
    case Activation::Relu: return x > 0 ? x : x == x ? 0 : x;  // NaN stays NaN
    case Activation::Tanh: return tanhf(x);
    case Activation::Silu: return x * sigmoid(x);
    case Activation::Sigmoid: return sigmoid(x);
  }
  return x;
}

TENON_BODY float slope(float x, Activation act) {
  switch (act) {
    case Activation::None: return 1;
    case Activation::Gelu: return 0.5f * (1 + erff(x * kSqrtHalf)) + x * kInvSqrt2Pi * expf(-0.5f * x * x);
    case Activation::GeluTanh: {
      const float t = tanhf(kSqrt2OverPi * (x + kGeluCubic * x * x * x));
      return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * kSqrt2OverPi * (1 + 3 * kGeluCubic * x * x);
    }
    case Activation::QuickGelu: {
      const float s = sigmoid(1.702f * x);
      return s + 1.702f * x * s * (1 - s);
    }
    case Activation::Relu: return x > 0 ? 1 : 0;
    case Activation::Tanh: {
      const float t = tanhf(x);
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

}  // namespace tenon::cuda
