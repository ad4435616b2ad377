// Kernels over rows: softmax, losses, rows picked, put and summed.
#include "device_agree.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

constexpr int64_t N = 4;
constexpr float kInf = std::numeric_limits<float>::infinity();
size_t size(int64_t n) { return static_cast<size_t>(n); }

template <class E>
std::vector<E> numbers(size_t n, unsigned seed) {
  const std::vector<float> v = normal(n, seed);
  std::vector<E> r(n);
  for (size_t i = 0; i < n; ++i)
    if constexpr (sizeof(E) == 4) r[i] = v[i];
    else r[i] = E::from(v[i]);
  return r;
}

template <class E, class Table>
void check_gather(DType table_type, int64_t C) {
  const std::vector<int64_t> index = {4, 0, 4, 2};
  const std::vector<Table> table = numbers<Table>(size(5 * C), 1);
  OnDevice<Table> dtable = table;
  Indices dindex = index;
  for (bool accumulate : {false, true}) {
    std::vector<E> expected = as<E>(normal(size(N * C), 2));
    OnDevice<E> y = expected;
    ref().gather_rows(expected.data(), type_of<E>(), table.data(), table_type, index.data(), N, C, accumulate);
    kernels().gather_rows(y.p(), type_of<E>(), dtable.p(), table_type, dindex.p(), N, C, accumulate);
    CHECK(distance(y.get(), expected) == 0);
  }
}

template <class E>
void check_combine(int64_t C) {
  constexpr int64_t K = 3;
  const std::vector<int64_t> index = {0, 2, -1, 5, 5, 1, -1, -1, -1, 3, 0, 4};
  const std::vector<float> weight = normal(size(N * K), 3);
  const std::vector<E> x = as<E>(normal(size(6 * C), 1));
  OnDevice<E> dx = x;
  Indices dindex = index;
  Floats dweight = weight;
  for (bool accumulate : {false, true}) {
    std::vector<E> expected = as<E>(normal(size(N * C), 2));
    OnDevice<E> y = expected;
    ref().combine_rows(expected.data(), x.data(), index.data(), weight.data(), N, K, C, accumulate, type_of<E>());
    kernels().combine_rows(y.p(), dx.p(), dindex.p(), dweight.p(), N, K, C, accumulate, type_of<E>());
    CHECK(distance(y.get(), expected) <= step(expected, 1e-5));
  }
}

}  // namespace

TEST_CASE("device: softmax and its gradient agree, masked and large logits included") {
  for (int64_t C : widths()) {
    INFO("C ", C);
    std::vector<float> x = normal(size(N * C), 1, 10);
    for (size_t i = 1; i < x.size(); i += 7) x[i] = -kInf;
    x[0] = 3, x[size(C)] = 1e4f, x[size(2 * C)] = -1e30f, x[size(3 * C)] = 0;
    std::vector<float> expected(x.size()), dx(x.size());
    ref().softmax(expected.data(), x.data(), N, C);
    Floats gx = x, gy = x;
    kernels().softmax(gy.p(), gx.p(), N, C);
    CHECK(distance(gy.get(), expected) <= 1e-6);
    kernels().softmax(gx.p(), gx.p(), N, C);
    CHECK(distance(gx.get(), gy.get()) == 0);
    const std::vector<float> dy = normal(x.size(), 2);
    ref().softmax_backward(dx.data(), dy.data(), expected.data(), N, C);
    Floats gdy = dy, y = expected;
    kernels().softmax_backward(gdy.p(), gdy.p(), y.p(), N, C);  // in place
    CHECK(distance(gdy.get(), dx) <= 1e-6);
  }
}

TEST_CASE("device: cross_entropy agrees; labels to be ignored give zeros, labels out of range NaN") {
  for (int64_t C : widths()) {
    for (float smoothing : {0.0f, 0.1f}) {
      INFO("C ", C, ", smoothing ", smoothing);
      const std::vector<float> x = normal(size(N * C), 1, 4, 20);
      const std::vector<int64_t> labels = {C - 1, -100, 0, C / 2};
      std::vector<float> loss(N), d(x.size());
      ref().cross_entropy(loss.data(), d.data(), x.data(), labels.data(), N, C, -100, smoothing);
      Floats gx = x, gloss = loss, gd = x;
      Indices glabels = labels;
      kernels().cross_entropy(gloss.p(), gd.p(), gx.p(), glabels.p(), N, C, -100, smoothing);
      CHECK(distance(gloss.get(), loss) <= 1e-5 * (1 + largest(loss)));
      CHECK(distance(gd.get(), d) <= 1e-6);
      Floats alone = std::vector<float>(N);
      kernels().cross_entropy(alone.p(), nullptr, gx.p(), glabels.p(), N, C, -100, smoothing);
      CHECK(distance(alone.get(), gloss.get()) == 0);
      Indices wrong = std::vector<int64_t>{C, -1, 0, C - 1};
      kernels().cross_entropy(gloss.p(), gd.p(), gx.p(), wrong.p(), N, C, -100, smoothing);
      CHECK(std::isnan(gloss.get()[0]));
      CHECK(std::isnan(gloss.get()[1]));
      CHECK(std::isfinite(gloss.get()[2]));
      CHECK(std::isnan(gd.get()[0]));
    }
  }
}

TEST_CASE("device: gather_rows and combine_rows agree in all types") {
  for (int64_t C : widths()) {
    INFO("C ", C);
    check_gather<float, float>(DType::F32, C);
    check_gather<float, bfloat16>(DType::BF16, C);
    check_gather<float, float16>(DType::F16, C);
    check_gather<bfloat16, float>(DType::F32, C);
    check_gather<bfloat16, bfloat16>(DType::BF16, C);
    check_gather<bfloat16, float16>(DType::F16, C);
    check_combine<float>(C);
    check_combine<bfloat16>(C);
  }
}

TEST_CASE("device: scatter_add_rows agrees with repeated indices, more rows than a tile has") {
  for (int64_t C : {int64_t{33}, int64_t{300}}) {
    for (int64_t rows : {int64_t{1}, int64_t{7}, int64_t{255}, int64_t{257}, int64_t{600}}) {
      INFO("C ", C, ", rows ", rows);
      std::vector<int64_t> index(size(rows));
      for (int64_t i = 0; i < rows; ++i) index[size(i)] = i * i % 7;
      const std::vector<float> dy = normal(size(rows * C), 1);
      std::vector<float> expected = normal(size(7 * C), 2);
      Floats table = expected, gdy = dy;
      Indices gindex = index;
      ref().scatter_add_rows(expected.data(), dy.data(), index.data(), rows, C);
      kernels().scatter_add_rows(table.p(), gdy.p(), gindex.p(), rows, C);
      CHECK(distance(table.get(), expected) == 0);  // the same order of sums
    }
  }
}
