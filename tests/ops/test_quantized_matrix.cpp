// Matrices in few bits: rounding, regrouping, packing and multiplying, against plain arithmetic.
#include <cstring>

#include "ops/op_test.h"
#include "tenon/ops/experts.h"
#include "tenon/ops/linear.h"

namespace tenon {
namespace {

using quant::QuantizedMatrix;

Tensor plain_product(const Tensor& x, const Tensor& w) {
  const int64_t M = x.size(0), K = x.size(1), N = w.size(0);
  Tensor y = Tensor::empty({M, N}, DType::F32);
  for (int64_t m = 0; m < M; ++m)
    for (int64_t n = 0; n < N; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < K; ++k) sum += static_cast<double>(x.data<float>()[m * K + k]) * w.data<float>()[n * K + k];
      y.data<float>()[m * N + n] = static_cast<float>(sum);
    }
  return y;
}

/// The rows as the int8 kernels see them: rounded to max |x| / 127 of each group.
Tensor rounded_rows(const Tensor& x, int64_t group) {
  Tensor y = x.clone();
  const int64_t K = x.size(1);
  for (int64_t m = 0; m < x.size(0); ++m)
    for (int64_t begin = 0; begin < K; begin += group) {
      float* row = y.data<float>() + m * K;
      const int64_t end = std::min(begin + group, K);
      float most = 0;
      for (int64_t k = begin; k < end; ++k) most = std::max(most, std::fabs(row[k]));
      for (int64_t k = begin; k < end && most > 0; ++k) row[k] = std::nearbyint(row[k] * (127 / most)) * (most / 127);
    }
  return y;
}

TEST_CASE("e4m3 rounds to nearest even, clamps, and keeps every value it has") {
  for (int b = 0; b < 256; ++b) {
    if ((b & 0x7f) == 0x7f) continue;
    CHECK(float_to_f8e4m3(f8e4m3_to_float(static_cast<uint8_t>(b))) == b);
  }
  for (int b = 0; b < 0x7e; ++b) {
    const float low = f8e4m3_to_float(static_cast<uint8_t>(b)), high = f8e4m3_to_float(static_cast<uint8_t>(b + 1)),
                middle = (low + high) / 2;
    CHECK(float_to_f8e4m3(std::nextafter(middle, 0.0f)) == b);
    CHECK(float_to_f8e4m3(middle) == (b % 2 ? b + 1 : b));
    CHECK(float_to_f8e4m3(std::nextafter(middle, 1e9f)) == b + 1);
  }
  CHECK(f8e4m3_to_float(float_to_f8e4m3(1e9f)) == 448);
  CHECK(f8e4m3_to_float(float_to_f8e4m3(-1e9f)) == -448);
}

TEST_CASE("linear on quantised matrices: exact, and with rows in int8") {
  Context ctx(2);
  for (const WeightFormat format : {WeightFormat::Int4, WeightFormat::Fp8})
    for (const int64_t M : {1, 2, 3, 9, 70})
      for (const auto& [N, K, group] :
           {std::tuple<int64_t, int64_t, int64_t>{1, 32, 32}, {50, 128, 64}, {97, 384, 128}, {33, 200, 32}, {40, 130, 130}})
        for (const DType type : {DType::F32, DType::BF16})
          for (const bool exact : {true, false}) {
            CAPTURE(static_cast<int>(format));
            CAPTURE(M);
            CAPTURE(N);
            CAPTURE(K);
            CAPTURE(exact);
            CAPTURE(name_of(type));
            const Tensor w = test::normal({N, K}, 2, 1 / std::sqrt(static_cast<float>(K))), bias = test::normal({N}, 3);
            const Tensor x = test::normal({M, K}, 1).to(type).to(DType::F32), residual = test::normal({M, N}, 4).to(type);
            const QuantizedMatrix q = quant::round_to_nearest(ctx, w, format, group);
            const quant::PackedWeight packed = quant::pack(ctx, q, exact);
            const bool int8 = format == WeightFormat::Int4 && !exact;
            Tensor want = plain_product(int8 ? rounded_rows(x, packed.group) : x, quant::dequantize(q));
            for (int64_t i = 0; i < want.numel(); ++i) {
              float& v = want.data<float>()[i];
              v = std::max(v + bias.data<float>()[i % N], 0.0f) + residual.to(DType::F32).data<float>()[i];
            }
            const Tensor got = ops::linear(ctx, x.to(type), packed, bias, Activation::Relu, residual);
            // One rounded row may fall to the other side of a tie; bf16 rows may meet weights rounded to bf16.
            CHECK(test::relative_error(got, want) < (type == DType::BF16 ? 1e-2 : int8 ? 2e-3 : 1e-5));
            CHECK(test::relative_error(quant::unpack(packed, ctx.kernels()), quant::dequantize(q)) < 1e-6);
          }
}

TEST_CASE("a row's result depends neither on its companions nor on the threads") {
  const Tensor w = test::normal({200, 256}, 2), x = test::normal({40, 256}, 1);
  for (const bool exact : {true, false}) {
    Context one(1), two(2);
    const auto packed = quant::pack(one, quant::round_to_nearest(one, w, WeightFormat::Int4), exact);
    const auto all = test::values(ops::linear(two, x, packed, {}));
    for (const int64_t n : {1, 2, 5, 17}) {
      const auto few = test::values(ops::linear(one, x.rows(0, n), packed, {}));
      CHECK(std::memcmp(few.data(), all.data(), few.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("grouped_linear meets each block's own matrix, order and range") {
  Context ctx(2);
  const int64_t K = 96, N = 70;
  const std::vector<int64_t> start = {0, 3, 3, 20};
  std::vector<quant::PackedWeight> packed;
  std::vector<QuantizedMatrix> plain;
  for (uint64_t e = 0; e < 3; ++e) {
    QuantizedMatrix q = quant::round_to_nearest(ctx, test::normal({N, K}, e, e == 0 ? 1e-9f : 1e6f), WeightFormat::Int4, 32);
    for (int64_t k = 0; k < K && e == 2; ++k) q.order.push_back((k * 5 + 1) % K);
    if (e == 0) std::fill_n(q.scale.data<float>(), q.scale.numel(), 1e-30f);  // far below what half precision holds
    plain.push_back(q);
    packed.push_back(quant::pack(ctx, q, true));
  }
  const Tensor x = test::normal({20, K}, 9);
  const Tensor y = ops::grouped_linear(ctx, x, packed, start);
  for (size_t e = 0; e < 3; ++e) {
    if (start[e] == start[e + 1]) continue;
    CHECK(test::relative_error(y.rows(start[e], start[e + 1]), plain_product(x.rows(start[e], start[e + 1]), quant::dequantize(plain[e]))) <
          0x1p-11);  // a half's rounding of the scale
  }
}

TEST_CASE("matrices above each other, larger groups, and what is refused") {
  Context ctx;
  const Tensor a = test::normal({8, 256}, 1), b = test::normal({24, 256}, 2);
  const std::vector<QuantizedMatrix> parts = {quant::round_to_nearest(ctx, a, WeightFormat::Int4, 256),
                                              quant::round_to_nearest(ctx, b, WeightFormat::Int4, 256)};
  const QuantizedMatrix both = quant::rows_concat(parts);
  CHECK(both.N == 32);
  CHECK(test::relative_error(quant::dequantize(both).rows(8, 32), quant::dequantize(parts[1])) == 0);
  const QuantizedMatrix split = quant::regroup(both);
  CHECK(split.group == 128);
  CHECK(test::relative_error(quant::dequantize(split), quant::dequantize(both)) == 0);

  QuantizedMatrix bad = quant::round_to_nearest(ctx, a, WeightFormat::Int4, 48);
  test::expect_error(ErrorCode::Format, {"group_size", "multiple of 32", "48"}, [&] { quant::pack(ctx, bad); });
  bad = parts[0];
  bad.scale = bad.scale.clone();
  bad.scale.data<float>()[3] = INFINITY;
  test::expect_error(ErrorCode::Format, {"scale 3", "finite"}, [&] { quant::pack(ctx, bad); });
  bad = parts[0];
  bad.order = std::vector<int64_t>(256, 7);
  test::expect_error(ErrorCode::Format, {"order"}, [&] { quant::pack(ctx, bad); });
  bad = parts[0];
  bad.zero = bad.zero.clone();
  bad.zero.data<uint8_t>()[0] = 16;
  test::expect_error(ErrorCode::Format, {"zero 0"}, [&] { quant::pack(ctx, bad); });
  Tensor nan = a.clone();
  nan.data<float>()[5] = NAN;
  test::expect_error(ErrorCode::Format, {"row 0", "not finite"}, [&] { quant::round_to_nearest(ctx, nan, WeightFormat::Int4); });
  test::expect_error(ErrorCode::Shape, {"group"}, [&] { quant::round_to_nearest(ctx, a, WeightFormat::Int4, 0); });
}

}  // namespace
}  // namespace tenon
