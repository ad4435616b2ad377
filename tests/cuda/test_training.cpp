// Kernels of training.
#include "device_agree.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

size_t size(int64_t n) { return static_cast<size_t>(n); }
const std::vector<int64_t> kCounts = {1, 3, 4, 5, 8, 63, 257, 20011};

template <class E>
void check_dropout(int64_t begin, int64_t n, uint32_t below) {
  const Dropout d{.seed = 0x1234567890abcdefu, .stream = 7, .first = 0xfffffffeu, .below = below, .scale = 1.5f};
  const std::vector<E> x = as<E>(normal(size(n), 1));
  std::vector<E> expected(x.size());
  ref().dropout(expected.data(), x.data(), d, begin, n, type_of<E>());
  OnDevice<E> gx = x;
  kernels().dropout(gx.p(), gx.p(), d, begin, n, type_of<E>());
  CHECK(distance(gx.get(), expected) == 0);
}

}  // namespace

TEST_CASE("device: dropout drops the same elements, wherever it begins") {
  for (int64_t begin : {int64_t{0}, int64_t{5}, int64_t{8}, int64_t{1} << 33})
    for (int64_t n : {int64_t{1}, int64_t{2}, int64_t{7}, int64_t{8}, int64_t{9}, int64_t{5000}})
      for (uint32_t below : {0u, 6554u, 65536u}) {
        INFO("begin ", begin, ", n ", n, ", below ", below);
        check_dropout<float>(begin, n, below);
        check_dropout<bfloat16>(begin, n, below);
      }
}

TEST_CASE("device: adamw agrees") {
  for (int64_t n : kCounts)
    for (bool decay_gradient : {false, true}) {
      INFO("n ", n);
      const std::vector<float> g = normal(size(n), 1);
      std::vector<float> p = normal(size(n), 2), m = normal(size(n), 3), v = normal(size(n), 4);
      for (float& x : v) x *= x;
      Floats gp = p, gm = m, gv = v, gg = g;
      AdamWCall c{.p = p.data(), .m = m.data(), .v = v.data(), .g = g.data(), .n = n, .lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.99f};
      c.eps = 1e-8f, c.weight_decay = 0.1f, c.grad_scale = 0.5f, c.correction1 = 0.3f, c.correction2 = 0.05f, c.decay_gradient = decay_gradient;
      ref().adamw(c);
      c.p = gp.p(), c.m = gm.p(), c.v = gv.p(), c.g = gg.p();
      kernels().adamw(c);
      CHECK(distance(gp.get(), p) <= 1e-6 * largest(p));
      CHECK(distance(gm.get(), m) <= 1e-6 * largest(m));
      CHECK(distance(gv.get(), v) <= 1e-6 * largest(v));
    }
}

TEST_CASE("device: sgd agrees, without momentum too") {
  for (int64_t n : kCounts)
    for (int kind = 0; kind < 4; ++kind) {
      INFO("n ", n, ", kind ", kind);
      const std::vector<float> g = normal(size(n), 1);
      std::vector<float> p = normal(size(n), 2), m = normal(size(n), 3);
      Floats gp = p, gm = m, gg = g;
      SgdCall c{.p = p.data(), .m = kind ? m.data() : nullptr, .g = g.data(), .n = n, .lr = 0.1f, .momentum = 0.9f, .dampening = 0.2f};
      c.weight_decay = 0.01f, c.grad_scale = 2, c.nesterov = kind == 2, c.first = kind == 3;
      ref().sgd(c);
      c.p = gp.p(), c.m = kind ? gm.p() : nullptr, c.g = gg.p();
      kernels().sgd(c);
      CHECK(distance(gp.get(), p) <= 1e-6 * largest(p));
      CHECK(distance(gm.get(), m) <= 1e-6 * largest(m));
    }
}

TEST_CASE("device: lion agrees, zeros included") {
  for (int64_t n : kCounts) {
    INFO("n ", n);
    std::vector<float> g = normal(size(n), 1), p = normal(size(n), 2), m = normal(size(n), 3);
    g[0] = m[0] = 0;
    Floats gp = p, gm = m, gg = g;
    LionCall c{.p = p.data(), .m = m.data(), .g = g.data(), .n = n, .lr = 0.1f, .beta1 = 0.9f, .beta2 = 0.99f, .weight_decay = 0.01f};
    ref().lion(c);
    c.p = gp.p(), c.m = gm.p(), c.g = gg.p();
    kernels().lion(c);
    CHECK(distance(gp.get(), p) <= 1e-6 * largest(p));
    CHECK(distance(gm.get(), m) <= 1e-6 * largest(m));
  }
}

TEST_CASE("device: sum_of_squares is summed in double") {
  for (int64_t n : {int64_t{0}, int64_t{1}, int64_t{255}, int64_t{4097}, int64_t{30011}}) {
    INFO("n ", n);
    const std::vector<float> x = normal(size(n) + 1, 1, 3);
    Floats gx = x;
    const double expected = ref().sum_of_squares(x.data(), n);
    CHECK(std::fabs(kernels().sum_of_squares(gx.p(), n) - expected) <= 1e-12 * expected);
  }
}
