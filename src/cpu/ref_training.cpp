// The ref kernels of training: dropout and the steps of optimisers.
#include <cmath>
#include <type_traits>

#include "cpu/ref.h"
#include "cpu/scalar.h"
#include "tenon/core/random.h"

namespace tenon {
namespace {

using scalar::load;
using scalar::store;
using scalar::with_float;

void dropout(void* y, const void* x, const Dropout& d, int64_t begin, int64_t n, DType type) {
  const Random random(d.seed, d.stream);
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    for (int64_t i = 0; i < n; ++i) {
      const auto number = static_cast<uint64_t>(begin + i);
      const uint32_t word = random.block(d.first + number / 8)[number / 2 % 4];
      const uint32_t half = number % 2 ? word >> 16 : word & 0xffff;
      store(static_cast<E*>(y) + i, half < d.below ? 0.0f : load(static_cast<const E*>(x) + i) * d.scale);
    }
  });
}

void adamw(const AdamWCall& c) {
  for (int64_t i = 0; i < c.n; ++i) {
    float g = c.g[i] * c.grad_scale, p = c.p[i];
    if (c.decay_gradient) g += c.weight_decay * p;
    else p -= c.lr * c.weight_decay * p;
    c.m[i] = c.beta1 * c.m[i] + (1 - c.beta1) * g;
    c.v[i] = c.beta2 * c.v[i] + (1 - c.beta2) * g * g;
    const float v = c.vmax ? c.vmax[i] = c.vmax[i] > c.v[i] ? c.vmax[i] : c.v[i] : c.v[i];
    c.p[i] = p - c.lr * (c.m[i] / c.correction1) / (std::sqrt(v / c.correction2) + c.eps);
  }
}

void sgd(const SgdCall& c) {
  for (int64_t i = 0; i < c.n; ++i) {
    float g = c.g[i] * c.grad_scale + c.weight_decay * c.p[i];
    if (c.m) {
      c.m[i] = c.first ? g : c.momentum * c.m[i] + (1 - c.dampening) * g;
      g = c.nesterov ? g + c.momentum * c.m[i] : c.m[i];
    }
    c.p[i] -= c.lr * g;
  }
}

void lion(const LionCall& c) {
  for (int64_t i = 0; i < c.n; ++i) {
    const float g = c.g[i] * c.grad_scale, direction = c.beta1 * c.m[i] + (1 - c.beta1) * g;
    const float sign = direction > 0 ? 1.0f : direction < 0 ? -1.0f : 0.0f;
    c.p[i] -= c.lr * (sign + c.weight_decay * c.p[i]);
    c.m[i] = c.beta2 * c.m[i] + (1 - c.beta2) * g;
  }
}

double sum_of_squares(const float* x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

}  // namespace

void fill_ref_training(Kernels& k) {
  k.dropout = dropout;
  k.adamw = adamw;
  k.sgd = sgd;
  k.lion = lion;
  k.sum_of_squares = sum_of_squares;
}

}  // namespace tenon
