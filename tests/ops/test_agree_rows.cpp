// Kernels over rows of every table against ref.
#include "agree.h"

using namespace tenon;
using namespace tenon::agree;

namespace {

constexpr int64_t N = 3;
constexpr float kInf = std::numeric_limits<float>::infinity();

/// A bf16 result may fall on the other side of a rounding: one step, 2^-8 of the largest value.
template <class E>
double step(const std::vector<E>& v, double bound) {
  return sizeof(E) == 4 ? bound : largest(v) / 128;
}

template <class E>
void check_layer_norm(const Kernels& k, int64_t C, float mean_of_x) {
  const size_t n = static_cast<size_t>(N * C);
  const std::vector<E> x = as<E>(normal(n, 1, 2, mean_of_x));
  const std::vector<float> w = normal(static_cast<size_t>(C), 2), b = normal(static_cast<size_t>(C), 3);
  std::vector<E> expected(n), got(n);
  std::vector<float> mean(N), rstd(N), got_mean(N), got_rstd(N);
  ref().layer_norm(expected.data(), x.data(), w.data(), b.data(), mean.data(), rstd.data(), N, C, 1e-5f, type_of<E>());
  k.layer_norm(got.data(), x.data(), w.data(), b.data(), got_mean.data(), got_rstd.data(), N, C, 1e-5f, type_of<E>());
  const double scale = 1 + std::fabs(mean_of_x);
  CHECK(distance(got, expected) <= step(expected, 1e-5 * scale));
  CHECK(distance(got_mean, mean) <= 1e-6 * scale);
  CHECK(distance(got_rstd, rstd) <= 1e-5 * largest(rstd));
  std::vector<E> in_place = x;
  k.layer_norm(in_place.data(), in_place.data(), w.data(), b.data(), nullptr, nullptr, N, C, 1e-5f, type_of<E>());
  CHECK(distance(in_place, got) == 0);
}

template <class E>
void check_quantize(const Kernels& k, int64_t C) {
  std::vector<E> x = as<E>(normal(static_cast<size_t>(N * C), 1, 5));
  for (int64_t c = 0; c < C; ++c) x[static_cast<size_t>(C + c)] = E{};  // a row of zeros
  std::vector<int8_t> expected(x.size()), got(x.size());
  std::vector<float> scale(N), got_scale(N);
  ref().quantize_rows(expected.data(), scale.data(), x.data(), N, C, type_of<E>());
  k.quantize_rows(got.data(), got_scale.data(), x.data(), N, C, type_of<E>());
  CHECK(scale == got_scale);
  for (size_t i = 0; i < x.size(); ++i) {
    if (got[i] == expected[i]) continue;
    // x / scale and x * (1 / scale) may fall on either side of a half.
    const double v = static_cast<double>(x[i]) / scale[i / static_cast<size_t>(C)];
    CHECK(std::fabs(std::fabs(v - std::floor(v)) - 0.5) < 1e-4);
    CHECK(std::abs(got[i] - expected[i]) == 1);
  }
}

template <class E>
void check_quantize_fp8(const Kernels& k, int64_t C) {
  std::vector<float> values = normal(static_cast<size_t>(N * C), 1, 5);
  for (int64_t c = 0; c < C; ++c) values[static_cast<size_t>(C + c)] = 0;                            // a row of zeros
  for (int64_t c = 0; c < C; c += 3) values[static_cast<size_t>(c)] = static_cast<float>(c) * 1e-4f;  // below the smallest normal number
  const std::vector<E> x = as<E>(values);
  std::vector<float8> expected(x.size()), got(x.size());
  std::vector<float> scale(N), got_scale(N);
  ref().quantize_rows_fp8(expected.data(), scale.data(), x.data(), N, C, type_of<E>());
  k.quantize_rows_fp8(got.data(), got_scale.data(), x.data(), N, C, type_of<E>());
  CHECK(scale == got_scale);
  for (size_t i = 0; i < x.size(); ++i) {
    if (got[i].bits == expected[i].bits) continue;
    const double v = std::fabs(static_cast<double>(x[i]) / scale[i / static_cast<size_t>(C)]);
    const double a = std::fabs(f8e4m3_to_float(got[i].bits)), b = std::fabs(f8e4m3_to_float(expected[i].bits));
    CHECK(std::abs(got[i].bits - expected[i].bits) == 1);
    CHECK(std::fabs(v - (a + b) / 2) < 1e-6 * v);  // a tie
  }
}

template <class E, class Table>
void check_gather(const Kernels& k, DType table_type, int64_t C) {
  const std::vector<int64_t> index = {4, 0, 4};
  std::vector<Table> table(static_cast<size_t>(5 * C));
  const std::vector<float> values = normal(table.size(), 1);
  for (size_t i = 0; i < table.size(); ++i) {
    if constexpr (sizeof(Table) == 4)
      table[i] = values[i];
    else
      table[i] = Table::from(values[i]);
  }
  for (bool accumulate : {false, true}) {
    std::vector<E> expected = as<E>(normal(static_cast<size_t>(N * C), 2)), got = expected;
    ref().gather_rows(expected.data(), type_of<E>(), table.data(), table_type, index.data(), N, C, accumulate);
    k.gather_rows(got.data(), type_of<E>(), table.data(), table_type, index.data(), N, C, accumulate);
    CHECK(distance(got, expected) == 0);
  }
}

}  // namespace

TEST_CASE("layer_norm agrees") {
  for_tables([&](const Kernels& k) {
    for (int64_t C : sizes()) {
      INFO("C ", C);
      for (float mean : {0.0f, 30.0f}) {
        check_layer_norm<float>(k, C, mean);
        check_layer_norm<bfloat16>(k, C, mean);
      }
    }
  });
}

TEST_CASE("layer_norm_backward agrees and adds to dw and db") {
  for_tables([&](const Kernels& k) {
    for (int64_t C : sizes()) {
      INFO("C ", C);
      const size_t n = static_cast<size_t>(N * C), c = static_cast<size_t>(C);
      const std::vector<float> x = normal(n, 1), dy = normal(n, 2), w = normal(c, 3), b(c), dw = normal(c, 4), db = normal(c, 5);
      std::vector<float> y(n), mean(N), rstd(N), dx(n), got_dx(n), dw_a = dw, dw_b = dw, db_a = db, db_b = db;
      ref().layer_norm(y.data(), x.data(), w.data(), b.data(), mean.data(), rstd.data(), N, C, 1e-2f, DType::F32);
      ref().layer_norm_backward(dx.data(), dw_a.data(), db_a.data(), dy.data(), x.data(), w.data(), mean.data(), rstd.data(), N, C);
      k.layer_norm_backward(got_dx.data(), dw_b.data(), db_b.data(), dy.data(), x.data(), w.data(), mean.data(), rstd.data(), N, C);
      CHECK(distance(got_dx, dx) <= 1e-5 * (1 + largest(dx)));
      CHECK(distance(dw_b, dw_a) <= 1e-5);
      CHECK(distance(db_b, db_a) <= 1e-5);
    }
  });
}

TEST_CASE("softmax and its gradient agree, masked and large logits included") {
  for_tables([&](const Kernels& k) {
    for (int64_t C : sizes()) {
      INFO("C ", C);
      std::vector<float> x = normal(static_cast<size_t>(N * C), 1, 10);
      for (size_t i = 1; i < x.size(); i += 7) x[i] = -kInf;
      x[0] = 3, x[static_cast<size_t>(C)] = 1e4f, x[static_cast<size_t>(2 * C)] = -1e30f;
      std::vector<float> expected(x.size()), got(x.size()), dx(x.size()), got_dx(x.size());
      ref().softmax(expected.data(), x.data(), N, C);
      k.softmax(got.data(), x.data(), N, C);
      CHECK(distance(got, expected) <= 1e-6);
      std::vector<float> in_place = x;
      k.softmax(in_place.data(), in_place.data(), N, C);
      CHECK(distance(in_place, got) == 0);
      const std::vector<float> dy = normal(x.size(), 2);
      ref().softmax_backward(dx.data(), dy.data(), expected.data(), N, C);
      got_dx = dy;
      k.softmax_backward(got_dx.data(), got_dx.data(), expected.data(), N, C);
      CHECK(distance(got_dx, dx) <= 2e-6);
    }
  });
}

TEST_CASE("a NaN logit makes its row NaN and no other") {
  for_tables([&](const Kernels& k) {
    for (int64_t C : {5, 64, 100})
      for (int64_t at = 0; at < C; ++at) {
        std::vector<float> x = normal(static_cast<size_t>(2 * C), 1), y(x.size());
        x[static_cast<size_t>(at)] = std::nanf("");
        k.softmax(y.data(), x.data(), 2, C);
        for (int64_t c = 0; c < C; ++c) {
          CHECK(std::isnan(y[static_cast<size_t>(c)]));
          CHECK(std::isfinite(y[static_cast<size_t>(C + c)]));
        }
      }
  });
}

TEST_CASE("cross_entropy agrees, with smoothing, ignored rows and an offset") {
  for_tables([&](const Kernels& k) {
    for (int64_t C : sizes())
      for (float smoothing : {0.0f, 0.1f})
        for (float offset : {0.0f, 500.0f}) {
          INFO("C ", C, " smoothing ", smoothing, " offset ", offset);
          const std::vector<float> x = normal(static_cast<size_t>(N * C), 1, 4, offset);
          const std::vector<int64_t> labels = {C - 1, -100, C / 2};
          std::vector<float> loss(N), got_loss(N), d(x.size()), got_d(x.size(), 9.0f);
          ref().cross_entropy(loss.data(), d.data(), x.data(), labels.data(), N, C, -100, smoothing);
          k.cross_entropy(got_loss.data(), got_d.data(), x.data(), labels.data(), N, C, -100, smoothing);
          CHECK(distance(got_loss, loss) <= 4e-6 * (1 + largest(loss)));
          CHECK(distance(got_d, d) <= 2e-6);
          k.cross_entropy(got_loss.data(), nullptr, x.data(), labels.data(), N, C, -100, smoothing);
          CHECK(distance(got_loss, loss) <= 4e-6 * (1 + largest(loss)));
        }
  });
}

TEST_CASE("l2_normalize agrees, a row of zeros included") {
  for_tables([&](const Kernels& k) {
    for (int64_t C : sizes()) {
      std::vector<float> x = normal(static_cast<size_t>(N * C), 1);
      std::fill_n(x.begin(), C, 0.0f);
      std::vector<float> expected(x.size()), got(x.size()), norm(N), got_norm(N);
      ref().l2_normalize(expected.data(), norm.data(), x.data(), N, C, 1e-12f);
      k.l2_normalize(got.data(), got_norm.data(), x.data(), N, C, 1e-12f);
      CHECK(distance(got, expected) <= 1e-6);
      CHECK(distance(got_norm, norm) <= 1e-6 * (1 + largest(norm)));
    }
  });
}

TEST_CASE("gather_rows agrees for every pair of types") {
  for_tables([&](const Kernels& k) {
    for (int64_t C : sizes()) {
      INFO("C ", C);
      check_gather<float, float>(k, DType::F32, C);
      check_gather<float, bfloat16>(k, DType::BF16, C);
      check_gather<float, float16>(k, DType::F16, C);
      check_gather<bfloat16, float>(k, DType::F32, C);
      check_gather<bfloat16, bfloat16>(k, DType::BF16, C);
      check_gather<bfloat16, float16>(k, DType::F16, C);
    }
  });
}

TEST_CASE("scatter_add_rows and sum_rows agree") {
  for_tables([&](const Kernels& k) {
    for (int64_t C : sizes())
      for (int64_t rows : {1, 2, 4, 7, 33}) {
        const std::vector<float> x = normal(static_cast<size_t>(rows * C), 1), start = normal(static_cast<size_t>(3 * C), 2);
        std::vector<int64_t> index(static_cast<size_t>(rows));
        for (size_t i = 0; i < index.size(); ++i) index[i] = static_cast<int64_t>(i * i % 3);
        std::vector<float> expected = start, got = start;
        ref().scatter_add_rows(expected.data(), x.data(), index.data(), rows, C);
        k.scatter_add_rows(got.data(), x.data(), index.data(), rows, C);
        CHECK(distance(got, expected) <= 1e-5);
        expected = got = start;
        ref().sum_rows(expected.data(), x.data(), rows, C);
        k.sum_rows(got.data(), x.data(), rows, C);
        CHECK(distance(got, expected) <= 2e-5);
      }
  });
}

TEST_CASE("quantize_rows agrees but for ties") {
  for_tables([&](const Kernels& k) {
    for (int64_t C : sizes()) {
      INFO("C ", C);
      check_quantize<float>(k, C);
      check_quantize<bfloat16>(k, C);
      check_quantize_fp8<float>(k, C);
      check_quantize_fp8<bfloat16>(k, C);
    }
  });
}

TEST_CASE("quantize_rows gives 0 for a NaN and keeps the scale of the others") {
  for_tables([&](const Kernels& k) {
    for (size_t at : {0, 3, 17, 40}) {
      std::vector<float> x = normal(41, 1);
      x[at] = std::nanf("");
      std::vector<int8_t> expected(41), got(41);
      float scale, got_scale;
      ref().quantize_rows(expected.data(), &scale, x.data(), 1, 41, DType::F32);
      k.quantize_rows(got.data(), &got_scale, x.data(), 1, 41, DType::F32);
      CHECK(scale == got_scale);
      CHECK(got == expected);
      std::vector<float8> expected8(41), got8(41);
      ref().quantize_rows_fp8(expected8.data(), &scale, x.data(), 1, 41, DType::F32);
      k.quantize_rows_fp8(got8.data(), &got_scale, x.data(), 1, 41, DType::F32);
      CHECK(scale == got_scale);
      CHECK(got8[at].bits == 0);
      for (size_t i = 0; i < 41; ++i) CHECK(std::abs(got8[i].bits - expected8[i].bits) <= 1);
    }
  });
}

TEST_CASE("unfold_patches agrees to the last bit") {
  for_tables([&](const Kernels& k) {
    for (int64_t p : {1, 3, 7, 14, 16, 32})
      for (DType type : {DType::F32, DType::BF16, DType::F16}) {
        const int64_t height = 2 * p, width = 3 * p;
        const std::vector<float> x = normal(static_cast<size_t>(2 * 3 * height * width), 1);
        std::vector<char> expected(x.size() * 4), got(x.size() * 4);
        ref().unfold_patches(expected.data(), type, x.data(), 2, 3, height, width, p);
        k.unfold_patches(got.data(), type, x.data(), 2, 3, height, width, p);
        CHECK(got == expected);
      }
  });
}
