// Launches of the kernels over elements and images.
#include <type_traits>

#include "bodies/elements.h"
#include "fillers.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

using scalar::with_float;

/// body(Width<V>) with V elements of E to an item where all pointers are aligned to them.
template <class E, class Body>
void with_packs(std::initializer_list<const void*> pointers, Body&& body) {
  with_width<E>(0, pointers, body);
}

int64_t items(int64_t n, int width) { return (n + width - 1) / width; }

void activation(void* y, const void* x, int64_t n, Activation act, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    with_packs<E>({y, x}, [&](auto width) {
      constexpr int V = decltype(width)::value;
      launch_elements(items(n, V), ActivationBody<E, V>{static_cast<E*>(y), static_cast<const E*>(x), n, act});
    });
  });
}

void activation_backward(float* dx, const float* dy, const float* x, int64_t n, Activation act) {
  with_packs<float>({dx, dy, x}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch_elements(items(n, V), ActivationBackwardBody<V>{dx, dy, x, n, act});
  });
}

void gated(void* y, const void* gate, const void* up, int64_t ld, int64_t N, int64_t F, Activation act, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    const int64_t wide = 16 / static_cast<int64_t>(sizeof(E));
    with_width<E>(F % wide ? F : ld, {y, gate, up}, [&](auto width) {
      constexpr int V = decltype(width)::value;
      launch_elements(N * (F / V),
                      GatedBody<E, V>{static_cast<E*>(y), static_cast<const E*>(gate), static_cast<const E*>(up), ld, F, act});
    });
  });
}

void gated_backward(float* dgate, float* dup, const float* dy, const float* gate, const float* up, int64_t n, Activation act) {
  with_packs<float>({dgate, dup, dy, gate, up}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch_elements(items(n, V), GatedBackwardBody<V>{dgate, dup, dy, gate, up, n, act});
  });
}

void add(void* y, const void* a, const void* b, int64_t n, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    with_packs<E>({y, a, b}, [&](auto width) {
      constexpr int V = decltype(width)::value;
      launch_elements(items(n, V), AddBody<E, V>{static_cast<E*>(y), static_cast<const E*>(a), static_cast<const E*>(b), n});
    });
  });
}

void mul(float* y, const float* a, const float* b, int64_t n) {
  with_packs<float>({y, a, b}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch_elements(items(n, V), MulBody<V>{y, a, b, n});
  });
}

void clamp(void* y, const void* x, int64_t n, float low, float high, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    launch_elements(n, ClampBody<E>{static_cast<E*>(y), static_cast<const E*>(x), low, high});
  });
}

void clamp_backward(float* dx, const float* dy, const float* x, int64_t n, float low, float high) {
  launch_elements(n, ClampBackwardBody{dx, dy, x, low, high});
}

void axpby(float* y, const float* x, int64_t n, float a, float b) {
  with_packs<float>({y, x}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch_elements(items(n, V), AxpbyBody<V>{y, x, n, a, b});
  });
}

void cast(void* y, DType y_type, const void* x, DType x_type, int64_t n) {
  with_float(y_type, [&](auto* y_tag) {
    with_float(x_type, [&](auto* x_tag) {
      using Y = std::remove_pointer_t<decltype(y_tag)>;
      using X = std::remove_pointer_t<decltype(x_tag)>;
      with_packs<float>({y, x}, [&](auto width) {  // four to an item: 16 bytes of the wider type
        constexpr int V = decltype(width)::value;
        launch_elements(items(n, V), CastBody<Y, X, V>{static_cast<Y*>(y), static_cast<const X*>(x), n});
      });
    });
  });
}

void unfold_patches(void* y, DType y_type, const float* x, int64_t B, int64_t channels, int64_t height, int64_t width, int64_t p) {
  with_float(y_type, [&](auto* tag) {
    using Y = std::remove_pointer_t<decltype(tag)>;
    launch_elements(B * (height / p) * (width / p) * channels * p * p,
                    UnfoldPatchesBody<Y>{static_cast<Y*>(y), x, channels, height, width, p});
  });
}

void rope(void* y, const void* x, const float* cos, const float* sin, int64_t N, int64_t H, int64_t ld, int64_t stride, int64_t R,
          bool interleaved, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    launch_elements(N * H * (R / 2),
                    RopeBody<E>{static_cast<E*>(y), static_cast<const E*>(x), cos, sin, H, ld, stride, R, interleaved});
  });
}

}  // namespace

void fill_elements(Kernels& k) {
  k.activation = activation;
  k.activation_backward = activation_backward;
  k.gated = gated;
  k.gated_backward = gated_backward;
  k.add = add;
  k.mul = mul;
  k.clamp = clamp;
  k.clamp_backward = clamp_backward;
  k.axpby = axpby;
  k.cast = cast;
  k.unfold_patches = unfold_patches;
  k.rope = rope;
}

}  // namespace tenon::cuda
