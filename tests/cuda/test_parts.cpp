// Kernels that move rows and parts of rows, and the gradients and sums over rows that few ops need.
#include "device_agree.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

constexpr int64_t N = 4;
constexpr float kInf = std::numeric_limits<float>::infinity();
size_t size(int64_t n) { return static_cast<size_t>(n); }

template <class E>
void check_move(DType type, int64_t width, bool add) {
  constexpr int64_t parts = 3;
  // From the second element of parts that lie wide, to parts in another order, two elements in front of each.
  const int64_t x_part = width + 5, x_row = parts * x_part + 1, y_row = width + 2, y_part = N * y_row;
  const std::vector<float> numbers = normal(size(N * x_row + 1), 1), before = normal(size(parts * y_part), 2);
  std::vector<E> x(numbers.size()), expected(before.size());
  for (size_t i = 0; i < x.size(); ++i)
    if constexpr (std::is_class_v<E>) x[i] = E::from(numbers[i]);
    else x[i] = static_cast<E>(numbers[i] * 100);
  for (size_t i = 0; i < expected.size(); ++i)
    if constexpr (std::is_class_v<E>) expected[i] = E::from(before[i]);
    else expected[i] = static_cast<E>(before[i] * 100);
  OnDevice<E> dx = x, dy = expected;
  PartsCall call{.y_row = y_row, .y_part = y_part, .x_row = x_row, .x_part = x_part, .N = N, .parts = parts, .width = width, .type = type,
                 .add = add};
  call.y = expected.data() + 2, call.x = x.data() + 1;
  ref().move_parts(call);
  call.y = dy.p() + 2, call.x = dx.p() + 1;
  kernels().move_parts(call);
  const std::vector<E> got = dy.get();
  CHECK(std::memcmp(got.data(), expected.data(), got.size() * sizeof(E)) == 0);
}

}  // namespace

TEST_CASE("device: move_parts agrees in all types, whatever is aligned") {
  for (const int64_t width : widths()) {
    INFO("width ", width);
    check_move<float>(DType::F32, width, false);
    check_move<float>(DType::F32, width, true);
    check_move<bfloat16>(DType::BF16, width, false);
    check_move<bfloat16>(DType::BF16, width, true);
    check_move<uint8_t>(DType::U8, width, false);
    check_move<int64_t>(DType::I64, width, false);
  }
}

TEST_CASE("device: transpose agrees around its tiles") {
  for (const int64_t M : {int64_t{1}, int64_t{31}, int64_t{33}, int64_t{70}})
    for (const int64_t C : {int64_t{1}, int64_t{32}, int64_t{45}, int64_t{129}}) {
      const std::vector<float> x = normal(size(M * C), 1);
      std::vector<float> expected = normal(size(C * (M + 3)), 2);
      Floats dx = x, dy = expected;
      ref().transpose(expected.data(), x.data(), M, C, M + 3);
      kernels().transpose(dy.p(), dx.p(), M, C, M + 3);
      CHECK(distance(dy.get(), expected) == 0);
    }
}

TEST_CASE("device: rows go to addresses and come from them") {
  for (const int64_t bytes : {1, 2, 4, 6, 8, 12, 16, 48, 100, 256}) {
    INFO("bytes ", bytes);
    std::vector<uint8_t> x(size(N * bytes));
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint8_t>(i * 7 + 1);
    OnDevice<uint8_t> from = x, table = std::vector<uint8_t>(size(8 * bytes)), back = std::vector<uint8_t>(x.size());
    const std::vector<int64_t> places(4, static_cast<int64_t>(reinterpret_cast<uintptr_t>(table.p())));
    Indices pages = places, slots = std::vector<int64_t>{4, -1, 6, 1};
    kernels().store_rows(reinterpret_cast<void* const*>(pages.p()), slots.p(), bytes, from.p(), N, bytes);
    kernels().load_rows(back.p(), reinterpret_cast<const void* const*>(pages.p()), slots.p(), bytes, N, bytes);
    CHECK(back.get() == x);
    const std::vector<uint8_t> rows = table.get();
    CHECK(std::equal(x.begin(), x.begin() + bytes, rows.begin() + 5 * bytes));
  }
}

TEST_CASE("device: dequantize_rows agrees") {
  for (const CacheCodes codes : {CacheCodes::Int8, CacheCodes::Fp8}) {
    std::vector<uint8_t> q;
    for (int i = 0; i < 256; ++i) q.push_back(static_cast<uint8_t>(i));
    if (codes == CacheCodes::Fp8) q[0x7f] = q[0xff] = 0;  // NaN
    const std::vector<float> scale = normal(8, 1);
    std::vector<float> expected(256);
    ref().dequantize_rows(expected.data(), q.data(), scale.data(), 8, 32, codes);
    OnDevice<uint8_t> dq = q;
    Floats dscale = scale, y = std::vector<float>(256);
    kernels().dequantize_rows(y.p(), dq.p(), dscale.p(), 8, 32, codes);
    CHECK(distance(y.get(), expected) == 0);
  }
}

TEST_CASE("device: log_softmax, l2_normalize's gradient and dot_rows agree") {
  for (int64_t C : widths()) {
    INFO("C ", C);
    std::vector<float> x = normal(size(N * C), 1, 5, 30);
    if (C > 2) x[1] = -kInf;
    const std::vector<float> dy = normal(x.size(), 2);
    std::vector<float> y(x.size()), dx(x.size()), norm(N), dots(N);
    ref().log_softmax(y.data(), x.data(), N, C);
    Floats gx = x, gy = y, gdy = dy;
    kernels().log_softmax(gx.p(), gx.p(), N, C);
    const std::vector<float> got = gx.get();
    for (size_t i = 0; i < y.size(); ++i) CHECK((got[i] == y[i] || std::fabs(got[i] - y[i]) <= 2e-5f * (1 + std::fabs(y[i]))));
    ref().log_softmax_backward(dx.data(), dy.data(), y.data(), N, C);
    kernels().log_softmax_backward(gdy.p(), gdy.p(), gy.p(), N, C);
    CHECK(distance(gdy.get(), dx) <= 1e-5 * (1 + largest(dx)));
    const std::vector<float> v = normal(x.size(), 3);
    ref().l2_normalize(y.data(), norm.data(), v.data(), N, C, 0);
    norm[1] = 0.5f;  // where eps decides
    ref().l2_normalize_backward(dx.data(), dy.data(), y.data(), norm.data(), N, C, 1);
    Floats unit = y, gnorm = norm, g = dy;
    kernels().l2_normalize_backward(g.p(), g.p(), unit.p(), gnorm.p(), N, C, 1);
    CHECK(distance(g.get(), dx) <= 1e-5 * (1 + largest(dx)));
    const std::vector<int64_t> a_index = {3, -1, 0, 3}, b_index = {1, 1, -1, 0};
    Indices ia = a_index, ib = b_index;
    Floats a = dy, b = v, out = dots;
    ref().dot_rows(dots.data(), dy.data(), a_index.data(), v.data(), b_index.data(), N, C);
    kernels().dot_rows(out.p(), a.p(), ia.p(), b.p(), ib.p(), N, C);
    CHECK(distance(out.get(), dots) <= 1e-4 * (1 + largest(dots)));
    ref().dot_rows(dots.data(), dy.data(), nullptr, v.data(), nullptr, N, C);
    kernels().dot_rows(out.p(), a.p(), nullptr, b.p(), nullptr, N, C);
    CHECK(distance(out.get(), dots) <= 1e-4 * (1 + largest(dots)));
  }
}

TEST_CASE("device: clamp and its gradient agree") {
  for (int64_t n : widths()) {
    INFO("n ", n);
    std::vector<float> x = normal(size(n), 1, 2);
    if (n > 4) x[1] = kInf, x[2] = std::numeric_limits<float>::quiet_NaN(), x[3] = -1;
    const std::vector<bfloat16> narrow = to_bf16(x);
    std::vector<float> y(x.size()), dx(x.size());
    std::vector<bfloat16> y16(x.size());
    ref().clamp(y.data(), x.data(), n, -1, 1.5f, DType::F32);
    ref().clamp(y16.data(), narrow.data(), n, -1, 1.5f, DType::BF16);
    const std::vector<float> dy = normal(x.size(), 2);
    ref().clamp_backward(dx.data(), dy.data(), x.data(), n, -1, 1.5f);
    Floats gx = x, g = dy;
    OnDevice<bfloat16> g16 = narrow;
    kernels().clamp_backward(g.p(), g.p(), gx.p(), n, -1, 1.5f);
    kernels().clamp(gx.p(), gx.p(), n, -1, 1.5f, DType::F32);
    kernels().clamp(g16.p(), g16.p(), n, -1, 1.5f, DType::BF16);
    CHECK(distance(gx.get(), y) == 0);
    CHECK(distance(g16.get(), y16) == 0);
    CHECK(distance(g.get(), dx) == 0);
  }
}

TEST_CASE("device: attention_probs agrees, ragged, grouped, masked and biased") {
  constexpr int64_t H = 4, Hkv = 2, D = 8, T = 6, S = 40;
  const std::vector<int64_t> q_start = {0, 3, 3, 8}, k_start = {0, 35, 35, 41}, query = {2, 0, 5, 12, 13, 14, 16, 17};
  std::vector<int64_t> key;
  for (int64_t s = 0; s < 35; ++s) key.push_back(S - 1 - s);
  for (int64_t s = 0; s < 6; ++s) key.push_back(3 * s);
  const std::vector<float> q = normal(size(8 * H * D), 1), k = normal(size(41 * Hkv * D), 2), distance_bias = normal(size(H * 80), 3);
  std::vector<float> bias(41);
  bias[4] = -kInf;
  for (size_t i = 35; i < 41; ++i) bias[i] = -kInf;  // no key is left
  struct Kind {
    bool causal;
    int64_t window;
    float softcap;
    bool biased;
  };
  for (const Kind& kind : {Kind{false, 0, 0, false}, Kind{true, 0, 2, true}, Kind{true, 3, 0, false}}) {
    AttentionCall c{.q = q.data(), .k = k.data(), .q_start = q_start.data(), .k_start = k_start.data(), .ld_q = H * D, .ld_k = Hkv * D};
    c.B = 3, c.H = H, c.Hkv = Hkv, c.D = c.Dv = D, c.Nq = 8, c.scale = 0.3f, c.causal = kind.causal, c.window = kind.window;
    c.softcap = kind.softcap;
    if (kind.biased) c.key_bias = bias.data(), c.distance_bias = distance_bias.data(), c.ld_distance = 80, c.distance_zero = 40;
    std::vector<float> expected(size(3 * H * T * S));
    for (int64_t b = 0; b < 3; ++b)
      for (int64_t h = 0; h < H; ++h) ref().attention_probs(expected.data(), c, query.data(), key.data(), T, S, b, h);
    Floats dq = q, dk = k, dbias = bias, ddistance = distance_bias, probs = std::vector<float>(expected.size());
    Indices dq_start = q_start, dk_start = k_start, dquery = query, dkey = key;
    c.q = dq.p(), c.k = dk.p(), c.q_start = dq_start.p(), c.k_start = dk_start.p();
    if (kind.biased) c.key_bias = dbias.p(), c.distance_bias = ddistance.p();
    kernels().attention_probs(probs.p(), c, dquery.p(), dkey.p(), T, S, kAllSequences, 0);
    CHECK(distance(probs.get(), expected) <= 1e-5);
    OnDevice<bfloat16> q16 = to_bf16(q), k16 = to_bf16(k);
    c.q = q16.p(), c.k = k16.p(), c.type = DType::BF16;
    kernels().attention_probs(probs.p(), c, dquery.p(), dkey.p(), T, S, kAllSequences, 0);
    CHECK(distance(probs.get(), expected) <= 0.02);
  }
}
