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

TEST_CASE("device: adamw with amsgrad agrees") {
  for (int64_t n : kCounts) {
    INFO("n ", n);
    const std::vector<float> g = normal(size(n), 1);
    std::vector<float> p = normal(size(n), 2), m = normal(size(n), 3), v = normal(size(n), 4), most = normal(size(n), 5);
    for (float& x : v) x *= x;
    for (float& x : most) x *= x;
    Floats gp = p, gm = m, gv = v, gg = g, gx = most;
    AdamWCall c{.p = p.data(), .m = m.data(), .v = v.data(), .g = g.data(), .n = n, .lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.99f};
    c.eps = 1e-8f, c.correction1 = 0.3f, c.correction2 = 0.05f, c.vmax = most.data();
    ref().adamw(c);
    c.p = gp.p(), c.m = gm.p(), c.v = gv.p(), c.g = gg.p(), c.vmax = gx.p();
    kernels().adamw(c);
    CHECK(distance(gp.get(), p) <= 1e-6 * largest(p));
    CHECK(distance(gx.get(), most) <= 1e-6 * largest(most));
  }
}

TEST_CASE("device: adamw in 8 bits agrees: codes and magnitudes, blocks of zeros and what is left of a block included") {
  std::vector<float> first(256), second(256);  // any two rising books do
  for (size_t i = 0; i < 256; ++i) {
    const float x = (static_cast<float>(i) - 127) / 128;
    first[i] = x * std::fabs(x), second[i] = static_cast<float>(i * i) / (255.0f * 255.0f);
  }
  std::mt19937 engine(1);
  for (int64_t n : {int64_t{1}, int64_t{255}, int64_t{256}, int64_t{257}, int64_t{5000}}) {
    INFO("n ", n);
    const int64_t blocks = (n + 255) / 256;
    std::vector<float> g = normal(size(n), 1), p = normal(size(n), 2), m_most = normal(size(blocks), 3), v_most = m_most;
    for (float& x : m_most) x = std::fabs(x);
    for (float& x : v_most) x *= x;
    std::vector<uint8_t> m(size(n)), v(size(n));
    for (size_t i = 0; i < m.size(); ++i) m[i] = static_cast<uint8_t>(engine()), v[i] = static_cast<uint8_t>(engine());
    m_most[0] = v_most[0] = 0;  // as a new state is
    if (n > 600) std::fill(g.begin() + 256, g.begin() + 512, 0.0f), m_most[1] = v_most[1] = 0;
    Floats gp = p, gg = g, gmm = m_most, gvm = v_most, g1 = first, g2 = second;
    OnDevice<uint8_t> gm = m, gv = v;
    AdamW8Call c{.step = {.p = p.data(), .g = g.data(), .n = n, .lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .weight_decay = 0.1f}};
    c.step.correction1 = 0.3f, c.step.correction2 = 0.05f, c.step.grad_scale = 0.5f;
    c.m = m.data(), c.v = v.data(), c.m_largest = m_most.data(), c.v_largest = v_most.data(), c.m_numbers = first.data(), c.v_numbers = second.data();
    ref().adamw8(c);
    c.step.p = gp.p(), c.step.g = gg.p(), c.m = gm.p(), c.v = gv.p(), c.m_largest = gmm.p(), c.v_largest = gvm.p();
    c.m_numbers = g1.p(), c.v_numbers = g2.p();
    kernels().adamw8(c);
    CHECK(distance(gp.get(), p) <= 1e-6 * largest(p));
    CHECK(distance(gmm.get(), m_most) <= 1e-6 * largest(m_most));
    CHECK(distance(gvm.get(), v_most) <= 1e-6 * largest(v_most));
    const std::vector<uint8_t> got_m = gm.get(), got_v = gv.get();
    int64_t apart = 0;
    for (size_t i = 0; i < m.size(); ++i) {
      CHECK(std::abs(got_m[i] - m[i]) <= 1);
      CHECK(std::abs(got_v[i] - v[i]) <= 1);
      apart += got_m[i] != m[i] || got_v[i] != v[i];
    }
    CHECK(apart <= n / 100);
  }
}

TEST_CASE("device: adafactor agrees, matrices and vectors") {
  const int64_t shapes[][3] = {{1, 0, 1}, {1, 0, 1000}, {1, 1, 1}, {1, 3, 5}, {2, 65, 33}, {1, 200, 300}, {3, 64, 1}, {0, 4, 4}};
  for (const auto& shape : shapes)
    for (int kind = 0; kind < 3; ++kind) {
      const int64_t count = shape[0], rows = shape[1], columns = shape[2], n = rows ? count * rows * columns : columns;
      INFO(count, " x ", rows, " x ", columns, ", kind ", kind);
      const std::vector<float> g = normal(size(n), 1);
      std::vector<float> p = normal(size(n), 2), average = normal(size(n), 3), row = normal(size(count * rows), 4), column = normal(size(count * columns), 5);
      for (auto* means : {&row, &column})
        for (float& x : *means) x *= x;
      Floats gp = p, gg = g, ga = average, gr = row, gc = column;
      AdafactorCall c{.p = p.data(), .g = g.data(), .row = row.data(), .column = column.data()};
      c.count = count, c.rows = rows, c.columns = columns, c.lr = 0.01f, c.keep = kind ? 0.7f : 0.0f, c.eps1 = 1e-30f, c.grad_scale = 0.5f;
      if (kind == 1) c.average = average.data(), c.beta1 = 0.9f, c.weight_decay = 0.1f;
      if (kind == 2) c.least_size = 1e-3f, c.clip_threshold = 0.1f;
      ref().adafactor(c);
      c.p = gp.p(), c.g = gg.p(), c.row = gr.p(), c.column = gc.p();
      if (c.average) c.average = ga.p();
      kernels().adafactor(c);
      if (n == 0) continue;
      CHECK(distance(gp.get(), p) <= 2e-6 * largest(p));
      CHECK(distance(gc.get(), column) <= 2e-6 * largest(column));
      CHECK(distance(ga.get(), average) <= 2e-6 * largest(average));
      if (rows) CHECK(distance(gr.get(), row) <= 2e-6 * largest(row));
    }
}
