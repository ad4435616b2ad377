// Bicubic resizing of a grid against numbers of torch.nn.functional.interpolate.
#include "ops/op_test.h"
#include "tenon/ops/interpolate.h"

namespace tenon {
namespace {

/// (3, 4, 2), the grid that the numbers below were made from.
Tensor grid() {
  Tensor g = Tensor::empty({3, 4, 2}, DType::F32);
  float* p = g.data<float>();
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 4; ++j)
      for (int c = 0; c < 2; ++c) *p++ = static_cast<float>((i * 7 + j * 3 + c * 5) % 11 - 5);
  return g;
}

TEST_CASE("bicubic equals PyTorch's, up and down") {
  Context ctx(2);
  const Tensor taller = test::floats(
      {-5.311861992f,  0.9717781544f,  -0.6439999938f, -1.144000053f,  4.023860455f,  -3.259775877f, -1.529679656f, -1.446986198f,
       -0.1002490595f, -0.0557506308f, 2.156012774f,   0.508654952f,   2.569445133f,  -3.621528625f, 1.0f,          0.5f,
       -0.5694419146f, 4.621527672f,   0.5223178267f,  -0.6054434776f, 2.657125235f,  -2.471125841f, -2.236151457f, 2.691274881f,
       -2.023861885f,  2.320214033f,   3.774250507f,   -5.014250278f,  -3.013880968f, 0.2375261039f},
      {5, 3, 2});
  const Tensor wider = test::floats(
      {-3.533854485f, -1.44633019f,  -1.784790039f, 1.057373047f,    -0.05443971604f, 1.685804486f,  -0.4116263092f, -2.684584379f,
       1.552368164f,  -2.289794922f, 3.528360606f,  -0.01302145049f, -1.108073354f,   1.751546502f,  0.6409912109f,  -1.797973633f,
       2.525761127f,  -4.278509617f, 2.786250591f,  -1.689751267f,   -0.4691162109f,  0.9698486328f, -3.712483168f,  2.412760019f},
      {2, 6, 2});
  CHECK(test::relative_error(ops::interpolate_bicubic(ctx, grid(), 5, 3), taller) < 1e-5);
  CHECK(test::relative_error(ops::interpolate_bicubic(ctx, grid(), 2, 6), wider) < 1e-5);
  CHECK(test::relative_error(ops::interpolate_bicubic(ctx, grid(), 3, 4), grid()) < 1e-6);
}

TEST_CASE("bicubic gradients") {
  test::check_gradients([](Context& c, const std::vector<Tensor>& in) { return ops::interpolate_bicubic(c, in[0], 5, 3); }, {grid()});
}

TEST_CASE("bicubic errors") {
  Context ctx;
  test::expect_error(ErrorCode::Shape, {"[interpolate_bicubic]", "(12, 2)"}, [&] {
    ops::interpolate_bicubic(ctx, grid().view({12, 2}), 2, 2);
  });
  test::expect_error(ErrorCode::Shape, {"[interpolate_bicubic]", "(0, 2)"}, [&] { ops::interpolate_bicubic(ctx, grid(), 0, 2); });
  test::expect_error(ErrorCode::Type, {"bfloat16"}, [&] { ops::interpolate_bicubic(ctx, grid().to(DType::BF16), 2, 2); });
}

}  // namespace
}  // namespace tenon
