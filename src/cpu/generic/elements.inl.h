// Kernels over elements: activations, sums, casts. Included inside the unnamed namespace of a file compiled for one instruction set.

template <class E, class F>
inline void map_lanes(void* y, const void* x, int64_t n, F&& f) {
  for_lanes(n, [&](int64_t i, auto part) { store(static_cast<E*>(y) + i, f(load(static_cast<const E*>(x) + i, part)), part); });
}

template <class E>
inline void activate(void* y, const void* x, int64_t n, Activation act) {
  switch (act) {
    case Activation::None:
      return map_lanes<E>(y, x, n, [](vf v) { return v; });
    case Activation::Gelu:
      return map_lanes<E>(y, x, n, [](vf v) { return gelu(v); });
    case Activation::GeluTanh:
      return map_lanes<E>(y, x, n, [](vf v) { return gelu_tanh(v); });
    case Activation::QuickGelu:
      return map_lanes<E>(y, x, n, [](vf v) { return quick_gelu(v); });
    case Activation::Relu:
      return map_lanes<E>(y, x, n, [](vf v) { return relu(v); });
    case Activation::Tanh:
      return map_lanes<E>(y, x, n, [](vf v) { return tanh(v); });
    case Activation::Silu:
      return map_lanes<E>(y, x, n, [](vf v) { return silu(v); });
    case Activation::Sigmoid:
      return map_lanes<E>(y, x, n, [](vf v) { return sigmoid(v); });
  }
}

inline void activation(void* y, const void* x, int64_t n, Activation act, DType type) {
  with_activation_type(type, [&](auto* e) { activate<pointee<decltype(e)>>(y, x, n, act); });
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

inline void activation_backward(float* dx, const float* dy, const float* x, int64_t n, Activation act) {
  const auto apply = [&](auto&& slope) {
    for_lanes(n, [&](int64_t i, auto part) { store(dx + i, load(dy + i, part) * slope(load(x + i, part)), part); });
  };
  switch (act) {
    case Activation::None:
      return apply([](vf) { return set1(1.0f); });
    case Activation::Gelu:
      return apply([](vf v) { return gelu_slope(v); });
    case Activation::GeluTanh:
      return apply([](vf v) { return gelu_tanh_slope(v); });
    case Activation::QuickGelu:
      return apply([](vf v) { return gated_slope(v, v * set1(kQuickGelu), set1(kQuickGelu)); });
    case Activation::Relu:
      return apply([](vf v) { return select(less(zero(), v), set1(1.0f), zero()); });
    case Activation::Tanh:
      return apply([](vf v) {
        const vf t = tanh(v);
        return fnma(t, t, set1(1.0f));
      });
    case Activation::Silu:
      return apply([](vf v) { return gated_slope(v, v, set1(1.0f)); });
    case Activation::Sigmoid:
      return apply([](vf v) {
        const vf s = sigmoid(v);
        return s * (set1(1.0f) - s);
      });
  }
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
