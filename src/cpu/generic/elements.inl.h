// Kernels over elements: activations, sums, casts. Included inside the unnamed namespace of a file compiled for one instruction set.

template <class E, class F>
inline void map_lanes(void* y, const void* x, int64_t n, F&& f) {
  for_lanes(n, [&](int64_t i, auto part) { store(static_cast<E*>(y) + i, f(load(static_cast<const E*>(x) + i, part)), part); });
}

/// Slope of x sigmoid(u(x)) given u and its slope.
inline vf gated_slope(vf x, vf u, vf du) {
  const vf s = sigmoid(u);
  return fma(x * du, s * (set1(1.0f) - s), s);
}

inline vf gelu_slope(vf x) {
  vf gauss;
  const vf z = min(set1(15.0f), abs(x)), tail = normal_tail(z, gauss);
  const vf phi = select(less(x, zero()), tail, set1(1.0f) - tail);
  return fma(min(set1(15.0f), max(set1(-15.0f), x)) * set1(0.39894228040143268f), gauss, phi);
}

inline vf gelu_tanh_slope(vf x) {
  x = min(set1(1e4f), max(set1(-1e4f), x));  // the slope is 0 or 1 there, and x^3 stays finite
  return gated_slope(x, gelu_tanh_argument(x), set1(kTwiceSqrt2OverPi) * fma(x * x, set1(3 * kGeluCubic), set1(1.0f)));
}

/// body(f) with f(v), the activation of a vector.
template <class Body>
inline void with_activation(Activation act, Body&& body) {
  switch (act) {
    case Activation::None:
      return body([](vf v) { return v; });
    case Activation::Gelu:
      return body([](vf v) { return gelu(v); });
    case Activation::GeluTanh:
      return body([](vf v) { return gelu_tanh(v); });
    case Activation::QuickGelu:
      return body([](vf v) { return quick_gelu(v); });
    case Activation::Relu:
      return body([](vf v) { return relu(v); });
    case Activation::Tanh:
      return body([](vf v) { return tanh(v); });
    case Activation::Silu:
      return body([](vf v) { return silu(v); });
    case Activation::Sigmoid:
      return body([](vf v) { return sigmoid(v); });
  }
}

/// body(slope) with slope(v), the derivative of the activation.
template <class Body>
inline void with_slope(Activation act, Body&& body) {
  switch (act) {
    case Activation::None:
      return body([](vf) { return set1(1.0f); });
    case Activation::Gelu:
      return body([](vf v) { return gelu_slope(v); });
    case Activation::GeluTanh:
      return body([](vf v) { return gelu_tanh_slope(v); });
    case Activation::QuickGelu:
      return body([](vf v) { return gated_slope(v, v * set1(kQuickGelu), set1(kQuickGelu)); });
    case Activation::Relu:
      return body([](vf v) { return select(less(zero(), v), set1(1.0f), zero()); });
    case Activation::Tanh:
      return body([](vf v) {
        const vf t = tanh(v);
        return fnma(t, t, set1(1.0f));
      });
    case Activation::Silu:
      return body([](vf v) { return gated_slope(v, v, set1(1.0f)); });
    case Activation::Sigmoid:
      return body([](vf v) {
        const vf s = sigmoid(v);
        return s * (set1(1.0f) - s);
      });
  }
}

inline void activation(void* y, const void* x, int64_t n, Activation act, DType type) {
  with_activation_type(type, [&](auto* e) {
    with_activation(act, [&](auto f) { map_lanes<pointee<decltype(e)>>(y, x, n, f); });
  });
}

inline void activation_backward(float* dx, const float* dy, const float* x, int64_t n, Activation act) {
  with_slope(act, [&](auto slope) {
    for_lanes(n, [&](int64_t i, auto part) { store(dx + i, load(dy + i, part) * slope(load(x + i, part)), part); });
  });
}

inline void gated(void* y, const void* gate, const void* up, int64_t ld, int64_t N, int64_t F, Activation act, DType type) {
  with_activation_type(type, [&](auto* e) {
    using E = pointee<decltype(e)>;
    with_activation(act, [&](auto f) {
      for (int64_t n = 0; n < N; ++n) {
        const E *g = static_cast<const E*>(gate) + n * ld, *u = static_cast<const E*>(up) + n * ld;
        for_lanes(F, [&](int64_t i, auto part) { store(static_cast<E*>(y) + n * F + i, f(load(g + i, part)) * load(u + i, part), part); });
      }
    });
  });
}

inline void gated_backward(float* dgate, float* dup, const float* dy, const float* gate, const float* up, int64_t n, Activation act) {
  with_slope(act, [&](auto slope) {
    with_activation(act, [&](auto f) {
      for_lanes(n, [&](int64_t i, auto part) {
        const vf g = load(gate + i, part), d = load(dy + i, part), u = load(up + i, part);
        store(dgate + i, d * u * slope(g), part);
        store(dup + i, d * f(g), part);
      });
    });
  });
}

inline void add(void* y, const void* a, const void* b, int64_t n, DType type) {
  with_activation_type(type, [&](auto* e) {
    using E = pointee<decltype(e)>;
    for_lanes(n, [&](int64_t i, auto part) {
      store(static_cast<E*>(y) + i, load(static_cast<const E*>(a) + i, part) + load(static_cast<const E*>(b) + i, part), part);
    });
  });
}

inline void mul(float* y, const float* a, const float* b, int64_t n) {
  for_lanes(n, [&](int64_t i, auto part) { store(y + i, load(a + i, part) * load(b + i, part), part); });
}

inline void axpby(float* y, const float* x, int64_t n, float a, float b) {
  const vf va = set1(a), vb = set1(b);
  if (b == 0)
    for_lanes(n, [&](int64_t i, auto part) { store(y + i, va * load(x + i, part), part); });
  else
    for_lanes(n, [&](int64_t i, auto part) { store(y + i, fma(va, load(x + i, part), vb * load(y + i, part)), part); });
}

inline void cast(void* y, DType y_type, const void* x, DType x_type, int64_t n) {
  with_float_type(y_type, [&](auto* to) {
    with_float_type(x_type, [&](auto* from) {
      using Y = pointee<decltype(to)>;
      using X = pointee<decltype(from)>;
      for_lanes(n, [&](int64_t i, auto part) { store(static_cast<Y*>(y) + i, load(static_cast<const X*>(x) + i, part), part); });
    });
  });
}
