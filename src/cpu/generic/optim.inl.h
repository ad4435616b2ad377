// Steps of optimisers: memory is what they wait for. Included inside the unnamed namespace of a file compiled for one instruction set.

template <bool decay_gradient, bool amsgrad>
inline void adamw_lanes(const AdamWCall& c) {
  const vf scale = set1(c.grad_scale), beta1 = set1(c.beta1), beta2 = set1(c.beta2), eps = set1(c.eps);
  const vf rest1 = set1(1 - c.beta1), rest2 = set1(1 - c.beta2), keep_p = set1(1 - c.lr * c.weight_decay), decay = set1(c.weight_decay);
  // The corrections are folded into two factors: a division less for each element.
  const vf rate = set1(c.lr / c.correction1), root = set1(1 / __builtin_sqrtf(c.correction2));
  for_lanes(c.n, [&](int64_t i, auto part) {
    vf g = load(c.g + i, part) * scale, p = load(c.p + i, part);
    if constexpr (decay_gradient)
      g = fma(decay, p, g);
    else
      p = p * keep_p;
    const vf m = fma(beta1, load(c.m + i, part), rest1 * g), v = fma(beta2, load(c.v + i, part), rest2 * g * g);
    store(c.m + i, m, part);
    store(c.v + i, v, part);
    vf second = v;
    if constexpr (amsgrad) {
      const vf before = load(c.vmax + i, part);
      second = select(less(v, before), before, v);
      store(c.vmax + i, second, part);
    }
    store(c.p + i, p - rate * m / fma(sqrt(second), root, eps), part);
  });
}

inline void adamw(const AdamWCall& c) {
  if (c.vmax)
    c.decay_gradient ? adamw_lanes<true, true>(c) : adamw_lanes<false, true>(c);
  else
    c.decay_gradient ? adamw_lanes<true, false>(c) : adamw_lanes<false, false>(c);
}

inline void sgd(const SgdCall& c) {
  const vf scale = set1(c.grad_scale), decay = set1(c.weight_decay), momentum = set1(c.momentum), fresh = set1(1 - c.dampening),
           lr = set1(c.lr);
  if (!c.m)
    return for_lanes(c.n, [&](int64_t i, auto part) {
      const vf p = load(c.p + i, part);
      store(c.p + i, fnma(lr, fma(decay, p, load(c.g + i, part) * scale), p), part);
    });
  for_lanes(c.n, [&](int64_t i, auto part) {
    const vf p = load(c.p + i, part), g = fma(decay, p, load(c.g + i, part) * scale);
    // What m holds before the first step does not count, be it a NaN.
    const vf m = c.first ? g : fma(momentum, load(c.m + i, part), fresh * g);
    store(c.m + i, m, part);
    store(c.p + i, fnma(lr, c.nesterov ? fma(momentum, m, g) : m, p), part);
  });
}

inline void lion(const LionCall& c) {
  const vf scale = set1(c.grad_scale), beta1 = set1(c.beta1), rest1 = set1(1 - c.beta1), beta2 = set1(c.beta2), rest2 = set1(1 - c.beta2);
  const vf keep_p = set1(1 - c.lr * c.weight_decay), up = set1(c.lr), down = set1(-c.lr);
  for_lanes(c.n, [&](int64_t i, auto part) {
    const vf g = load(c.g + i, part) * scale, m = load(c.m + i, part), direction = fma(beta1, m, rest1 * g);
    const vf move = select(less(zero(), direction), up, select(less(direction, zero()), down, zero()));
    store(c.p + i, fma(load(c.p + i, part), keep_p, zero() - move), part);
    store(c.m + i, fma(beta2, m, rest2 * g), part);
  });
}

inline double sum_of_squares(const float* x, int64_t n) {
  SquareSum a, b;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    a.add(load(x + i, Full{}));
    b.add(load(x + i + kLanes, Full{}));
  }
  for (; i < n; i += kLanes) a.add(load(x + i, Part(n - i)));
  return a.total() + b.total();
}
