// Float8: quantisation by blocks and products of every table, FP8 weights with rounded rows, and linear layers and experts that train in it.
#include <array>

#include "ops/agree.h"
#include "ops/op_test.h"
#include "tenon/ops/elementwise.h"
#include "tenon/ops/embedding.h"
#include "tenon/ops/frozen_linear.h"
#include "tenon/ops/gated.h"
#include "tenon/ops/gated_experts.h"

using namespace tenon;

namespace {

using Tensors = std::vector<Tensor>;

size_t size(int64_t n) { return static_cast<size_t>(n); }
int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

/// x (N,C) as blocks of e4m3 have it.
std::vector<float> rounded(const std::vector<float>& x, int64_t N, int64_t C, int64_t rows, int64_t columns) {
  std::vector<float> y(x.size());
  for (int64_t n0 = 0; n0 < N; n0 += rows)
    for (int64_t c0 = 0; c0 < C; c0 += columns) {
      float most = 0;
      const auto over = [&](auto&& body) {
        for (int64_t n = n0; n < std::min(n0 + rows, N); ++n)
          for (int64_t c = c0; c < std::min(c0 + columns, C); ++c) body(size(n * C + c));
      };
      over([&](size_t i) { most = std::max(most, std::fabs(x[i])); });
      const float s = most > 0 ? most / 448 : 1;
      over([&](size_t i) { y[i] = f8e4m3_to_float(float_to_f8e4m3(x[i] / s)) * s; });
    }
  return y;
}
Tensor rounded(const Tensor& x, int64_t rows) { return test::floats(rounded(test::values(x), x.size(0), x.size(1), rows, 128), x.shape()); }

std::vector<float> turned(const std::vector<float>& x, int64_t N, int64_t C) {
  std::vector<float> y(x.size());
  for (int64_t i = 0; i < N * C; ++i) y[size(i % C * N + i / C)] = x[size(i)];
  return y;
}
/// x^T, rounded.
Tensor rounded_across(Context& ctx, const Tensor& x, int64_t rows) { return rounded(ops::transpose(ctx, x), rows); }

void check_quantised(const Kernels& k, int64_t N, int64_t C, int64_t rows, int64_t columns, bool transposed) {
  INFO("N ", N, ", C ", C, ", blocks of ", rows, " x ", columns, ", transposed ", transposed);
  std::vector<float> x = agree::normal(size(N * C), 1, 3);
  x[0] = 0;
  const int64_t P = transposed ? C : N, Q = transposed ? N : C, G = blocks_of(Q, columns);
  std::vector<float8> q(x.size());
  std::vector<float> scale(size(blocks_of(P, rows) * G)), back(x.size());
  k.quantize_blocks_fp8(q.data(), scale.data(), x.data(), N, C, rows, columns, transposed, DType::F32);
  for (int64_t i = 0; i < P * Q; ++i) back[size(i)] = f8e4m3_to_float(q[size(i)].bits) * scale[size(i / Q / rows * G + i % Q / columns)];
  CHECK(agree::distance(back, rounded(transposed ? turned(x, N, C) : x, P, Q, rows, columns)) == 0);
}

void check_product(const Kernels& k, int64_t M, int64_t N, int64_t K, int64_t a_rows, int64_t b_rows, int64_t block, bool accumulate) {
  INFO("M ", M, ", N ", N, ", K ", K, ", rows ", a_rows, " and ", b_rows, ", block ", block, ", accumulate ", accumulate);
  const std::vector<float> a = agree::normal(size(M * K), 1), b = agree::normal(size(N * K), 2);
  const int64_t G = blocks_of(K, block);
  std::vector<float8> qa(a.size()), qb(b.size());
  std::vector<float> a_scale(size(blocks_of(M, a_rows) * G)), b_scale(size(blocks_of(N, b_rows) * G)), c = agree::normal(size(M * N), 3);
  agree::ref().quantize_blocks_fp8(qa.data(), a_scale.data(), a.data(), M, K, a_rows, block, false, DType::F32);
  agree::ref().quantize_blocks_fp8(qb.data(), b_scale.data(), b.data(), N, K, b_rows, block, false, DType::F32);
  const std::vector<float> ra = rounded(a, M, K, a_rows, block), rb = rounded(b, N, K, b_rows, block);
  std::vector<float> want = c;
  for (int64_t i = 0; i < M * N; ++i) {
    double sum = accumulate ? want[size(i)] : 0.0f;
    for (int64_t j = 0; j < K; ++j) sum += static_cast<double>(ra[size(i / N * K + j)]) * rb[size(i % N * K + j)];
    want[size(i)] = static_cast<float>(sum);
  }
  Fp8MatmulCall call{.c = c.data(), .a = qa.data(), .b = qb.data(), .a_scale = a_scale.data(), .b_scale = b_scale.data()};
  call.accumulate = accumulate, call.M = M, call.N = N, call.K = K, call.a_rows = a_rows, call.b_rows = b_rows, call.block = block, call.threads = 2;
  k.fp8_matmul(call);
  CHECK(agree::distance(c, want) <= 1e-5 * (1 + agree::largest(want)));
}

template <class Body>
void for_all_tables(Body&& body) {
  body(agree::ref());
  agree::for_tables(body);
}

/// y and the gradients of f's inputs where products are made in `type`.
template <class F>
Tensors step(DType type, const Tensors& inputs, const Tensor& dy, F&& f, Fp8Scaling scaling = Fp8Scaling::Block) {
  Context ctx(2);
  ctx.set_training({.matmul = type, .fp8_scaling = scaling});
  train::Tape tape;
  for (const Tensor& t : inputs) tape.watch(t);
  ctx.set_recorder(&tape);
  Tensors found = {f(ctx, inputs)};
  tape.backward(ctx, found[0], dy);
  for (const Tensor& t : inputs) found.push_back(tape.grad(t));
  return found;
}

/// |a - b| / |b| over all elements.
double distance(const Tensor& a, const Tensor& b) {
  const std::vector<float> x = test::values(a), y = test::values(b);
  double difference = 0, length = 0;
  for (size_t i = 0; i < x.size(); ++i) difference += (x[i] - y[i]) * (x[i] - y[i]), length += y[i] * y[i];
  return std::sqrt(difference / length);
}

}  // namespace

TEST_CASE("agree: quantisation by blocks, of x and of x^T") {
  for_all_tables([](const Kernels& k) {
    for (const auto& [N, C] : std::vector<std::array<int64_t, 2>>{{1, 1}, {3, 130}, {129, 257}, {40, 300}})
      for (const auto& [rows, columns] : std::vector<std::array<int64_t, 2>>{{1, 128}, {128, 128}, {1, 100}, {1000, 1000}})
        for (const bool transposed : {false, true}) check_quantised(k, N, C, rows, columns, transposed);
  });
}

TEST_CASE("agree: products of e4m3 factors") {
  for_all_tables([](const Kernels& k) {
    for (const auto& [M, N, K] : std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {3, 5, 127}, {5, 130, 129}, {17, 9, 400}})
      for (const auto& [a_rows, b_rows, block] : std::vector<std::array<int64_t, 3>>{{1, 128, 128}, {1, 1, 128}, {128, 128, 256}, {500, 500, 500}})
        for (const bool accumulate : {false, true}) check_product(k, M, N, K, a_rows, b_rows, block, accumulate);
  });
}

TEST_CASE("quantisation keeps zeros, and what is no number is 0") {
  const std::vector<float> x = {0, 0, 0, NAN, 3, -448};
  std::vector<float8> q(6);
  std::vector<float> scale(3);
  agree::ref().quantize_blocks_fp8(q.data(), scale.data(), x.data(), 3, 2, 1, 128, false, DType::F32);
  CHECK(scale == std::vector<float>{1, 1, 1});
  std::vector<float> back;
  for (const float8 v : q) back.push_back(f8e4m3_to_float(v.bits));
  CHECK(back == std::vector<float>{0, 0, 0, 0, 3, -448});
}

TEST_CASE("ref rounds the rows of FP8 weights where it is asked to") {
  constexpr int64_t M = 3, N = 5, K = 300, group = 96;
  const std::vector<float> x = agree::normal(size(M * K), 1), scale = agree::normal(size(N * blocks_of(K, group)), 2, 0.1f, 1);
  std::vector<uint8_t> codes(size(N * K));
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i * 37 & 0xbf);
  const Kernels& k = agree::ref();
  std::vector<char> packed(k.quantized_packed_bytes(WeightFormat::Fp8, N, K, group));
  k.quantized_pack(packed.data(), {.format = WeightFormat::Fp8, .N = N, .K = K, .group = group, .q = codes.data(), .scale = scale.data()}, 1);
  std::vector<float> w(size(N * K)), y(size(M * N));
  k.quantized_unpack(w.data(), packed.data(), WeightFormat::Fp8, N, K, group);
  LinearCall c{.y = y.data(), .x = x.data(), .w = packed.data(), .format = WeightFormat::Fp8};
  c.M = M, c.N = N, c.K = K, c.group = group, c.fp8_rows = true;
  k.linear(c);
  const std::vector<float> rx = rounded(x, M, K, 1, 128);
  for (int64_t i = 0; i < M * N; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < K; ++j) sum += static_cast<double>(rx[size(i / N * K + j)]) * w[size(i % N * K + j)];
    CHECK(y[size(i)] == doctest::Approx(sum).epsilon(1e-5));
  }
}

TEST_CASE("a linear layer in float8: each product from factors that are rounded along what it sums over") {
  const Tensor x = test::normal({150, 200}, 1), w = test::normal({140, 200}, 2), bias = test::normal({140}, 3), dy = test::normal({150, 140}, 4);
  const auto layer = [](Context& c, const Tensors& in) { return ops::linear(c, in[0], in[1], in[2]); };
  const Tensors got = step(DType::F8E4M3, {x, w, bias}, dy, layer), exact = step(DType::F32, {x, w, bias}, dy, layer);
  Context ctx;
  for (const Tensor& t : got) CHECK(t.dtype() == DType::F32);
  CHECK(test::relative_error(got[0], ops::linear(ctx, rounded(x, 1), rounded(w, 128), bias)) < 1e-5);
  CHECK(test::relative_error(got[1], ops::matmul(ctx, rounded(dy, 1), rounded(w, 128))) < 1e-5);
  CHECK(test::relative_error(got[2], ops::matmul(ctx, rounded_across(ctx, dy, 1), rounded_across(ctx, x, 1), true)) < 1e-5);
  CHECK(test::relative_error(got[3], exact[3]) == 0);
  for (size_t i = 0; i < 3; ++i) {
    CAPTURE(i);
    CHECK(distance(got[i], exact[i]) > 0.005);  // two factors of three bits each: 2^-4 at most, a third of it on average
    CHECK(distance(got[i], exact[i]) < 0.05);
  }

  SUBCASE("a weight that lies the other way round") {
    const Tensors other = step(DType::F8E4M3, {x, ops::transpose(ctx, w), bias}, dy,
                               [](Context& c, const Tensors& in) { return ops::linear(c, in[0], in[1], in[2], Activation::None, {}, true); });
    CHECK(test::relative_error(other[0], got[0]) < 1e-6);
    CHECK(test::relative_error(other[1], got[1]) < 1e-6);
    CHECK(test::relative_error(ops::transpose(ctx, other[2]), got[2]) < 1e-6);
  }
  SUBCASE("several layers as one step") {
    const Tensors other = step(DType::F8E4M3, {x, w, bias}, dy, [](Context& c, const Tensors& in) {
      const ops::LinearPart parts[] = {{in[1], in[2]}, {in[1], {}}};
      return ops::linears(c, in[0], parts)[0];
    });
    for (size_t i = 0; i < 4; ++i) CHECK(test::relative_error(other[i], got[i]) < 1e-6);
  }
  SUBCASE("a weight that is made when it is needed") {
    const Tensors other = step(DType::F8E4M3, {x, bias}, dy, [&](Context& c, const Tensors& in) {
      return ops::frozen_linear(c, in[0], [&](Context&) { return w; }, 140, 200, in[1]);
    });
    CHECK(test::relative_error(other[0], got[0]) < 1e-6);
    CHECK(test::relative_error(other[1], got[1]) < 1e-6);
  }
  SUBCASE("where something must stay precise it does") {
    ctx.set_training({.matmul = DType::F8E4M3});
    CHECK(test::values(ops::linear(ctx, x, w, bias)) == test::values(got[0]));
    const ops::PreciseProducts above(ctx, DType::BF16);
    CHECK(distance(ops::linear(ctx, x, w, bias), exact[0]) < 0.005);
    const ops::PreciseProducts precise(ctx);
    CHECK(test::values(ops::linear(ctx, x, w, bias)) == test::values(exact[0]));
  }
}

TEST_CASE("a linear layer in float8 with one scale for a tensor") {
  Tensor x = test::normal({150, 200}, 1);
  const Tensor w = test::normal({140, 200}, 2), bias = test::normal({140}, 3), dy = test::normal({150, 140}, 4);
  x.data<float>()[0] = 400;  // beside it, all others keep fewer bits: e4m3 has 2^-9 as its least step
  const auto whole = [](const Tensor& t) { return test::floats(rounded(test::values(t), t.size(0), t.size(1), 1000, 1000), t.shape()); };
  Context ctx;
  for (const bool in_out : {false, true}) {
    CAPTURE(in_out);
    const auto layer = [&](Context& c, const Tensors& in) { return ops::linear(c, in[0], in[1], in[2], Activation::None, {}, in_out); };
    const Tensors in = {x, in_out ? ops::transpose(ctx, w) : w, bias};
    const Tensors got = step(DType::F8E4M3, in, dy, layer, Fp8Scaling::Tensor), blocks = step(DType::F8E4M3, in, dy, layer);
    CHECK(test::relative_error(got[0], ops::linear(ctx, whole(x), whole(w), bias)) < 1e-5);
    CHECK(test::relative_error(got[1], ops::matmul(ctx, whole(dy), whole(w))) < 1e-5);
    const Tensor dw = ops::matmul(ctx, whole(ops::transpose(ctx, dy)), whole(ops::transpose(ctx, x)), true);
    CHECK(test::relative_error(in_out ? ops::transpose(ctx, got[2]) : got[2], dw) < 1e-5);
    for (size_t i = 0; i < 3; ++i) CHECK(distance(got[i], blocks[i]) > 1e-3);
  }
}

TEST_CASE("float8 layers without rows, and with rows of zeros") {
  const Tensor w = test::normal({4, 6}, 2);
  for (const Fp8Scaling scaling : {Fp8Scaling::Block, Fp8Scaling::Tensor})
    for (const int64_t N : {0, 3}) {
      const Tensor x = Tensor::zeros({N, 6}, DType::F32), dy = test::normal({N, 4}, 3);
      const Tensors got = step(DType::F8E4M3, {x, w}, dy, [](Context& c, const Tensors& in) { return ops::linear(c, in[0], in[1], {}); }, scaling);
      for (const float v : test::values(got[0])) CHECK(v == 0);
      for (const float v : test::values(got[2])) CHECK(v == 0);
      CHECK(got[1].shape() == Shape{N, 6});
    }
}

TEST_CASE("experts in float8 give what a layer for each gives") {
  constexpr int64_t N = 300, C = 48, F = 40, E = 3;
  Tensors in = {test::normal({N, C}, 1), test::normal({N, E}, 2)};
  for (int64_t e = 0; e < E; ++e)
    for (const Shape& shape : {Shape{F, C}, Shape{F, C}, Shape{C, F}}) in.push_back(test::normal(shape, static_cast<uint64_t>(10 + in.size()), 0.3f));
  const Tensor dy = test::normal({N, C}, 9);
  const auto together = [](Context& ctx, const Tensors& t) {
    const ops::Routing r = ops::route(ctx, t[1], {}, {.top_k = 2, .normalize = true});
    std::vector<ops::GatedExpert> experts;
    for (size_t e = 0; e < E; ++e) experts.push_back({t[2 + 3 * e], t[3 + 3 * e], t[4 + 3 * e]});
    return ops::gated_experts(ctx, t[0], experts, Activation::Silu, ops::ExpertRows(r), r, {});
  };
  const auto apart = [](Context& ctx, const Tensors& t) {
    const ops::Routing r = ops::route(ctx, t[1], {}, {.top_k = 2, .normalize = true});
    const ops::ExpertRows rows(r);
    Tensors z(E);
    for (size_t e = 0; e < E; ++e) {
      const auto first = static_cast<size_t>(rows.start[e]), n = static_cast<size_t>(rows.start[e + 1] - rows.start[e]);
      const Tensor mine = ops::gather_rows(ctx, t[0], std::span(rows.token).subspan(first, n));
      const Tensor h = ops::gated(ctx, ops::linear(ctx, mine, t[2 + 3 * e], {}), ops::linear(ctx, mine, t[3 + 3 * e], {}), Activation::Silu);
      z[e] = ops::linear(ctx, h, t[4 + 3 * e], {});
    }
    return ops::combine_experts(ctx, z, rows, r, C);
  };
  const Tensors exact = step(DType::F32, in, dy, together);
  for (const Fp8Scaling scaling : {Fp8Scaling::Block, Fp8Scaling::Tensor}) {
    const Tensors got = step(DType::F8E4M3, in, dy, together, scaling), want = step(DType::F8E4M3, in, dy, apart, scaling);
    for (size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      CHECK(distance(got[i], want[i]) < 1e-3);  // a sum in another order may round to the other neighbour
      CHECK(distance(got[i], exact[i]) > 0.005);
      CHECK(distance(got[i], exact[i]) < 0.1);
    }
  }
}

TEST_CASE("training refuses types that nothing multiplies") {
  Context ctx;
  const Tensor x = test::normal({2, 4}, 1), w = test::normal({3, 4}, 2);
  for (const DType type : {DType::F16, DType::F8E5M2, DType::F64, DType::I8}) {
    ctx.set_training({.matmul = type});
    test::expect_error(ErrorCode::Type, {"[matmul]", "float8_e4m3fn", std::string(name_of(type))}, [&] { ops::linear(ctx, x, w, {}); });
  }
}
