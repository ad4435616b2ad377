// Images cut into patches: a matmul over them is a convolution.
#include "ops/op_test.h"
#include "tenon/ops/matmul.h"
#include "tenon/ops/patches.h"

namespace tenon {
namespace {

TEST_CASE("patches times a flattened kernel are a convolution with stride p") {
  Context ctx(2);
  const int64_t B = 3, channels = 2, H = 7, W = 9, p = 3, F = 4;  // the last row of pixels is not read
  const Tensor x = test::normal({B, channels, H, W}, 1), kernel = test::normal({F, channels * p * p}, 2);
  const Tensor rows = ops::unfold_patches(ctx, x, p, DType::F32);
  REQUIRE(rows.shape() == Shape{B * 2 * 3, channels * p * p});
  const Tensor y = ops::matmul(ctx, rows, kernel, true);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t r = 0; r < 2; ++r)
      for (int64_t c = 0; c < 3; ++c)
        for (int64_t f = 0; f < F; ++f) {
          double sum = 0;
          for (int64_t ch = 0; ch < channels; ++ch)
            for (int64_t i = 0; i < p; ++i)
              for (int64_t j = 0; j < p; ++j)
                sum += static_cast<double>(kernel.data<float>()[((f * channels + ch) * p + i) * p + j]) *
                       x.data<float>()[((b * channels + ch) * H + r * p + i) * W + c * p + j];
          CHECK(y.data<float>()[((b * 2 + r) * 3 + c) * F + f] == doctest::Approx(sum).epsilon(1e-4));
        }
  CHECK(test::values(ops::unfold_patches(ctx, x, p, DType::BF16)) == test::values(rows.to(DType::BF16)));
}

TEST_CASE("patch errors") {
  Context ctx;
  const Tensor x = test::normal({1, 3, 4, 6}, 1);
  test::expect_error(ErrorCode::Shape, {"[unfold_patches]", "patch size", "(1, 3, 4, 6)", "5"},
                     [&] { ops::unfold_patches(ctx, x, 5, DType::F32); });
  test::expect_error(ErrorCode::Shape, {"[unfold_patches]", "0"}, [&] { ops::unfold_patches(ctx, x, 0, DType::F32); });
  test::expect_error(ErrorCode::Shape, {"(3, 4, 6)"}, [&] { ops::unfold_patches(ctx, x.view({3, 4, 6}), 2, DType::F32); });
  test::expect_error(ErrorCode::Type, {"uint8"}, [&] { ops::unfold_patches(ctx, Tensor::zeros({1, 3, 4, 6}, DType::U8), 2, DType::F32); });
  test::check_no_gradient("unfold_patches",
                          [](Context& c, const std::vector<Tensor>& in) { return ops::unfold_patches(c, in[0], 2, DType::F32); }, {x});
}

}  // namespace
}  // namespace tenon
