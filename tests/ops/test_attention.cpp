// Attention against the formula written out: ragged, grouped, causal, biased, and with nothing to see.
#include "ops/op_test.h"
#include "tenon/ops/attention.h"

namespace tenon {
namespace {

using Tensors = std::vector<Tensor>;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Case {
  const char* name;
  int64_t H, Hkv, D;
  std::vector<int64_t> q_start, k_start;
  bool causal = false;
  bool bias = false;
  float scale = 0;

  ops::AttentionOptions options(const std::vector<float>& key_bias) const {
    return {.heads = H,
            .kv_heads = Hkv,
            .scale = scale,
            .causal = causal,
            .q_start = q_start,
            .k_start = k_start,
            .key_bias = bias ? key_bias.data() : nullptr};
  }
  Tensor q(uint64_t seed = 1) const { return test::normal({q_start.back(), H * D}, seed); }
  Tensor k(uint64_t seed = 2) const { return test::normal({k_start.back(), Hkv * D}, seed); }
  /// Small numbers, and the last key of the first sequence shut out.
  std::vector<float> key_bias() const {
    std::vector<float> b = test::values(test::normal({k_start.back()}, 5));
    if (k_start[1] > 1) b[static_cast<size_t>(k_start[1]) - 1] = -kInfinity;
    return b;
  }
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"one token", 1, 1, 8, {0, 1}, {0, 1}},
      {"ragged", 4, 4, 16, {0, 5, 6, 40}, {0, 5, 6, 40}},
      {"odd head width", 3, 3, 7, {0, 9, 20}, {0, 9, 20}},
      {"several query blocks", 1, 1, 16, {0, 520, 523}, {0, 520, 523}},
      {"grouped", 6, 2, 16, {0, 7, 17}, {0, 7, 17}},
      {"causal", 2, 2, 16, {0, 33, 41}, {0, 33, 41}, true},
      {"causal, more keys than queries", 4, 1, 16, {0, 3, 5}, {0, 9, 19}, true},
      {"causal, more queries than keys", 2, 2, 16, {0, 9, 12}, {0, 4, 7}, true},
      {"cross attention", 2, 2, 64, {0, 3, 20}, {0, 31, 33}},
      {"bias", 2, 2, 16, {0, 6, 30}, {0, 6, 30}, false, true},
      {"causal, grouped, bias, scale", 4, 2, 8, {0, 6, 30}, {0, 6, 30}, true, true, 0.3f},
      {"empty sequences", 2, 2, 16, {0, 0, 4, 4, 9}, {0, 3, 3, 3, 8}},
  };
  return all;
}

/// The probabilities (T,S) of one head of one sequence.
std::vector<double> probs_of(const Case& c, const Tensor& q, const Tensor& k, const std::vector<float>& bias, size_t b, int64_t h) {
  const int64_t T = c.q_start[b + 1] - c.q_start[b], S = c.k_start[b + 1] - c.k_start[b];
  std::vector<double> p(static_cast<size_t>(T * S));
  const double scale = c.scale != 0 ? c.scale : 1 / std::sqrt(static_cast<double>(c.D));
  for (int64_t t = 0; t < T; ++t) {
    double sum = 0;
    for (int64_t s = 0; s < S; ++s) {
      if (c.causal && s > t + S - T) continue;
      double x = 0;
      for (int64_t d = 0; d < c.D; ++d)
        x += static_cast<double>(q.data<float>()[(c.q_start[b] + t) * c.H * c.D + h * c.D + d]) *
             k.data<float>()[(c.k_start[b] + s) * c.Hkv * c.D + h / (c.H / c.Hkv) * c.D + d];
      sum += p[static_cast<size_t>(t * S + s)] = std::exp(x * scale + (c.bias ? bias[static_cast<size_t>(c.k_start[b] + s)] : 0));
    }
    for (int64_t s = 0; s < S && sum > 0; ++s) p[static_cast<size_t>(t * S + s)] /= sum;
  }
  return p;
}

Tensor naive(const Case& c, const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<float>& bias) {
  Tensor out = Tensor::zeros(q.shape(), DType::F32);
  for (size_t b = 0; b + 1 < c.q_start.size(); ++b)
    for (int64_t h = 0; h < c.H; ++h) {
      const int64_t T = c.q_start[b + 1] - c.q_start[b], S = c.k_start[b + 1] - c.k_start[b];
      const std::vector<double> p = probs_of(c, q, k, bias, b, h);
      for (int64_t t = 0; t < T; ++t)
        for (int64_t d = 0; d < c.D; ++d) {
          double sum = 0;
          for (int64_t s = 0; s < S; ++s)
            sum += p[static_cast<size_t>(t * S + s)] * v.data<float>()[(c.k_start[b] + s) * c.Hkv * c.D + h / (c.H / c.Hkv) * c.D + d];
          out.data<float>()[(c.q_start[b] + t) * c.H * c.D + h * c.D + d] = static_cast<float>(sum);
        }
    }
  return out;
}

Tensor beside(const Tensors& parts) {
  int64_t width = 0;
  for (const Tensor& p : parts) width += p.size(1);
  Tensor all = Tensor::empty({parts[0].size(0), width}, parts[0].dtype());
  for (int64_t n = 0; n < all.size(0); ++n) {
    auto* to = static_cast<char*>(all.raw()) + static_cast<size_t>(n * width) * size_of(all.dtype());
    for (const Tensor& p : parts) {
      const size_t bytes = static_cast<size_t>(p.size(1)) * size_of(p.dtype());
      std::memcpy(to, static_cast<const char*>(p.raw()) + static_cast<size_t>(n) * bytes, bytes);
      to += bytes;
    }
  }
  return all;
}

TEST_CASE("attention equals the formula") {
  for (const Case& c : cases()) {
    CAPTURE(c.name);
    const Tensor q = c.q(), k = c.k(2), v = c.k(3);
    const std::vector<float> bias = c.key_bias();
    const Tensor want = naive(c, q, k, v, bias);
    for (const int threads : {1, 3}) {
      CAPTURE(threads);
      Context ctx(threads);
      CHECK(test::relative_error(ops::attention(ctx, q, k, v, c.options(bias)), want) < 1e-5);
      const Tensor half = ops::attention(ctx, q.to(DType::BF16), k.to(DType::BF16), v.to(DType::BF16), c.options(bias));
      CHECK(half.dtype() == DType::BF16);
      CHECK(test::relative_error(half, want) < 0.03);
    }
  }
}

TEST_CASE("q, k and v beside each other give the same") {
  Context ctx(2);
  for (const Case& c : cases()) {
    if (c.q_start != c.k_start) continue;
    CAPTURE(c.name);
    const std::vector<float> bias = c.key_bias();
    for (const DType type : {DType::F32, DType::BF16}) {
      const Tensor q = c.q().to(type), k = c.k(2).to(type), v = c.k(3).to(type);
      CHECK(test::relative_error(ops::attention_qkv(ctx, beside({q, k, v}), c.options(bias)),
                                 ops::attention(ctx, q, k, v, c.options(bias))) < 1e-6);
    }
  }
}

/// Probabilities with each sequence's rows and keys at the beginning of its row of a batch.
Tensor probs_in_front(Context& ctx, const Tensor& q, const Tensor& k, const ops::AttentionOptions& o, int64_t T, int64_t S) {
  std::vector<int64_t> query, key;
  const auto B = static_cast<int64_t>(o.q_start.size()) - 1;
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t t = 0; t < o.q_start[b + 1] - o.q_start[b]; ++t) query.push_back(b * T + t);
    for (int64_t s = 0; s < o.k_start[b + 1] - o.k_start[b]; ++s) key.push_back(s);
  }
  return ops::attention_probs(ctx, q, k, o, {query, key, B, T, S});
}

TEST_CASE("probabilities, padded with zeros") {
  Context ctx(2);
  for (const Case& c : cases()) {
    CAPTURE(c.name);
    const Tensor q = c.q(), k = c.k();
    const std::vector<float> bias = c.key_bias();
    int64_t T = 0, S = 0;
    for (size_t b = 0; b + 1 < c.q_start.size(); ++b)
      T = std::max(T, c.q_start[b + 1] - c.q_start[b]), S = std::max(S, c.k_start[b + 1] - c.k_start[b] + 1);
    const auto B = static_cast<int64_t>(c.q_start.size()) - 1;
    Tensor want = Tensor::zeros({B, c.H, T, S}, DType::F32);
    for (int64_t b = 0; b < B; ++b)
      for (int64_t h = 0; h < c.H; ++h) {
        const auto p = probs_of(c, q, k, bias, static_cast<size_t>(b), h);
        const int64_t keys = c.k_start[static_cast<size_t>(b) + 1] - c.k_start[static_cast<size_t>(b)];
        for (size_t i = 0; i < p.size(); ++i)
          want.data<float>()[((b * c.H + h) * T + static_cast<int64_t>(i) / keys) * S + static_cast<int64_t>(i) % keys] =
              static_cast<float>(p[i]);
      }
    CHECK(test::relative_error(probs_in_front(ctx, q, k, c.options(bias), T, S), want) < 1e-5);
  }
}

TEST_CASE("keys that are all shut out count as none") {
  Context ctx;
  const Case c{"", 2, 2, 8, {0, 2, 5}, {0, 2, 5}, false, true};
  std::vector<float> bias(5, 0.0f);
  bias[0] = bias[1] = -kInfinity;
  const Tensor q = c.q(), out = ops::attention(ctx, q, c.k(2), c.k(3), c.options(bias));
  for (const float v : test::values(out.rows(0, 2))) CHECK(v == 0);
  for (const float v : test::values(out.rows(2, 5))) CHECK(std::isfinite(v));
  const Tensor probs = probs_in_front(ctx, q, c.k(2), c.options(bias), 3, 3);
  for (const float v : test::values(probs)) CHECK(std::isfinite(v));
}

TEST_CASE("a sequence's result does not depend on its companions") {
  Context ctx(2);
  const Case c{"", 2, 2, 16, {0, 30, 37, 100}, {0, 30, 37, 100}};
  const Tensor q = c.q(), k = c.k(2), v = c.k(3), all = ops::attention(ctx, q, k, v, c.options({}));
  for (size_t b = 0; b < 3; ++b) {
    const int64_t begin = c.q_start[b], end = c.q_start[b + 1];
    const Case alone{"", 2, 2, 16, {0, end - begin}, {0, end - begin}};
    CHECK(test::values(ops::attention(ctx, q.rows(begin, end), k.rows(begin, end), v.rows(begin, end), alone.options({}))) ==
          test::values(all.rows(begin, end)));
  }
}

TEST_CASE("attention gradients") {
  const std::vector<Case> small = {
      {"ragged", 2, 2, 4, {0, 3, 4, 6}, {0, 3, 4, 6}},
      {"grouped", 4, 2, 3, {0, 3, 5}, {0, 3, 5}},
      {"causal, more queries than keys", 2, 1, 4, {0, 4, 6}, {0, 2, 4}, true},
      {"bias and scale", 1, 1, 4, {0, 3, 5}, {0, 4, 7}, false, true, 0.4f},
      {"empty sequences", 2, 2, 4, {0, 0, 2, 4}, {0, 2, 2, 4}},
  };
  for (const Case& c : small) {
    CAPTURE(c.name);
    const std::vector<float> bias = c.key_bias();
    test::check_gradients([&](Context& ctx, const Tensors& in) { return ops::attention(ctx, in[0], in[1], in[2], c.options(bias)); },
                          {c.q(), c.k(2), c.k(3)});
  }
}

TEST_CASE("attention gradients with biases of distance") {
  for (const Case& c : {Case{"both ways", 2, 2, 4, {0, 3, 4, 6}, {0, 3, 4, 6}, false, false, 1}, Case{"causal", 4, 2, 3, {0, 2, 5}, {0, 4, 7}, true, true},
                        Case{"empty sequences", 2, 2, 4, {0, 0, 2, 4}, {0, 2, 2, 4}}}) {
    CAPTURE(c.name);
    const std::vector<float> bias = c.key_bias();
    const auto run = [&](Context& ctx, const Tensors& in) {
      ops::AttentionOptions o = c.options(bias);
      o.distance_bias = in[3], o.distance_zero = 4;
      return ops::attention(ctx, in[0], in[1], in[2], o);
    };
    test::check_gradients(run, {c.q(), c.k(2), c.k(3), test::normal({c.H, 9}, 7)});
  }
}

TEST_CASE("attention gradients with dropout") {
  for (const Case& c : {Case{"ragged", 2, 2, 4, {0, 3, 4, 6}, {0, 3, 4, 6}}, Case{"grouped", 4, 2, 3, {0, 2, 5}, {0, 4, 7}, true, true}}) {
    CAPTURE(c.name);
    const std::vector<float> bias = c.key_bias();
    const auto run = [&](Context& ctx, const Tensors& in) {
      ops::AttentionOptions o = c.options(bias);
      o.dropout = 0.3f;
      ctx.set_training({.dropout = true});
      ctx.random() = Random(4);
      return ops::attention(ctx, in[0], in[1], in[2], o);
    };
    test::check_gradients(run, {c.q(), c.k(2), c.k(3)});
  }
}

TEST_CASE("attention drops its share of the probabilities, the same on any number of threads, and nothing unless asked") {
  const Case c{"even", 2, 2, 8, {0, 500}, {0, 500}};
  const Tensor zeros = Tensor::zeros({500, 16}, DType::F32), ones = test::floats(std::vector<float>(8000, 1), {500, 16});
  ops::AttentionOptions o = c.options({});
  o.dropout = 0.2f;
  std::vector<float> first;
  for (const int threads : {1, 3}) {
    Context ctx(threads);
    CHECK(test::values(ops::attention(ctx, zeros, zeros, ones, o))[0] == doctest::Approx(1));
    ctx.set_training({.dropout = true});
    ctx.random() = Random(7);
    const std::vector<float> y = test::values(ops::attention(ctx, zeros, zeros, ones, o));
    double mean = 0, square = 0;
    for (const float v : y) mean += v / 8000, square += v * v / 8000;
    CHECK(mean == doctest::Approx(1).epsilon(0.01));
    CHECK(square - mean * mean == doctest::Approx(0.2 / 0.8 / 500).epsilon(0.2));
    if (first.empty()) first = y;
    CHECK(first == y);
  }
}

TEST_CASE("attention errors") {
  Context ctx;
  const Case c{"", 2, 2, 4, {0, 3}, {0, 3}};
  const Tensor q = c.q(), k = c.k();
  const auto run = [&](ops::AttentionOptions o) { ops::attention(ctx, q, k, k, o); };
  const ops::AttentionOptions good = c.options({});
  auto o = good;
  o.heads = 3, o.kv_heads = 0;
  test::expect_error(ErrorCode::Shape, {"[attention]", "heads", "8", "3"}, [&] { run(o); });
  o = good, o.heads = 0;
  test::expect_error(ErrorCode::Shape, {"[attention]", "heads"}, [&] { run(o); });
  o = good, o.kv_heads = 4;
  test::expect_error(ErrorCode::Shape, {"[attention]", "heads"}, [&] { run(o); });
  const std::vector<int64_t> shortened = {0, 2}, falling = {0, 4, 2, 3}, none;
  o = good, o.q_start = shortened;
  test::expect_error(ErrorCode::Shape, {"q_start", "3"}, [&] { run(o); });
  o = good, o.k_start = falling;
  test::expect_error(ErrorCode::Shape, {"k_start"}, [&] { run(o); });
  test::expect_error(ErrorCode::Shape, {"(3, 8)", "(3, 3)"}, [&] { ops::attention(ctx, q, k, test::normal({3, 3}, 1), good); });
  test::expect_error(ErrorCode::Shape, {"bfloat16"}, [&] { ops::attention(ctx, q, k.to(DType::BF16), k, good); });
  test::expect_error(ErrorCode::Shape, {"6 * D", "(3, 8)"}, [&] { ops::attention_qkv(ctx, q, good); });
  test::expect_error(ErrorCode::Limit, {"place of a query", "0 to 1"}, [&] { probs_in_front(ctx, q, k, good, 2, 3); });
  test::expect_error(ErrorCode::Limit, {"place of a key", "0 to 1"}, [&] { probs_in_front(ctx, q, k, good, 3, 2); });
  test::check_no_gradient("attention_qkv", [&](Context& x, const Tensors& in) { return ops::attention_qkv(x, in[0], good); },
                          {test::normal({3, 24}, 1)});
  test::check_bf16_refused("attention", [&](Context& x, const Tensors& in) { return ops::attention(x, in[0], in[1], in[1], good); },
                           {q, k});
}

}  // namespace
}  // namespace tenon
