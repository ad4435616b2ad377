// The table of weight formats, and packing and unpacking in each.
#include "ops/op_test.h"
#include "tenon/ops/linear.h"

namespace tenon {
namespace {

struct Size {
  int64_t N, K;
};

TEST_CASE("the table of formats is in the order of the enum") {
  for (size_t i = 0; i < quant::kFormats.size(); ++i) {
    CHECK(static_cast<size_t>(quant::kFormats[i].format) == i);
    CHECK(quant::parse_format(quant::kFormats[i].name) == quant::kFormats[i].format);
    CHECK(quant::parse_format(quant::kFormats[i].alias) == quant::kFormats[i].format);
    CHECK(quant::kFormats[i].bits == 8 * quant::kFormats[i].bytes_per_weight);
  }
  test::expect_error(ErrorCode::Format, {"float32, bfloat16, int8, int4, float8", "'int3'"}, [] { quant::parse_format("int3"); });
}

TEST_CASE("unpack gives the weight back, rounded to the format") {
  Context ctx(2);
  for (const auto& f : quant::kFormats)
    for (const DType type : {DType::F32, DType::BF16, DType::F16})
      for (const auto& size : {Size{1, 1}, {5, 33}, {64, 96}}) {
        CAPTURE(f.name);
        CAPTURE(name_of(type));
        const int64_t N = size.N, K = size.K;
        CAPTURE(N);
        CAPTURE(K);
        const Tensor w = test::normal({N, K}, 1).to(type), wide = w.to(DType::F32);
        const auto packed = quant::pack(ctx, w, f.format);
        CHECK(packed.scale.defined() == f.has_scale);
        const Tensor back = quant::unpack(packed, ctx.kernels());
        REQUIRE(back.shape() == Shape{N, K});
        for (int64_t n = 0; n < N; ++n) {
          const float* row = wide.data<float>() + n * K;
          float largest = 0, off = 0;
          for (int64_t k = 0; k < K; ++k) largest = std::max(largest, std::fabs(row[k]));
          for (int64_t k = 0; k < K; ++k) off = std::max(off, std::fabs(row[k] - back.data<float>()[n * K + k]));
          // Int4: half a step for the code and half a step for the zero; Fp8: half a unit of four significant bits.
          const float parts[] = {0, 1 / 256.0f, 0.501f / 127, 2.02f / 15, 1.01f / 16};
          CHECK(off <= largest * parts[static_cast<size_t>(f.format)]);
          if (f.has_scale) CHECK(packed.scale.data<float>()[n] == doctest::Approx(largest / 127));
        }
      }
}

TEST_CASE("rows of zeros survive int8") {
  Context ctx;
  const auto packed = quant::pack(ctx, Tensor::zeros({3, 16}, DType::F32), WeightFormat::Int8);
  for (const float v : test::values(ops::linear(ctx, test::normal({2, 16}, 1), packed, {}))) CHECK(v == 0);
  for (const float v : test::values(
           ops::linear(ctx, Tensor::zeros({2, 16}, DType::F32), quant::pack(ctx, test::normal({3, 16}, 1), WeightFormat::Int8), {})))
    CHECK(v == 0);
}

TEST_CASE("weights packed above each other give the columns of each") {
  Context ctx(2);
  const std::vector<Tensor> ws = {test::normal({8, 24}, 1), test::normal({3, 24}, 2).to(DType::BF16), test::normal({16, 24}, 3)};
  const Tensor x = test::normal({5, 24}, 4);
  for (const auto& f : quant::kFormats) {
    CAPTURE(f.name);
    const auto all = quant::pack_rows_concat(ctx, ws, f.format);
    REQUIRE(all.N == 27);
    const Tensor y = ops::linear(ctx, x, all, {});
    int64_t column = 0;
    for (const Tensor& w : ws) {
      const Tensor part = ops::linear(ctx, x, quant::pack(ctx, w.to(DType::F32), f.format), {});
      for (int64_t m = 0; m < 5; ++m)
        for (int64_t n = 0; n < w.size(0); ++n)
          CHECK(y.data<float>()[m * 27 + column + n] == doctest::Approx(part.data<float>()[m * w.size(0) + n]).epsilon(1e-5));
      column += w.size(0);
    }
  }
}

/// A weight of which one element in `every` is not 0, at places without a pattern.
Tensor mostly_zero(const Shape& shape, uint32_t every) {
  Tensor w = test::normal(shape, 7);
  Random random(8);
  for (int64_t i = 0; i < w.numel(); ++i)
    if (random.next() % every) w.data<float>()[i] = 0;
  return w;
}

TEST_CASE("weights that are mostly zero are packed without their zeros, where that is allowed") {
  Context ctx(2);
  const Tensor thin = mostly_zero({130, 200}, 8), x = test::normal({5, 200}, 4), bias = test::normal({130}, 5);
  for (const DType type : {DType::F32, DType::BF16, DType::F16}) {
    const Tensor w = thin.to(type);
    const auto packed = quant::pack(ctx, w, WeightFormat::F32, true), whole = quant::pack(ctx, w, WeightFormat::F32);
    CHECK(packed.sparse);
    CHECK_FALSE(whole.sparse);
    CHECK(packed.nbytes() < whole.nbytes() / 2);
    CHECK(test::values(quant::unpack(packed, ctx.kernels())) == test::values(w));
    const Tensor y = ops::linear(ctx, x, packed, bias, Activation::Gelu, test::normal({5, 130}, 6));
    CHECK(test::relative_error(y, ops::linear(ctx, x, whole, bias, Activation::Gelu, test::normal({5, 130}, 6))) < 1e-5);
  }
  const Tensor half = x.to(DType::BF16);
  CHECK(test::relative_error(ops::linear(ctx, half, quant::pack(ctx, thin, WeightFormat::BF16, true), bias).to(DType::F32),
                             ops::linear(ctx, half, quant::pack(ctx, thin, WeightFormat::BF16), bias).to(DType::F32)) < 2e-2);
  CHECK_FALSE(quant::pack(ctx, mostly_zero({130, 200}, 2), WeightFormat::F32, true).sparse);
  CHECK_FALSE(quant::pack(ctx, test::normal({130, 200}, 1), WeightFormat::F32, true).sparse);
  CHECK_FALSE(quant::pack(ctx, thin, WeightFormat::Int8, true).sparse);
  CHECK(quant::pack(ctx, Tensor::zeros({3, 4}, DType::F32), WeightFormat::F32, true).sparse);
  CHECK(quant::pack_rows_concat(ctx, std::vector<Tensor>{thin, mostly_zero({6, 200}, 9)}, WeightFormat::F32, true).sparse);
  CHECK_FALSE(quant::pack_rows_concat(ctx, std::vector<Tensor>{thin, test::normal({100, 200}, 2)}, WeightFormat::F32, true).sparse);
}

TEST_CASE("packing errors") {
  Context ctx;
  test::expect_error(ErrorCode::Shape, {"[pack]", "(N, K)", "(4,)"}, [&] { quant::pack(ctx, test::normal({4}, 1), WeightFormat::F32); });
  test::expect_error(ErrorCode::Type, {"[pack]", "int64"}, [&] { quant::pack(ctx, Tensor::zeros({2, 2}, DType::I64), WeightFormat::F32); });
  test::expect_error(ErrorCode::Shape, {"(2, 3)", "(2, 4)"}, [&] {
    quant::pack_rows_concat(ctx, std::vector<Tensor>{test::normal({2, 3}, 1), test::normal({2, 4}, 1)}, WeightFormat::F32);
  });
  test::expect_error(ErrorCode::Shape, {"at least one"}, [&] { quant::pack_rows_concat(ctx, {}, WeightFormat::F32); });
  test::expect_error(ErrorCode::Shape, {"[unpack]"}, [&] { quant::unpack({}, ctx.kernels()); });
}

}  // namespace
}  // namespace tenon
