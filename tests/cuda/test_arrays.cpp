// Kernels over arrays with strides, sorts and scans.
#include "device_agree.h"
#include "tenon/core/arrays.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

const float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
const std::vector<float> kOdd = {0.0f, -0.0f, 1, -1, 0.5f, -0.5f, 2.5f, -2.5f, 3, -3, 1e-30f, 1e30f, kInf, -kInf, kNan, 7};

template <class T>
constexpr DType type_of_array() {
  return sizeof(T) == 8 ? DType::I64 : sizeof(T) == 4 ? DType::F32 : DType::Bool;
}

size_t bytes_of_result(const ElementwiseCall& c) { return gives_truth(c.op) ? 1 : size_of(c.y_type); }

/// Runs a call whose operands are these arrays in both tables; bytes of the results.
template <class T>
void check_call(ElementwiseCall c, const std::vector<uint8_t>& first, const std::vector<T>& a, const std::vector<T>& b, const int64_t* begin = nullptr) {
  size_t n = 1;
  for (int d = 0; d < c.rank; ++d) n *= static_cast<size_t>(c.size[d]);
  const int64_t zero[3] = {};
  if (!begin) begin = zero;
  std::vector<char> expected(n * bytes_of_result(c) + 8, 0x55);
  OnDevice<uint8_t> gy(std::vector<uint8_t>(expected.size(), 0x55)), gf = first;
  OnDevice<T> ga = a, gb = b;
  const auto set = [&](void* y, const uint8_t* f, const T* p, const T* q) {
    c.y = y;
    if (c.op == Elementwise::Where) c.x[0] = f + begin[0], c.x[1] = p + begin[1], c.x[2] = q + begin[2];
    else c.x[0] = p + begin[0], c.x[1] = q + begin[1];
  };
  set(expected.data(), first.data(), a.data(), b.data());
  ref().elementwise(c);
  set(gy.p(), gf.p(), ga.p(), gb.p());
  kernels().elementwise(c);
  const std::vector<uint8_t> got = gy.get();
  if (bytes_of_result(c) == 4) {
    for (size_t i = 0; i < n; ++i) {
      float x, y;
      std::memcpy(&x, &expected[i * 4], 4), std::memcpy(&y, &got[i * 4], 4);
      CHECK(((x != x && y != y) || x == y || std::fabs(x - y) <= 1e-6f * std::fabs(x)));
    }
  } else {
    CHECK(std::memcmp(got.data(), expected.data(), n * bytes_of_result(c)) == 0);
  }
  CHECK(std::memcmp(got.data() + n * bytes_of_result(c), expected.data() + n * bytes_of_result(c), 8) == 0);
}

/// Every operation of a type over all pairs of `odd` numbers: rows by columns, both broadcast.
template <class T>
void check_pairs(const std::vector<T>& odd) {
  const auto n = static_cast<int64_t>(odd.size());
  const std::vector<uint8_t> truths = {1, 0, 1};
  for (int op = 0; op <= static_cast<int>(Elementwise::Where); ++op) {
    ElementwiseCall c;
    c.op = static_cast<Elementwise>(op), c.type = c.y_type = type_of_array<T>();
    if (!computes(c.op, c.type)) continue;
    INFO("operation ", op, ", type ", name_of(c.type));
    c.rank = 3, c.size[0] = n, c.size[1] = n, c.size[2] = 3;
    const int first = operands_of(c.op) == 3 ? 1 : 0;
    c.stride[first][0] = 1, c.stride[first + 1][1] = 1;
    if (first) c.stride[0][2] = 1;
    check_call(c, truths, odd, odd);
    if (c.op == Elementwise::Copy)
      for (const DType to : {DType::F32, DType::I64, DType::Bool}) {
        c.y_type = to;
        check_call(c, truths, odd, odd);
      }
  }
}

template <class T>
void check_reduce(Reduce op, int64_t outer, int64_t n, int64_t inner, const std::vector<T>& x) {
  INFO("reduction ", static_cast<int>(op), " of ", outer, " x ", n, " x ", inner);
  const auto results = static_cast<size_t>(outer * inner);
  const bool index = op == Reduce::ArgMax || op == Reduce::ArgMin;
  ReduceCall c{.y = nullptr, .x = x.data(), .op = op, .type = type_of_array<T>(), .outer = outer, .n = n, .inner = inner};
  OnDevice<T> gx = x;
  std::vector<T> expected(results + 1, T(77));
  std::vector<int64_t> expected_index(results + 1, 77);
  OnDevice<T> gy = expected;
  Indices gi = expected_index;
  c.y = index ? static_cast<void*>(expected_index.data()) : expected.data();
  ref().reduce(c);
  c.x = gx.p(), c.y = index ? static_cast<void*>(gi.p()) : gy.p();
  kernels().reduce(c);
  CHECK((gi.get() == expected_index));
  const std::vector<T> got = gy.get();
  for (size_t i = 0; i <= results; ++i)
    CHECK(((got[i] != got[i] && expected[i] != expected[i]) || got[i] == expected[i] ||
           std::fabs(static_cast<double>(got[i]) - static_cast<double>(expected[i])) <= 1e-6 * std::fabs(static_cast<double>(expected[i]))));
}

/// The elements as bytes: -0 and 0 are as different as any.
template <class T>
void check_sort(int64_t N, int64_t C, bool descending, const std::vector<T>& x) {
  INFO("rows ", N, " of ", C, ", descending ", descending);
  const auto n = static_cast<size_t>(N * C);
  std::vector<T> expected(n + 1, T(77));
  std::vector<int64_t> expected_index(n + 1, 77);
  OnDevice<T> gx = x, gy = expected;
  Indices gi = expected_index;
  SortCall c{.y = expected.data(), .index = expected_index.data(), .x = x.data(), .type = type_of_array<T>(), .descending = descending, .N = N, .C = C};
  ref().sort_rows(c);
  const auto same = [&](const std::vector<T>& y, const std::vector<int64_t>& index) {
    CHECK(std::memcmp(y.data(), expected.data(), (n + 1) * sizeof(T)) == 0);
    CHECK((index == expected_index));
  };
  c.y = gy.p(), c.index = gi.p(), c.x = gx.p();
  kernels().sort_rows(c);
  same(gy.get(), gi.get());
  OnDevice<T> y_alone = std::vector<T>(n + 1, T(77));
  Indices index_alone = std::vector<int64_t>(n + 1, 77);
  c.y = y_alone.p(), c.index = nullptr;
  kernels().sort_rows(c);
  c.y = nullptr, c.index = index_alone.p();
  kernels().sort_rows(c);
  same(y_alone.get(), index_alone.get());
}

template <class T>
void check_scan(bool product, int64_t outer, int64_t n, int64_t inner, const std::vector<T>& x) {
  INFO("scan of ", outer, " x ", n, " x ", inner, ", product ", product);
  const auto count = static_cast<size_t>(outer * n * inner);
  std::vector<T> expected(count + 1, T(77));
  OnDevice<T> gx = x, gy = expected;
  ScanCall c{.y = expected.data(), .x = x.data(), .product = product, .type = type_of_array<T>(), .outer = outer, .n = n, .inner = inner};
  ref().scan(c);
  c.y = gy.p(), c.x = gx.p();
  kernels().scan(c);
  c.y = gx.p();
  kernels().scan(c);  // in place
  const std::vector<T> got = gy.get(), in_place = gx.get();
  for (size_t i = 0; i <= count; ++i) {
    CHECK(std::fabs(static_cast<double>(got[i]) - static_cast<double>(expected[i])) <= 1e-6 * std::fabs(static_cast<double>(expected[i])) + 1e-12);
    if (i < count) CHECK(in_place[i] == got[i]);
  }
}

}  // namespace

TEST_CASE("device: elementwise agrees for all pairs of odd numbers, broadcast") {
  check_pairs<float>(kOdd);
  check_pairs<int64_t>({0, 1, -1, 2, -2, 3, 7, -7, 63, int64_t{1} << 40, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()});
  check_pairs<uint8_t>({0, 1});
}

TEST_CASE("device: elementwise agrees over strides, backwards, and over sizes of 0 and 1") {
  const std::vector<float> a = normal(24 * 70, 1), b = normal(24 * 70, 2);
  ElementwiseCall c;
  c.op = Elementwise::Subtract;
  const auto with = [&](std::vector<int64_t> size, std::vector<int64_t> sa, std::vector<int64_t> sb, std::vector<int64_t> begin) {
    c.rank = static_cast<int>(size.size());
    for (size_t d = 0; d < size.size(); ++d) c.size[d] = size[d], c.stride[0][d] = sa[d], c.stride[1][d] = sb[d];
    check_call<float>(c, {}, a, b, begin.data());
  };
  with({}, {}, {}, {3, 5, 0});
  with({1000}, {1}, {-1}, {0, 999, 0});
  with({20, 30}, {30, 1}, {1, 20}, {0, 0, 0});            // one transposed
  with({20, 1, 30}, {30, 7, 1}, {30, 9, 1}, {0, 0, 0});    // joined over the 1
  with({4, 5, 6, 7}, {210, 42, 7, 1}, {210, -42, 7, -1}, {0, 174, 0});
  with({4, 5, 6, 7}, {0, 42, 0, 1}, {210, 0, 7, 0}, {0, 0, 0});
  with({2, 1, 2, 1, 2, 1, 2, 3}, {24, 0, 12, 0, 6, 0, 3, 1}, {1, 0, 2, 0, 4, 0, 8, 16}, {0, 0, 0});
  with({5, 0, 3}, {3, 3, 1}, {3, 3, 1}, {0, 0, 0});
}

TEST_CASE("device: reductions agree, the first of equal ones and NaN included") {
  const std::vector<float> x = normal(40000, 3);
  std::vector<int64_t> whole(40000);
  for (size_t i = 0; i < whole.size(); ++i) whole[i] = static_cast<int64_t>(x[i] * 3);
  std::vector<float> ties(x), nans(x);
  for (size_t i = 0; i < ties.size(); ++i) ties[i] = std::floor(x[i]);
  for (size_t i = 5; i < nans.size(); i += 97) nans[i] = kNan;
  const int64_t shapes[][3] = {{1, 1, 1},   {3, 2, 1},  {2, 63, 1},   {2, 64, 1},  {2, 65, 1},    {7, 257, 1}, {1, 40000, 1},
                               {2, 9000, 1}, {2, 5, 3}, {1, 1000, 7}, {3, 129, 2}, {1, 40000 / 3, 3}, {40, 10, 100}, {0, 5, 2}, {5, 3, 0}};
  for (const auto& s : shapes)
    for (const Reduce op : {Reduce::Sum, Reduce::Prod, Reduce::Max, Reduce::Min, Reduce::ArgMax, Reduce::ArgMin}) {
      for (const std::vector<float>* v : std::initializer_list<const std::vector<float>*>{&x, &ties, &nans})
        if (op != Reduce::Prod || s[1] < 100) check_reduce(op, s[0], s[1], s[2], *v);
      check_reduce(op, s[0], s[1], s[2], whole);
    }
  check_reduce(Reduce::Sum, 3, 0, 2, x);
  check_reduce(Reduce::Prod, 3, 0, 1, whole);
}

TEST_CASE("device: sorts agree, equal elements in their order and NaN last") {
  std::vector<float> x = normal(3000, 5), ties(x);
  for (float& v : ties) v = std::floor(v * 2);
  for (size_t i = 3; i < x.size(); i += 53) x[i] = kOdd[i % kOdd.size()];
  std::vector<int64_t> whole(3000);
  for (size_t i = 0; i < whole.size(); ++i) whole[i] = i % 7 ? static_cast<int64_t>(ties[i]) : std::numeric_limits<int64_t>::min() + static_cast<int64_t>(i);
  const int64_t shapes[][2] = {{1, 1}, {5, 3}, {3, 255}, {2, 256}, {3, 257}, {2, 512}, {2, 513}, {2, 1025}, {1, 3000}, {0, 4}, {4, 0}};
  for (const auto& [N, C] : shapes)
    for (const bool descending : {false, true}) {
      check_sort(N, C, descending, x);
      check_sort(N, C, descending, ties);
      check_sort(N, C, descending, whole);
    }
}

TEST_CASE("device: scans agree, in place too") {
  const std::vector<float> x = normal(20000, 7);
  std::vector<float> near_one(x);
  for (float& v : near_one) v = 1 + v / 1000;
  std::vector<int64_t> whole(20000);
  for (size_t i = 0; i < whole.size(); ++i) whole[i] = static_cast<int64_t>(x[i] * 3);
  const int64_t shapes[][3] = {{1, 1, 1}, {3, 63, 1}, {2, 64, 1}, {2, 65, 3}, {1, 20000, 1}, {1, 4200, 3}, {20, 10, 100}, {0, 5, 2}, {5, 0, 3}, {5, 3, 0}};
  for (const auto& s : shapes) {
    check_scan(false, s[0], s[1], s[2], std::vector<float>(x));
    check_scan(true, s[0], s[1], s[2], std::vector<float>(near_one));
    check_scan(false, s[0], s[1], s[2], std::vector<int64_t>(whole));
    check_scan(true, s[0], s[1], s[2], std::vector<int64_t>(whole));
  }
}
