// Agreement: the linear over weights that are mostly zero, of every kernel table, against ref.
#include "ops/agree.h"

using namespace tenon;
using namespace tenon::agree;

namespace {

std::vector<float> mostly_zero(size_t n, double density, unsigned seed) {
  std::vector<float> w = normal(n, seed, 0.1f);
  std::mt19937 engine(seed + 1);
  std::uniform_real_distribution<double> draw(0, 1);
  for (float& v : w)
    if (draw(engine) >= density) v = 0;
  return w;
}

int64_t nonzeros(const std::vector<float>& w) {
  int64_t n = 0;
  for (const float v : w) n += v != 0;
  return n;
}

struct Case {
  int64_t M, N, K;
  double density;
  Activation act = Activation::None;
  bool bias = true;
  int residual = 0;  // 0 none, 1 another tensor, 2 y itself
  int threads = 1;
};

template <class E>
std::vector<E> forward(const Kernels& k, const Case& c) {
  const std::vector<float> w = mostly_zero(static_cast<size_t>(c.N * c.K), c.density, 1);
  const std::vector<E> x = as<E>(normal(static_cast<size_t>(c.M * c.K), 2)), residual = as<E>(normal(static_cast<size_t>(c.M * c.N), 3));
  const std::vector<float> bias = normal(static_cast<size_t>(c.N), 4);
  std::vector<E> y = residual;
  Scratch packed(k.sparse_packed_bytes(c.N, c.K, nonzeros(w)));
  k.sparse_pack(packed.data(), w.data(), DType::F32, c.N, c.K, nonzeros(w));
  LinearCall call{.y = y.data(),
                  .x = x.data(),
                  .w = packed.data(),
                  .bias = c.bias ? bias.data() : nullptr,
                  .residual = c.residual == 0   ? nullptr
                              : c.residual == 1 ? residual.data()
                                                : y.data(),
                  .type = type_of<E>(),
                  .act = c.act,
                  .M = c.M,
                  .N = c.N,
                  .K = c.K,
                  .threads = c.threads};
  Scratch scratch(k.sparse_scratch(call));
  call.scratch = scratch.data();
  k.sparse_linear(call);
  CHECK(packed.intact());
  CHECK(scratch.intact());
  return y;
}

template <class E>
void compare(const Kernels& k, const Case& c) {
  INFO("M ", c.M, " N ", c.N, " K ", c.K, " density ", c.density, " activation ", static_cast<int>(c.act));
  const std::vector<E> want = forward<E>(ref(), c), got = forward<E>(k, c);
  CHECK(distance(got, want) <= (sizeof(E) == 4 ? 2e-5 : 1e-2) * std::max(1.0, largest(want)));
}

}  // namespace

TEST_CASE("sparse_linear agrees with ref for every number of rows, outputs and columns") {
  for_tables([](const Kernels& k) {
    for (const int64_t M : sizes()) compare<float>(k, {M, 70, 130, 0.125});
    for (const int64_t N : sizes()) compare<float>(k, {13, N, 70, 0.125});
    for (const int64_t K : sizes()) compare<float>(k, {21, 66, K, 0.125});
    compare<float>(k, {300, 257, 385, 0.125, Activation::Gelu, true, 2, 2});
  });
}

TEST_CASE("sparse_linear: from no weight to all of them") {
  for_tables([](const Kernels& k) {
    for (const double density : {0.0, 0.01, 0.3, 1.0})
      for (const int64_t M : {1, 5, 40, 64}) compare<float>(k, {M, 65, 129, density});
  });
}

TEST_CASE("sparse_linear: activations, bias and residual, in both types") {
  for_tables([](const Kernels& k) {
    for (const Activation act : {Activation::None, Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Relu,
                                 Activation::Tanh, Activation::Silu, Activation::Sigmoid})
      for (const int residual : {0, 1, 2}) {
        compare<float>(k, {17, 37, 100, 0.25, act, residual != 1, residual});
        compare<bfloat16>(k, {17, 37, 100, 0.25, act, residual != 1, residual});
      }
  });
}

TEST_CASE("sparse_linear gives a row the same bits in any batch and on any number of threads") {
  for_tables([](const Kernels& k) {
    const std::vector<float> all = forward<float>(k, {200, 130, 300, 0.125, Activation::Gelu, true, 0, 2});
    for (const int64_t M : {1, 3, 8, 33, 64, 65, 199}) {
      const std::vector<float> few = forward<float>(k, {M, 130, 300, 0.125, Activation::Gelu});
      CHECK(std::equal(few.begin(), few.end(), all.begin()));
    }
  });
}

TEST_CASE("sparse_pack keeps every element, of every type") {
  for_tables([](const Kernels& k) {
    for (const auto& [N, K] : {std::pair<int64_t, int64_t>{1, 1}, {3, 129}, {64, 128}, {65, 7}, {130, 257}}) {
      const std::vector<float> w = mostly_zero(static_cast<size_t>(N * K), 0.2, 5);
      const std::vector<bfloat16> rounded = to_bf16(w);
      std::vector<float> back(w.size());
      Scratch packed(k.sparse_packed_bytes(N, K, nonzeros(w)));
      k.sparse_pack(packed.data(), w.data(), DType::F32, N, K, nonzeros(w));
      k.sparse_unpack(back.data(), packed.data(), N, K);
      CHECK(back == w);
      k.sparse_pack(packed.data(), rounded.data(), DType::BF16, N, K, nonzeros(w));
      k.sparse_unpack(back.data(), packed.data(), N, K);
      CHECK(back == to_float(rounded));
      CHECK(packed.intact());
    }
  });
}
