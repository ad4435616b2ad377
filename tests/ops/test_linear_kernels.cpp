// The dense matmul entries of the chosen table, and of the portable one, against ref.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../../src/cpu/onednn.h"
#include "tenon/core/kernels.h"

using namespace tenon;

namespace {

const Kernels* table(const std::string& name) {
  for (const KernelChoice& c : kernel_choices())
    if (c.name == name && c.usable) return c.kernels;
  return nullptr;
}

std::vector<const Kernels*> tables() {
  std::vector<const Kernels*> all = {&cpu_kernels()};
  if (const Kernels* portable = table("portable"); portable && portable != all[0]) all.push_back(portable);
  return all;
}

struct Random {
  uint64_t state = 88172645463325252ull;
  float next() {  // in [-1, 1)
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<float>(static_cast<int64_t>(state >> 40) - (1 << 23)) / (1 << 23);
  }
};

/// n bytes at an address that kernels may assume, with a guard behind them.
class Bytes {
 public:
  explicit Bytes(size_t n) : n_(n), lines_(n / 64 + 1) {
    for (Line& line : lines_) std::fill_n(line.bytes, 64, '\x5a');
  }
  void* data() { return lines_.data(); }
  bool intact() { return static_cast<char*>(data())[n_] == '\x5a'; }

 private:
  struct alignas(64) Line {
    char bytes[64];
  };
  size_t n_;
  std::vector<Line> lines_;
};

/// n values as `type`, and as the float32 that they became.
struct Values {
  std::vector<float> f;
  Bytes bytes;
  DType type;
  Values(std::vector<float> values, DType t) : f(std::move(values)), bytes(f.size() * size_of(t)), type(t) {
    for (size_t i = 0; i < f.size(); ++i) {
      if (t == DType::F32) static_cast<float*>(bytes.data())[i] = f[i];
      if (t == DType::BF16) f[i] = static_cast<bfloat16*>(bytes.data())[i] = bfloat16::from(f[i]);
      if (t == DType::F16) f[i] = static_cast<float16*>(bytes.data())[i] = float16::from(f[i]);
    }
  }
  void* data() { return bytes.data(); }
  float operator[](size_t i) {
    return type == DType::F32 ? static_cast<float*>(data())[i] : static_cast<float>(static_cast<bfloat16*>(data())[i]);
  }
};

Values random_values(Random& random, int64_t n, DType type, float size = 1) {
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = random.next() * size;
  return {std::move(v), type};
}

struct Case {
  int64_t M, N, K;
  DType type;
  WeightFormat format;
  Activation act;
  bool bias;
  int residual;  // 0 none, 1 separate, 2 y itself
  int threads;
};

/// y of a table for one case; the data depend on the case alone, and the first rows of x not on their number.
Values forward(const Kernels& k, const Case& c) {
  Random random;
  Values w = random_values(random, c.N * c.K, DType::F32, 1 / std::sqrt(static_cast<float>(c.K)));
  Values bias = random_values(random, c.N, DType::F32), x = random_values(random, c.M * c.K, c.type, 3);
  Values residual = random_values(random, c.M * c.N, c.type), y = c.residual == 2 ? residual : random_values(random, c.M * c.N, c.type);
  Bytes packed(k.linear_packed_bytes(c.format, c.N, c.K));
  std::vector<float> scale(static_cast<size_t>(c.N));
  k.linear_pack(packed.data(), scale.data(), w.data(), DType::F32, c.format, c.N, c.K, c.threads);
  LinearCall call;
  call.type = c.type;
  call.format = c.format;
  call.act = c.act;
  call.M = c.M;
  call.N = c.N;
  call.K = c.K;
  call.threads = c.threads;
  Bytes scratch(k.linear_scratch(call));
  call.scratch = scratch.data();
  call.x = x.data();
  call.y = y.data();
  call.w = packed.data();
  call.w_scale = c.format == WeightFormat::Int8 ? scale.data() : nullptr;
  call.bias = c.bias ? static_cast<float*>(bias.data()) : nullptr;
  call.residual = c.residual == 0 ? nullptr : c.residual == 1 ? residual.data() : y.data();
  k.linear(call);
  CHECK(packed.intact());
  CHECK(scratch.intact());
  CHECK(y.bytes.intact());
  return y;
}

/// Of the largest magnitude. Rows and weights of int8 may round a tie the other way; bf16 weights may round float32 rows first.
float tolerance(const Case& c) {
  float t = 2e-5f;
  if (c.format == WeightFormat::Int8) t = 4e-3f;
  if (c.format == WeightFormat::BF16 && c.type == DType::F32) t = 8e-3f;
  if (c.type == DType::BF16) t += 0x1p-8f;
  return t;
}

void check_case(const Kernels& k, const Case& c) {
  const Kernels* ref = table("ref");
  REQUIRE(ref);
  Values expected = forward(*ref, c), got = forward(k, c);
  float largest = 0, error = 0;
  for (size_t i = 0; i < expected.f.size(); ++i) {
    largest = std::max(largest, std::fabs(expected[i]));
    error = std::isfinite(got[i]) ? std::max(error, std::fabs(expected[i] - got[i])) : INFINITY;
  }
  INFO(std::string(k.name), ": M ", c.M, " N ", c.N, " K ", c.K, " ", std::string(name_of(c.type)), " format ", static_cast<int>(c.format),
       " act ", static_cast<int>(c.act), " bias ", c.bias, " residual ", c.residual, " threads ", c.threads, ": error ", error, " of ",
       largest);
  CHECK(error <= tolerance(c) * std::max(largest, 0.5f));  // of a single y that happens to be near 0, not of its terms
}

constexpr WeightFormat kFormats[] = {WeightFormat::F32, WeightFormat::BF16, WeightFormat::Int8};
constexpr DType kTypes[] = {DType::F32, DType::BF16};

}  // namespace

TEST_CASE("linear agrees with ref for every number of rows, odd sizes included") {
  for (const Kernels* k : tables())
    for (const WeightFormat format : kFormats)
      for (const DType type : kTypes)
        for (const int64_t M : {1, 2, 3, 7, 16, 33, 128, 300})
          for (const auto& [N, K] : {std::pair<int64_t, int64_t>{48, 64}, {67, 129}, {1, 5}, {130, 33}})
            check_case(*k, {M, N, K, type, format, Activation::None, true, 0, 2});
}

TEST_CASE("linear agrees with ref for every activation and residual") {
  for (const Kernels* k : tables())
    for (const WeightFormat format : kFormats)
      for (const DType type : kTypes)
        for (int act = 0; act <= static_cast<int>(Activation::Sigmoid); ++act)
          for (const int residual : {0, 1, 2}) {
            check_case(*k, {19, 67, 50, type, format, static_cast<Activation>(act), residual != 1, residual, 1});
            check_case(*k, {40, 96, 256, type, format, static_cast<Activation>(act), residual == 1, residual, 2});
          }
}

TEST_CASE("linear keeps the residual in place when the sum over k is long") {
  for (const Kernels* k : tables())
    for (const WeightFormat format : kFormats)
      for (const DType type : kTypes)
        for (const int residual : {1, 2}) {
          check_case(*k, {9, 40, 9000, type, format, Activation::Gelu, true, residual, 2});
          check_case(*k, {70, 20, 17000, type, format, Activation::None, true, residual, 2});
        }
}

TEST_CASE("int8 is exact where nothing needs rounding") {
  const int64_t M = 21, N = 101, K = 203;
  Random random;
  std::vector<float> x(M * K), w(N * K);
  for (float& v : x) v = std::nearbyint(random.next() * 126);
  for (float& v : w) v = std::nearbyint(random.next() * 126);
  for (int64_t m = 0; m < M; ++m) x[m * K + m] = 127;  // the scale becomes 1
  for (int64_t n = 0; n < N; ++n) w[n * K + n] = -127;
  for (const Kernels* k : tables()) {
    Bytes packed(k->linear_packed_bytes(WeightFormat::Int8, N, K));
    std::vector<float> scale(N), y(M * N);
    k->linear_pack(packed.data(), scale.data(), w.data(), DType::F32, WeightFormat::Int8, N, K, 1);
    LinearCall c;
    c.format = WeightFormat::Int8;
    c.M = M;
    c.N = N;
    c.K = K;
    Bytes scratch(k->linear_scratch(c));
    c.scratch = scratch.data();
    c.x = x.data();
    c.y = y.data();
    c.w = packed.data();
    c.w_scale = scale.data();
    k->linear(c);
    int64_t wrong = 0;
    for (int64_t m = 0; m < M; ++m)
      for (int64_t n = 0; n < N; ++n) {
        double sum = 0;
        for (int64_t i = 0; i < K; ++i) sum += static_cast<double>(x[m * K + i]) * w[n * K + i];
        wrong += y[m * N + n] != static_cast<float>(sum);
      }
    CHECK(wrong == 0);
  }
}

TEST_CASE("a zero row, a zero weight row and a NaN stay what they are in int8") {
  const int64_t N = 50, K = 40;
  std::vector<float> x(3 * K, 0.5f), w(N * K, 0.25f), scale(N), y(3 * N);
  std::fill_n(x.begin(), K, 0.0f);
  x[2 * K + 7] = NAN;
  std::fill_n(w.begin() + 3 * K, K, 0.0f);
  for (const Kernels* k : tables()) {
    Bytes packed(k->linear_packed_bytes(WeightFormat::Int8, N, K));
    k->linear_pack(packed.data(), scale.data(), w.data(), DType::F32, WeightFormat::Int8, N, K, 1);
    LinearCall c;
    c.format = WeightFormat::Int8;
    c.M = 2;
    c.N = N;
    c.K = K;
    Bytes scratch(k->linear_scratch(c));
    c.scratch = scratch.data();
    c.x = x.data();
    c.y = y.data();
    c.w = packed.data();
    c.w_scale = scale.data();
    k->linear(c);
    CHECK(y[0] == 0);
    CHECK(y[N + 3] == 0);
    CHECK(y[N] == doctest::Approx(0.5 * 0.25 * K));
  }
}

TEST_CASE("packing and unpacking") {
  Random random;
  for (const Kernels* k : tables())
    for (const DType w_type : {DType::F32, DType::BF16, DType::F16})
      for (const WeightFormat format : kFormats)
        for (const auto& [N, K] : {std::pair<int64_t, int64_t>{1, 1}, {64, 64}, {67, 129}, {600, 70}, {515, 33}}) {
          Values w = random_values(random, N * K, w_type);
          Bytes packed(k->linear_packed_bytes(format, N, K));
          std::vector<float> scale(N), back(N * K);
          k->linear_pack(packed.data(), scale.data(), w.data(), w_type, format, N, K, 2);
          k->linear_unpack(back.data(), packed.data(), scale.data(), format, N, K);
          CHECK(packed.intact());
          int64_t wrong = 0;
          for (int64_t i = 0; i < N * K; ++i) {
            const float v = w.f[static_cast<size_t>(i)];
            const float step = format == WeightFormat::Int8 ? scale[i / K] * 0.5001f : 0;
            const float expected = format == WeightFormat::BF16 ? static_cast<float>(bfloat16::from(v)) : v;
            wrong += !(std::fabs(back[i] - expected) <= step);
          }
          INFO(std::string(k->name), " ", std::string(name_of(w_type)), " format ", static_cast<int>(format), " N ", N, " K ", K);
          CHECK(wrong == 0);
        }
}

TEST_CASE("matmul agrees with ref") {
  const Kernels* ref = table("ref");
  REQUIRE(ref);
  Random random;
  for (const Kernels* k : tables())
    for (const auto& [M, N, K] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1}, {5, 3, 7}, {33, 67, 129}, {70, 40, 100}, {64, 96, 1100}})
      for (int flags = 0; flags < 32; ++flags) {
        const DType type = flags & 8 ? DType::BF16 : DType::F32, c_type = flags & 16 ? DType::BF16 : DType::F32;
        Values a = random_values(random, M * K, type), b = random_values(random, N * K, type), start = random_values(random, M * N, c_type);
        Values got = start, expected = start;
        MatmulCall call;
        call.a = a.data();
        call.b = b.data();
        call.type = type;
        call.c_type = c_type;
        call.trans_a = flags & 1;
        call.trans_b = flags & 2;
        call.accumulate = flags & 4;
        call.M = M;
        call.N = N;
        call.K = K;
        call.threads = 2;
        call.c = expected.data();
        ref->matmul(call);
        call.c = got.data();
        k->matmul(call);
        float error = 0, largest = 0;
        for (size_t i = 0; i < start.f.size(); ++i) {
          largest = std::max(largest, std::fabs(expected[i]));
          error = std::max(error, std::fabs(expected[i] - got[i]));
        }
        INFO(std::string(k->name), ": M ", M, " N ", N, " K ", K, " flags ", flags, ": error ", error, " of ", largest);
        CHECK(error <= (c_type == DType::BF16 ? 0x1p-8f : 2e-5f) * largest);
        CHECK(got.bytes.intact());
      }
}

TEST_CASE("a second identical matmul makes no plan, and ragged row counts share their pieces") {
  std::vector<float> a(1100 * 70), b(1100 * 70), c(1100 * 70);
  const auto made_by = [&](int64_t M, int64_t N, int64_t K, bool trans_a) {
    const int64_t before = onednn_plans_created();
    MatmulCall call;
    call.a = a.data();
    call.b = b.data();
    call.c = c.data();
    call.trans_a = trans_a;
    call.M = M;
    call.N = N;
    call.K = K;
    cpu_kernels().matmul(call);
    return onednn_plans_created() - before;
  };
  const int64_t before = onednn_plans_created();
  CHECK(made_by(856, 50, 70, false) <= 3);  // 448, 384, 24
  CHECK(made_by(856, 50, 70, false) == 0);
  CHECK(made_by(857, 50, 70, false) <= 1);
  for (int64_t M = 32; M <= 1100; ++M) made_by(M, 50, 70, false);
  CHECK(onednn_plans_created() - before <= 16 + 3);  // multiples of 32 up to 512, and ends of 8, 16, 24
  // weight gradients: the rows are summed over
  CHECK(made_by(70, 50, 1000, true) <= 2);
  CHECK(made_by(70, 50, 1000, true) == 0);
  CHECK(made_by(70, 50, 995, true) == 0);   // 992 and 3, padded to 8 as the 8 of 1000 are
  CHECK(made_by(70, 50, 1015, true) <= 1);  // 992 and 23, padded to 24
}

TEST_CASE("a row's result does not depend on the rows beside it") {
  const Kernels& k = cpu_kernels();
  const bool exact = std::string(k.name).starts_with("avx") || std::string(k.name) == "amx";  // sums have one order there; Eigen's depends on the number of rows
  for (const WeightFormat format : kFormats)
    for (const DType type : kTypes) {
      Values many = forward(k, {300, 70, 640, type, format, Activation::Gelu, true, 0, 2});
      for (const int64_t M : {1, 2, 3, 5, 17}) {
        Values few = forward(k, {M, 70, 640, type, format, Activation::Gelu, true, 0, 1});
        float difference = 0;
        for (size_t i = 0; i < few.f.size(); ++i) difference = std::max(difference, std::fabs(many[i] - few[i]));
        INFO("M ", M, " format ", static_cast<int>(format));
        CHECK(difference <= (exact ? 0 : type == DType::F32 ? 1e-5f : 0x1p-6f));
      }
    }
}

TEST_CASE("one packed weight serves several threads") {
  const Case c{37, 70, 64, DType::F32, WeightFormat::F32, Activation::Gelu, true, 0, 1};
  const Kernels& k = cpu_kernels();
  Values expected = forward(k, c);
  int wrong[4] = {};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) {
        Values y = forward(k, c);
        for (size_t j = 0; j < y.f.size(); ++j) wrong[t] += y[j] != expected[j];
      }
    });
  for (std::thread& t : threads) t.join();
  for (const int w : wrong) CHECK(w == 0);
}
