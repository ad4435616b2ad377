// Kernels over elements: item i has V neighbours.
#pragma once

#include "bodies/activation.h"

namespace tenon::cuda {

/// y = value(x) for the elements of item i.
template <int V, class Y, class X, class Value>
TENON_BODY void map_item(int64_t i, int64_t n, Y* y, const X* x, Value&& value) {
  over_pack<V>(i, n, [&](auto width, int64_t at) {
    float v[decltype(width)::value];
    load(v, x + at);
    for (float& e : v) e = value(e);
    store(y + at, v);
  });
}
/// y = value(a, b).
template <int V, class Y, class X, class Value>
TENON_BODY void map_item(int64_t i, int64_t n, Y* y, const X* a, const X* b, Value&& value) {
  over_pack<V>(i, n, [&](auto width, int64_t at) {
    constexpr int W = decltype(width)::value;
    float p[W], q[W];
    load(p, a + at), load(q, b + at);
    for (int j = 0; j < W; ++j) p[j] = value(p[j], q[j]);
    store(y + at, p);
  });
}

template <class E, int V>
struct ActivationBody {
  E* y;
  const E* x;
  int64_t n;
  Activation act;
  TENON_BODY void operator()(int64_t i) const {
    map_item<V>(i, n, y, x, [&](float e) { return activate(e, act); });
  }
};

template <int V>
struct ActivationBackwardBody {
  float* dx;
  const float *dy, *x;
  int64_t n;
  Activation act;
  TENON_BODY void operator()(int64_t i) const {
    map_item<V>(i, n, dx, dy, x, [&](float d, float e) { return d * slope(e, act); });
  }
};

/// NaN stays NaN, as in the reference.
template <class E>
struct ClampBody {
  E* y;
  const E* x;
  float low, high;
  TENON_BODY void operator()(int64_t i) const {
    const float v = to_float(x[i]), above = v < low ? low : v;
    y[i] = Rounded<E>::from(above > high ? high : above);
  }
};

struct ClampBackwardBody {
  float* dx;
  const float *dy, *x;
  float low, high;
  TENON_BODY void operator()(int64_t i) const { dx[i] = x[i] >= low && x[i] <= high ? dy[i] : 0.0f; }
};

/// V divides F and ld.
template <class E, int V>
struct GatedBody {
  E* y;
  const E *gate, *up;
  int64_t ld, F;
  Activation act;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t row = i / (F / V), column = i % (F / V) * V;
    float g[V], u[V];
    load(g, gate + row * ld + column), load(u, up + row * ld + column);
    for (int j = 0; j < V; ++j) g[j] = activate(g[j], act) * u[j];
    store(y + row * F + column, g);
  }
};

template <int V>
struct GatedBackwardBody {
  float *dgate, *dup;
  const float *dy, *gate, *up;
  int64_t n;
  Activation act;
  TENON_BODY void operator()(int64_t i) const {
    over_pack<V>(i, n, [&](auto width, int64_t at) {
      constexpr int W = decltype(width)::value;
      float d[W], g[W], u[W];
      load(d, dy + at), load(g, gate + at), load(u, up + at);
      for (int j = 0; j < W; ++j) {
        const float to_gate = d[j] * u[j] * slope(g[j], act);
        u[j] = d[j] * activate(g[j], act);
        g[j] = to_gate;
      }
      store(dgate + at, g), store(dup + at, u);
    });
  }
};

template <class E, int V>
struct AddBody {
  E* y;
  const E *a, *b;
  int64_t n;
  TENON_BODY void operator()(int64_t i) const {
    map_item<V>(i, n, y, a, b, [](float p, float q) { return p + q; });
  }
};

template <int V>
struct MulBody {
  float* y;
  const float *a, *b;
  int64_t n;
  TENON_BODY void operator()(int64_t i) const {
    map_item<V>(i, n, y, a, b, [](float p, float q) { return p * q; });
  }
};

template <int V>
struct AxpbyBody {
  float* y;
  const float* x;
  int64_t n;
  float a, b;
  TENON_BODY void operator()(int64_t i) const {
    if (b == 0) return map_item<V>(i, n, y, x, [&](float e) { return a * e; });  // y may hold anything
    map_item<V>(i, n, y, x, static_cast<const float*>(y), [&](float e, float old) { return a * e + b * old; });
  }
};

template <class Y, class X, int V>
struct CastBody {
  Y* y;
  const X* x;
  int64_t n;
  TENON_BODY void operator()(int64_t i) const {
    map_item<V>(i, n, y, x, [](float e) { return e; });
  }
};

/// Item i is one element of y.
template <class Y>
struct UnfoldPatchesBody {
  Y* y;
  const float* x;
  int64_t channels, height, width, p;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t columns = width / p, rows = height / p;
    const int64_t j = i % p, line = i / p % p, channel = i / (p * p) % channels, patch = i / (p * p * channels);
    const int64_t column = patch % columns, row = patch / columns % rows, b = patch / (columns * rows);
    y[i] = Rounded<Y>::from(x[((b * channels + channel) * height + row * p + line) * width + column * p + j]);
  }
};

/// Item i is one pair of one head of one row.
template <class E>
struct RopeBody {
  E* y;
  const E* x;
  const float *cos, *sin;
  int64_t H, ld, stride, R;
  bool interleaved;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t half = R / 2, pair = i % half, h = i / half % H, n = i / (half * H);
    const int64_t head = n * ld + h * stride;
    const int64_t first = head + (interleaved ? 2 * pair : pair), second = head + (interleaved ? 2 * pair + 1 : pair + half);
    const float a = to_float(x[first]), b = to_float(x[second]), c = cos[n * half + pair], s = sin[n * half + pair];
    y[first] = Rounded<E>::from(a * c - b * s);
    y[second] = Rounded<E>::from(b * c + a * s);
  }
};

}  // namespace tenon::cuda
