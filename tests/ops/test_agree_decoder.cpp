// The kernels that decoders add, of every table against ref: root-mean-square norm, rotary embedding, gated activation, combined rows, and
// the grouped linear.
#include <algorithm>

#include "agree.h"

using namespace tenon;
using namespace tenon::agree;

namespace {

template <class E>
void check_rms_norm(const Kernels& k, int64_t C) {
  constexpr int64_t N = 5;
  const std::vector<E> x = as<E>(normal(static_cast<size_t>(N * C), 1, 3));
  const std::vector<float> w = normal(static_cast<size_t>(C), 2);
  std::vector<E> expected(x.size()), got(x.size());
  std::vector<float> rstd(N), got_rstd(N);
  ref().rms_norm(expected.data(), x.data(), w.data(), rstd.data(), N, C, 1e-5f, type_of<E>());
  k.rms_norm(got.data(), x.data(), w.data(), got_rstd.data(), N, C, 1e-5f, type_of<E>());
  CHECK(distance(to_float(got), to_float(expected)) <= (sizeof(E) == 4 ? 1e-5 : 0.1));
  CHECK(distance(got_rstd, rstd) <= 1e-5 * largest(rstd));
  std::vector<E> in_place = x;
  k.rms_norm(in_place.data(), in_place.data(), w.data(), nullptr, N, C, 1e-5f, type_of<E>());
  CHECK(distance(to_float(in_place), to_float(got)) == 0);
}

template <class E>
void check_rope(const Kernels& k, int64_t R, bool interleaved) {
  constexpr int64_t N = 3, H = 2;
  const int64_t stride = R + 3, ld = H * stride + 1;
  const std::vector<E> x = as<E>(normal(static_cast<size_t>(N * ld), 1));
  const std::vector<float> cos = normal(static_cast<size_t>(N * R / 2), 2), sin = normal(cos.size(), 3);
  std::vector<E> expected = x, got = x, apart = x;
  ref().rope(expected.data(), x.data(), cos.data(), sin.data(), N, H, ld, stride, R, interleaved, type_of<E>());
  k.rope(got.data(), got.data(), cos.data(), sin.data(), N, H, ld, stride, R, interleaved, type_of<E>());
  k.rope(apart.data(), x.data(), cos.data(), sin.data(), N, H, ld, stride, R, interleaved, type_of<E>());
  CHECK(distance(to_float(got), to_float(expected)) <= (sizeof(E) == 4 ? 2e-6 : 0.05));
  CHECK(distance(to_float(apart), to_float(got)) == 0);
}

template <class E>
void check_gated(const Kernels& k, int64_t F, Activation act) {
  constexpr int64_t N = 3;
  const int64_t ld = 2 * F + 1;
  const std::vector<E> x = as<E>(normal(static_cast<size_t>(N * ld), 1, 2));
  std::vector<E> expected(static_cast<size_t>(N * F)), got(expected.size());
  ref().gated(expected.data(), x.data(), x.data() + F, ld, N, F, act, type_of<E>());
  k.gated(got.data(), x.data(), x.data() + F, ld, N, F, act, type_of<E>());
  CHECK(distance(to_float(got), to_float(expected)) <= (sizeof(E) == 4 ? 1e-5 : 0.15));
}

template <class E>
void check_combine(const Kernels& k, int64_t C) {
  const std::vector<E> x = as<E>(normal(static_cast<size_t>(4 * C), 1)), y = as<E>(normal(static_cast<size_t>(2 * C), 2));
  const std::vector<int64_t> index = {3, -1, 0, 1, 1, 2};
  const std::vector<float> weight = normal(6, 3);
  for (const bool accumulate : {false, true}) {
    std::vector<E> expected = y, got = y;
    ref().combine_rows(expected.data(), x.data(), index.data(), weight.data(), 2, 3, C, accumulate, type_of<E>());
    k.combine_rows(got.data(), x.data(), index.data(), weight.data(), 2, 3, C, accumulate, type_of<E>());
    CHECK(distance(to_float(got), to_float(expected)) <= (sizeof(E) == 4 ? 1e-5 : 0.1));
  }
}

}  // namespace

TEST_CASE("rms_norm and its gradient agree") {
  for_tables([&](const Kernels& k) {
    for (int64_t C : sizes()) {
      INFO("C ", C);
      check_rms_norm<float>(k, C);
      check_rms_norm<bfloat16>(k, C);
      const size_t n = static_cast<size_t>(3 * C);
      const std::vector<float> x = normal(n, 1), dy = normal(n, 2), w = normal(static_cast<size_t>(C), 3), rstd = {0.5f, 1, 2};
      std::vector<float> dx(n), got_dx(n), dw = normal(w.size(), 4), got_dw = dw;
      ref().rms_norm_backward(dx.data(), dw.data(), dy.data(), x.data(), w.data(), rstd.data(), 3, C);
      k.rms_norm_backward(got_dx.data(), got_dw.data(), dy.data(), x.data(), w.data(), rstd.data(), 3, C);
      CHECK(distance(got_dx, dx) <= 1e-5 * (1 + largest(dx)));
      CHECK(distance(got_dw, dw) <= 1e-5);
    }
  });
}

TEST_CASE("rope agrees, in halves and interleaved, and touches nothing else") {
  for_tables([&](const Kernels& k) {
    for (int64_t R : {2, 4, 6, 8, 16, 30, 32, 34, 64, 128})
      for (const bool interleaved : {false, true}) {
        INFO("R ", R, " interleaved ", interleaved);
        check_rope<float>(k, R, interleaved);
        check_rope<bfloat16>(k, R, interleaved);
      }
  });
}

TEST_CASE("gated activations and their gradients agree") {
  for_tables([&](const Kernels& k) {
    for (const Activation act : {Activation::None, Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Relu,
                                 Activation::Tanh, Activation::Silu, Activation::Sigmoid})
      for (int64_t F : {1, 7, 16, 33, 100}) {
        INFO("F ", F, " activation ", static_cast<int>(act));
        check_gated<float>(k, F, act);
        check_gated<bfloat16>(k, F, act);
        const size_t n = static_cast<size_t>(F);
        const std::vector<float> dy = normal(n, 1), gate = normal(n, 2), up = normal(n, 3);
        std::vector<float> a(n), b(n), got_a(n), got_b(n);
        ref().gated_backward(a.data(), b.data(), dy.data(), gate.data(), up.data(), F, act);
        k.gated_backward(got_a.data(), got_b.data(), dy.data(), gate.data(), up.data(), F, act);
        CHECK(distance(got_a, a) <= 1e-5);
        CHECK(distance(got_b, b) <= 1e-5);
      }
  });
}

TEST_CASE("combine_rows agrees") {
  for_tables([&](const Kernels& k) {
    for (int64_t C : sizes()) {
      check_combine<float>(k, C);
      check_combine<bfloat16>(k, C);
    }
  });
}

TEST_CASE("a grouped linear gives each row what the linear of its own weight gives") {
  const std::vector<std::vector<int64_t>> groupings = {{0, 1, 2}, {0, 3, 3, 64, 65}, {0, 200}, {0, 1, 9, 10, 75, 130}};
  for_tables([&](const Kernels& k) {
    for (const WeightFormat format : {WeightFormat::F32, WeightFormat::BF16, WeightFormat::Int8})
      for (const DType type : {DType::F32, DType::BF16})
        for (const int64_t K : {24, 2600})
          for (const auto& starts : groupings) {
            const int64_t N = 70, M = starts.back(), groups = static_cast<int64_t>(starts.size()) - 1;
            INFO("format ", static_cast<int>(format), " type ", static_cast<int>(type), " K ", K, " groups ", groups);
            const std::vector<float> x32 = normal(static_cast<size_t>(M * K), 1);
            const std::vector<bfloat16> x16 = to_bf16(x32);
            std::vector<std::vector<char>> packed;
            std::vector<std::vector<float>> scales;
            std::vector<LinearBlock> blocks;
            std::vector<void*> aligned;
            for (int64_t g = 0; g < groups; ++g) {
              const std::vector<float> w = normal(static_cast<size_t>(N * K), 10 + static_cast<unsigned>(g));
              packed.emplace_back(k.linear_packed_bytes(format, N, K) + 64);
              scales.emplace_back(static_cast<size_t>(N));
              char* at = packed.back().data();
              aligned.push_back(at + (64 - reinterpret_cast<uintptr_t>(at) % 64) % 64);
              k.linear_pack(aligned.back(), scales.back().data(), w.data(), DType::F32, format, N, K, 1);
              blocks.push_back({starts[static_cast<size_t>(g)], starts[static_cast<size_t>(g) + 1], aligned.back(), scales.back().data()});
            }
            LinearCall call;
            call.type = type, call.format = format, call.act = Activation::Silu, call.M = M, call.N = N, call.K = K, call.threads = 2;
            const size_t item = size_of(type);
            const char* x = type == DType::F32 ? reinterpret_cast<const char*>(x32.data()) : reinterpret_cast<const char*>(x16.data());
            std::vector<char> together(static_cast<size_t>(M * N) * item), alone(together.size());
            Scratch scratch(k.linear_scratch(call));
            call.scratch = scratch.data();
            call.x = x, call.y = together.data();
            call.blocks = blocks.data(), call.num_blocks = groups;
            k.linear(call);
            CHECK(scratch.intact());
            call.blocks = nullptr, call.num_blocks = 0;
            for (const LinearBlock& b : blocks) {
              call.x = x + static_cast<size_t>(b.begin * K) * item, call.y = alone.data() + static_cast<size_t>(b.begin * N) * item;
              call.w = b.w, call.w_scale = b.w_scale, call.M = b.end - b.begin;
              k.linear(call);
            }
            CHECK(std::memcmp(together.data(), alone.data(), together.size()) == 0);
          }
  });
}
