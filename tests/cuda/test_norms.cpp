// Kernels that reduce rows.
#include "device_agree.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

constexpr int64_t N = 5;
size_t size(int64_t n) { return static_cast<size_t>(n); }

template <class E>
void check_norms(int64_t C, float shift) {
  const std::vector<E> x = as<E>(normal(size(N * C), 1, 2, shift));
  const std::vector<float> w = normal(size(C), 2), b = normal(size(C), 3);
  std::vector<E> expected(x.size());
  std::vector<float> mean(N), rstd(N);
  const double scale = 1 + std::fabs(shift);
  OnDevice<E> dx = x, dy = std::vector<E>(x.size());
  Floats dw = w, db = b, dmean = mean, drstd = rstd;

  ref().layer_norm(expected.data(), x.data(), w.data(), b.data(), mean.data(), rstd.data(), N, C, 1e-5f, type_of<E>());
  kernels().layer_norm(dy.p(), dx.p(), dw.p(), db.p(), dmean.p(), drstd.p(), N, C, 1e-5f, type_of<E>());
  CHECK(distance(dy.get(), expected) <= step(expected, 1e-5 * scale));
  CHECK(distance(dmean.get(), mean) <= 1e-6 * scale);
  CHECK(distance(drstd.get(), rstd) <= 1e-5 * largest(rstd));

  ref().rms_norm(expected.data(), x.data(), w.data(), rstd.data(), N, C, 1e-5f, type_of<E>());
  kernels().rms_norm(dy.p(), dx.p(), dw.p(), drstd.p(), N, C, 1e-5f, type_of<E>());
  CHECK(distance(dy.get(), expected) <= step(expected, 1e-5 * scale));
  CHECK(distance(drstd.get(), rstd) <= 1e-5 * largest(rstd));

  const std::vector<E> before = dy.get();
  kernels().rms_norm(dx.p(), dx.p(), dw.p(), nullptr, N, C, 1e-5f, type_of<E>());  // in place, without rstd
  CHECK(distance(dx.get(), before) == 0);
}

template <class E>
void check_quantize(int64_t C) {
  std::vector<E> x = as<E>(normal(size(N * C), 1, 5));
  for (int64_t c = 0; c < C; ++c) x[size(C + c)] = E{};  // a row of zeros
  std::vector<int8_t> expected(x.size());
  std::vector<float> scale(N);
  ref().quantize_rows(expected.data(), scale.data(), x.data(), N, C, type_of<E>());
  OnDevice<E> dx = x;
  OnDevice<int8_t> q = std::vector<int8_t>(x.size());
  Floats dscale = std::vector<float>(N);
  kernels().quantize_rows(q.p(), dscale.p(), dx.p(), N, C, type_of<E>());
  CHECK(dscale.get() == scale);
  CHECK(q.get() == expected);
  std::vector<float8> expected8(x.size());
  ref().quantize_rows_fp8(expected8.data(), scale.data(), x.data(), N, C, type_of<E>());
  OnDevice<uint8_t> q8 = std::vector<uint8_t>(x.size());
  kernels().quantize_rows_fp8(reinterpret_cast<float8*>(q8.p()), dscale.p(), dx.p(), N, C, type_of<E>());
  CHECK(dscale.get() == scale);
  const std::vector<uint8_t> got8 = q8.get();
  CHECK(std::equal(got8.begin(), got8.end(), expected8.begin(), [](uint8_t a, float8 b) { return a == b.bits; }));
}

}  // namespace

TEST_CASE("device: layer_norm and rms_norm agree") {
  for (int64_t C : widths()) {
    INFO("C ", C);
    for (float shift : {0.0f, 30.0f}) {
      check_norms<float>(C, shift);
      check_norms<bfloat16>(C, shift);
    }
  }
}

TEST_CASE("device: the norms' gradients agree, and dw and db are added to") {
  for (int64_t C : widths()) {
    for (int64_t rows : {int64_t{1}, N, int64_t{41}}) {
      if (rows > N && C > 300) continue;
      INFO("C ", C, ", rows ", rows);
      const size_t n = size(rows * C), c = size(C);
      const std::vector<float> x = normal(n, 1), dy = normal(n, 2), w = normal(c, 3), b(c), dw = normal(c, 4), db = normal(c, 5);
      std::vector<float> y(n), mean(size(rows)), rstd(size(rows)), dx(n), dw_a = dw, db_a = db;
      ref().layer_norm(y.data(), x.data(), w.data(), b.data(), mean.data(), rstd.data(), rows, C, 1e-2f, DType::F32);
      ref().layer_norm_backward(dx.data(), dw_a.data(), db_a.data(), dy.data(), x.data(), w.data(), mean.data(), rstd.data(), rows, C);
      Floats gx = x, gdy = dy, gw = w, gdw = dw, gdb = db, gmean = mean, grstd = rstd, gdx = y;
      kernels().layer_norm_backward(gdx.p(), gdw.p(), gdb.p(), gdy.p(), gx.p(), gw.p(), gmean.p(), grstd.p(), rows, C);
      CHECK(distance(gdx.get(), dx) <= 1e-5 * (1 + largest(dx)));
      CHECK(distance(gdw.get(), dw_a) <= 1e-5 * (1 + largest(dw_a)));
      CHECK(distance(gdb.get(), db_a) <= 1e-5 * (1 + largest(db_a)));

      std::vector<float> dw_r = dw;
      ref().rms_norm(y.data(), x.data(), w.data(), rstd.data(), rows, C, 1e-2f, DType::F32);
      ref().rms_norm_backward(dx.data(), dw_r.data(), dy.data(), x.data(), w.data(), rstd.data(), rows, C);
      Floats rdw = dw, rrstd = rstd;
      kernels().rms_norm_backward(gdx.p(), rdw.p(), gdy.p(), gx.p(), gw.p(), rrstd.p(), rows, C);
      CHECK(distance(gdx.get(), dx) <= 1e-5 * (1 + largest(dx)));
      CHECK(distance(rdw.get(), dw_r) <= 1e-5 * (1 + largest(dw_r)));

      std::vector<float> sum = dw;
      ref().sum_rows(sum.data(), x.data(), rows, C);
      Floats gsum = dw;
      kernels().sum_rows(gsum.p(), gx.p(), rows, C);
      CHECK(distance(gsum.get(), sum) <= 1e-5 * (1 + largest(sum)));
    }
  }
}

TEST_CASE("device: l2_normalize agrees, rows of zeros included") {
  for (int64_t C : widths()) {
    INFO("C ", C);
    std::vector<float> x = normal(size(N * C), 1);
    for (int64_t c = 0; c < C; ++c) x[size(C + c)] = 0;
    std::vector<float> expected(x.size()), norm(N);
    for (float eps : {0.0f, 1e-6f}) {
      ref().l2_normalize(expected.data(), norm.data(), x.data(), N, C, eps);
      Floats dx = x, dy = x, dnorm = norm;
      kernels().l2_normalize(dy.p(), dnorm.p(), dx.p(), N, C, eps);
      CHECK(distance(dy.get(), expected) <= 1e-6);
      CHECK(distance(dnorm.get(), norm) <= 1e-5 * largest(norm));
      kernels().l2_normalize(dx.p(), nullptr, dx.p(), N, C, eps);
      CHECK(distance(dx.get(), dy.get()) == 0);
    }
  }
}

TEST_CASE("device: quantize_rows agrees") {
  for (int64_t C : widths()) {
    INFO("C ", C);
    check_quantize<float>(C);
    check_quantize<bfloat16>(C);
  }
}
