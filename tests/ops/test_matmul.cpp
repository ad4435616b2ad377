// The matrix product.
#include "ops/op_test.h"
#include "tenon/ops/matmul.h"

namespace tenon {
namespace {

Tensor naive(const Tensor& a, const Tensor& b, bool trans_b) {
  const int64_t M = a.size(0), K = a.size(1), N = b.size(trans_b ? 0 : 1);
  Tensor c = Tensor::empty({M, N}, DType::F32);
  for (int64_t m = 0; m < M; ++m)
    for (int64_t n = 0; n < N; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < K; ++k)
        sum += static_cast<double>(a.data<float>()[m * K + k]) * b.data<float>()[trans_b ? n * K + k : k * N + n];
      c.data<float>()[m * N + n] = static_cast<float>(sum);
    }
  return c;
}

TEST_CASE("matmul equals the formula") {
  Context ctx(2);
  for (const bool trans : {false, true})
    for (const int64_t M : {1, 7, 33})
      for (const int64_t N : {1, 16, 45})
        for (const int64_t K : {1, 8, 130}) {
          CAPTURE(trans);
          CAPTURE(M);
          CAPTURE(N);
          CAPTURE(K);
          const Tensor a = test::normal({M, K}, 1), b = test::normal(trans ? Shape{N, K} : Shape{K, N}, 2);
          CHECK(test::relative_error(ops::matmul(ctx, a, b, trans), naive(a, b, trans)) < 1e-5);
        }
}

TEST_CASE("matmul gradients") {
  for (const bool trans : {false, true})
    test::check_gradients([trans](Context& c, const std::vector<Tensor>& in) { return ops::matmul(c, in[0], in[1], trans); },
                          {test::normal({3, 5}, 1), test::normal(trans ? Shape{4, 5} : Shape{5, 4}, 2)});
}

TEST_CASE("empty sizes") {
  Context ctx;
  CHECK(ops::matmul(ctx, Tensor::zeros({0, 3}, DType::F32), Tensor::zeros({3, 2}, DType::F32)).shape() == Shape{0, 2});
  CHECK(test::values(ops::matmul(ctx, Tensor::zeros({1, 0}, DType::F32), Tensor::zeros({0, 2}, DType::F32))) == std::vector<float>{0, 0});
}

TEST_CASE("matmul errors") {
  Context ctx;
  const Tensor a = test::normal({2, 3}, 1);
  test::expect_error(ErrorCode::Shape, {"[matmul]", "(K, N)", "(2, 3)"}, [&] { ops::matmul(ctx, a, a); });
  test::expect_error(ErrorCode::Shape, {"[matmul]", "(N, K)", "(3, 2)"}, [&] { ops::matmul(ctx, a, a.view({3, 2}), true); });
  test::expect_error(ErrorCode::Type, {"[matmul]", "bfloat16"}, [&] { ops::matmul(ctx, a, a.to(DType::BF16), true); });
}

}  // namespace
}  // namespace tenon
