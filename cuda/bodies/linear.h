// What a linear layer adds to its product: y = act(product + bias) + residual.
#pragma once

#include "bodies/activation.h"

namespace tenon::cuda {

/// V divides N. y may be product or residual.
template <class E, class P, int V>
struct FinishLinearBody {
  E* y;
  const P* product;
  const float* bias;  // (N) or nullptr
  const E* residual;  // or nullptr
  int64_t N;
  Activation act;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t at = i * V, column = at % N;
    float v[V], r[V] = {};
    load(v, product + at);
    if (residual) load(r, residual + at);
    for (int j = 0; j < V; ++j) v[j] = activate(v[j] + (bias ? bias[column + j] : 0.0f), act) + r[j];
    store(y + at, v);
  }
};

}  // namespace tenon::cuda
