// Rows picked from tables and put into place.
#include "ops/op_test.h"
#include "tenon/ops/embedding.h"

namespace tenon {
namespace {

using Tensors = std::vector<Tensor>;

TEST_CASE("embedding picks rows from tables of every float type") {
  Context ctx(2);
  const Tensor table = test::normal({6, 5}, 1);
  const std::vector<int64_t> ids = {5, 0, 0, 3};
  for (const DType type : {DType::F32, DType::BF16, DType::F16})
    for (const DType out : {DType::F32, DType::BF16}) {
      const Tensor t = table.to(type), y = ops::embedding(ctx, t, ids, out, "token id");
      CHECK(y.dtype() == out);
      REQUIRE(y.shape() == Shape{4, 5});
      for (size_t i = 0; i < ids.size(); ++i)
        CHECK(test::values(y.rows(static_cast<int64_t>(i), static_cast<int64_t>(i) + 1)) ==
              test::values(t.rows(ids[i], ids[i] + 1).to(out)));
    }
  CHECK(ops::embedding(ctx, table, {}, DType::F32, "token id").shape() == Shape{0, 5});
}

TEST_CASE("gather_rows and scatter_rows undo each other") {
  Context ctx(2);
  const Tensor x = test::normal({2, 2, 3}, 1);
  const std::vector<int64_t> index = {4, 1, 0, 6};
  for (const DType type : {DType::F32, DType::BF16}) {
    const Tensor y = ops::scatter_rows(ctx, x.to(type), index, 7);
    REQUIRE(y.shape() == Shape{7, 3});
    for (const int64_t r : {2, 3, 5}) CHECK(test::values(y.rows(r, r + 1)) == std::vector<float>{0, 0, 0});
    CHECK(test::values(ops::gather_rows(ctx, y, index)) == test::values(x.to(type)));
  }
}

TEST_CASE("gradients of picked and placed rows") {
  const std::vector<int64_t> repeated = {2, 0, 2, 2}, different = {3, 0, 5};
  test::check_gradients([&](Context& c, const Tensors& in) { return ops::embedding(c, in[0], repeated, DType::F32, "id"); },
                        {test::normal({4, 3}, 1)});
  test::check_gradients([&](Context& c, const Tensors& in) { return ops::gather_rows(c, in[0], repeated); }, {test::normal({3, 2, 3}, 1)});
  test::check_gradients([&](Context& c, const Tensors& in) { return ops::scatter_rows(c, in[0], different, 6); },
                        {test::normal({3, 4}, 1)});
}

TEST_CASE("the first wrong index is named") {
  Context ctx;
  const Tensor table = test::normal({4, 2}, 1);
  test::expect_error(ErrorCode::Limit, {"[embedding]", "token id", "0 to 3", "4", "position 2"}, [&] {
    ops::embedding(ctx, table, std::vector<int64_t>{0, 1, 4, -9}, DType::F32, "token id");
  });
  test::expect_error(ErrorCode::Limit, {"[embedding]", "-1"},
                     [&] { ops::embedding(ctx, table, std::vector<int64_t>{-1}, DType::F32, "token id"); });
  test::expect_error(ErrorCode::Limit, {"[gather_rows]", "7"}, [&] { ops::gather_rows(ctx, table, std::vector<int64_t>{7}); });
  test::expect_error(ErrorCode::Limit, {"[scatter_rows]", "9"}, [&] {
    ops::scatter_rows(ctx, table, std::vector<int64_t>{0, 1, 2, 9}, 9);
  });
  test::expect_error(ErrorCode::Limit, {"[scatter_rows]", "1 twice"}, [&] {
    ops::scatter_rows(ctx, table, std::vector<int64_t>{0, 1, 2, 1}, 9);
  });
  test::expect_error(ErrorCode::Shape, {"[scatter_rows]", "4 rows", "1"},
                     [&] { ops::scatter_rows(ctx, table, std::vector<int64_t>{0}, 9); });
  test::expect_error(ErrorCode::Shape, {"[scatter_rows]", "-1"}, [&] { ops::scatter_rows(ctx, table.rows(0, 0), {}, -1); });
  test::expect_error(ErrorCode::Shape, {"[embedding]", "(8,)"}, [&] { ops::embedding(ctx, table.view({8}), {}, DType::F32, "id"); });
  test::expect_error(ErrorCode::Type, {"[embedding]", "int8"}, [&] { ops::embedding(ctx, table, {}, DType::I8, "id"); });
}

}  // namespace
}  // namespace tenon
