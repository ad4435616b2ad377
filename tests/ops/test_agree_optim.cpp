// Steps of optimisers of every table against ref, over a few steps from the same start.
#include <functional>

#include "agree.h"

using namespace tenon;
using namespace tenon::agree;

namespace {

/// Parameters, their gradients and two states; v is no less than 0.
struct Memory {
  explicit Memory(int64_t size)
      : n(size), p(normal(count(), 1)), g(normal(count(), 2)), m(normal(count(), 3, 0.1f)), v(normal(count(), 4, 0.1f)) {
    for (float& x : v) x *= x;
    g[0] = 0, m[0] = 0, v[0] = 0;  // nothing may be divided by 0
  }
  size_t count() const { return static_cast<size_t>(n); }
  int64_t n;
  std::vector<float> p, g, m, v, most = std::vector<float>(count());
};

/// step(table, memory) thrice from the same start, in both tables.
void check_step(const Kernels& k, double tolerance, const std::function<void(const Kernels&, Memory&)>& step) {
  for (const int64_t n : sizes()) {
    INFO("n ", n);
    Memory expected(n), got(n);
    for (int i = 0; i < 3; ++i) step(ref(), expected), step(k, got);
    CHECK(distance(got.p, expected.p) <= tolerance);
    CHECK(distance(got.m, expected.m) <= tolerance);
    CHECK(distance(got.v, expected.v) <= tolerance);
  }
}

}  // namespace

TEST_CASE("adamw agrees, with decay of the parameters and of the gradient") {
  for_tables([&](const Kernels& k) {
    for (const bool decay_gradient : {false, true})
      check_step(k, 2e-6, [&](const Kernels& table, Memory& a) {
        AdamWCall c{.p = a.p.data(),
                    .m = a.m.data(),
                    .v = a.v.data(),
                    .g = a.g.data(),
                    .n = a.n,
                    .lr = 0.01f,
                    .beta1 = 0.9f,
                    .beta2 = 0.999f,
                    .eps = 1e-8f,
                    .weight_decay = 0.1f,
                    .grad_scale = 0.5f,
                    .correction1 = 0.19f,
                    .correction2 = 0.002f,
                    .decay_gradient = decay_gradient};
        table.adamw(c);
      });
  });
}

TEST_CASE("adamw with amsgrad agrees") {
  for_tables([&](const Kernels& k) {
    for (const bool decay_gradient : {false, true})
      check_step(k, 2e-6, [&](const Kernels& table, Memory& a) {
        AdamWCall c{.p = a.p.data(), .m = a.m.data(), .v = a.v.data(), .g = a.g.data(), .n = a.n, .lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.5f};
        c.eps = 1e-8f, c.weight_decay = 0.1f, c.correction1 = 0.19f, c.correction2 = 0.75f, c.decay_gradient = decay_gradient;
        c.vmax = a.most.data();
        table.adamw(c);
        for (size_t i = 0; i < a.v.size(); ++i) CHECK(a.most[i] >= a.v[i]);
        a.g[a.g.size() / 2] = 0;  // its v falls
      });
  });
}

TEST_CASE("sgd agrees, with and without momentum") {
  for_tables([&](const Kernels& k) {
    for (const float momentum : {0.0f, 0.9f})
      for (const bool nesterov : {false, true}) {
        int step = 0;
        check_step(k, 2e-6, [&](const Kernels& table, Memory& a) {
          SgdCall c{.p = a.p.data(),
                    .m = momentum > 0 ? a.m.data() : nullptr,
                    .g = a.g.data(),
                    .n = a.n,
                    .lr = 0.1f,
                    .momentum = momentum,
                    .dampening = nesterov ? 0.0f : 0.2f,
                    .weight_decay = 0.01f,
                    .grad_scale = 2,
                    .nesterov = nesterov && momentum > 0,
                    .first = step++ / 2 == 0};
          table.sgd(c);
        });
      }
  });
}

TEST_CASE("the first step of sgd does not read its momentum") {
  for_tables([&](const Kernels& k) {
    for (const int64_t n : sizes()) {
      Memory a(n);
      std::fill(a.m.begin(), a.m.end(), std::nanf(""));
      k.sgd({.p = a.p.data(), .m = a.m.data(), .g = a.g.data(), .n = n, .lr = 0.1f, .momentum = 0.9f, .dampening = 0.5f, .first = true});
      CHECK(distance(a.m, a.g) == 0);
    }
  });
}

TEST_CASE("lion agrees") {
  for_tables([&](const Kernels& k) {
    check_step(k, 2e-6, [&](const Kernels& table, Memory& a) {
      table.lion({.p = a.p.data(),
                  .m = a.m.data(),
                  .g = a.g.data(),
                  .n = a.n,
                  .lr = 0.01f,
                  .beta1 = 0.9f,
                  .beta2 = 0.99f,
                  .weight_decay = 0.1f,
                  .grad_scale = 0.5f});
    });
  });
}

TEST_CASE("sums of squares agree in double, beyond the range of float too") {
  for_tables([&](const Kernels& k) {
    for (const int64_t n : sizes())
      for (const float scale : {1e-30f, 1.0f, 1e30f}) {
        const std::vector<float> x = normal(static_cast<size_t>(n), 5, scale);
        CHECK(k.sum_of_squares(x.data(), n) == doctest::Approx(ref().sum_of_squares(x.data(), n)).epsilon(1e-12));
      }
    CHECK(k.sum_of_squares(nullptr, 0) == 0);
    const std::vector<float> bad = {1, 2, std::nanf(""), 4};
    CHECK(std::isnan(k.sum_of_squares(bad.data(), 4)));
  });
}
