// The kernels of mixtures and of choosing tokens: every table against ref, and ref against the ops and plain loops.
#include <cmath>
#include <numeric>

#include "ops/agree.h"
#include "ops/op_test.h"
#include "tenon/ops/experts.h"

namespace tenon {
namespace {

using agree::normal;
size_t size(int64_t n) { return static_cast<size_t>(n); }

TEST_CASE("the router's kernel is the router") {
  constexpr int64_t N = 9, E = 16;
  std::vector<float> logits = normal(N * E, 1);
  for (size_t i = 0; i < 2 * E; ++i) logits[i] = static_cast<float>(i % 3);  // ties
  const std::vector<float> bias = normal(E, 2);
  for (const bool with_bias : {false, true})
    for (const bool sigmoid : {false, true})
      for (const ops::RouterOptions& given : std::vector<ops::RouterOptions>{{.top_k = 1},
                                                                             {.top_k = 4, .normalize = true},
                                                                             {.top_k = 3, .groups = 4, .top_groups = 2, .scale = 2.5f},
                                                                             {.top_k = 4, .groups = 4, .top_groups = 2, .group_by_top2 = true},
                                                                             {.top_k = 3, .normalize = true, .newcomers = 1, .newcomer_weight = 0.3f}}) {
        ops::RouterOptions o = given;
        o.score = sigmoid ? ops::RouterScore::Sigmoid : ops::RouterScore::Softmax;
        Context ctx(1);
        const ops::Routing expected = ops::route(ctx, test::floats(logits, {N, E}), with_bias ? test::floats(bias, {E}) : Tensor(), o);
        std::vector<int64_t> expert(size(N * o.top_k));
        std::vector<float> weight(expert.size()), score(logits.size()), dlogits(logits.size());
        RouterCall c{.expert = expert.data(), .weight = weight.data(), .score = score.data(), .logits = logits.data()};
        c.bias = with_bias ? bias.data() : nullptr, c.N = N, c.E = E, c.K = o.top_k, c.sigmoid = sigmoid, c.groups = o.groups;
        c.top_groups = o.top_groups, c.group_by_top2 = o.group_by_top2, c.normalize = o.normalize, c.scale = o.scale;
        c.newcomers = o.newcomers, c.newcomer_weight = o.newcomer_weight;
        agree::ref().route(c);
        CHECK(expert == expected.expert);
        CHECK(agree::distance(weight, std::vector<float>(expected.weight.data<float>(), expected.weight.data<float>() + weight.size())) <= 1e-6);

        // its gradient by finite differences of sum of weight * g, the choice held
        const std::vector<float> g = normal(weight.size(), 3);
        agree::ref().route_backward(dlogits.data(), g.data(), c);
        const auto value = [&](std::vector<float> l) {
          std::vector<float> s(l.size());
          if (sigmoid) agree::ref().activation(s.data(), l.data(), N * E, Activation::Sigmoid, DType::F32);
          else agree::ref().softmax(s.data(), l.data(), N, E);
          double total = 0;
          for (int64_t n = 0; n < N; ++n) {
            double sum = 0, part = 0;
            for (int64_t k = 0; k < o.top_k; ++k) {
              const double a = s[size(n * E + expert[size(n * o.top_k + k)])] * (k >= o.top_k - o.newcomers ? o.newcomer_weight : 1.0f);
              sum += a, part += a * g[size(n * o.top_k + k)];
            }
            total += part * o.scale / (o.normalize ? sum : 1);
          }
          return total;
        };
        for (const size_t i : {size_t{0}, size_t{5}, size_t{40}, size_t{77}, size_t{143}}) {
          std::vector<float> up = logits, down = logits;
          up[i] += 1e-2f, down[i] -= 1e-2f;
          CHECK(std::abs((value(up) - value(down)) / 2e-2 - dlogits[i]) <= 2e-3);
        }
      }
}

TEST_CASE("places sorted by expert are the experts' rows") {
  constexpr int64_t N = 7, K = 2, E = 5;
  ops::Routing r{.N = N, .E = E, .K = K, .expert = {3, 1, -1, -1, 3, 0, 1, 3, 4, -1, 3, 1, 0, 4}, .weight = {}, .logits = {}};
  const ops::ExpertRows expected(r);
  std::vector<int64_t> start(E + 1), token(N * K), row(N * K);
  agree::ref().sort_by_expert(start.data(), token.data(), row.data(), r.expert.host().data(), N, K, E);
  CHECK(start == expected.start);
  CHECK(row == expected.row);
  CHECK(std::vector<int64_t>(token.begin(), token.begin() + start.back()) == expected.token);
  CHECK(std::count(token.begin() + start.back(), token.end(), -1) == N * K - start.back());
}

TEST_CASE("a grouped linear is each group's product; gates, transposed weights and gradients too") {
  constexpr int64_t N = 6, K = 5, G = 3;
  const std::vector<int64_t> start = {0, 2, 2, 7};
  const std::vector<float> x = normal(7 * K, 1), w = normal(G * 2 * N * K, 2), dy = normal(7 * N, 3);
  std::vector<const void*> rows;
  for (int64_t g = 0; g < G; ++g) rows.push_back(w.data() + g * 2 * N * K);
  std::vector<float> y(8 * N, 7);
  GroupedLinearCall c{.y = y.data(), .x = x.data(), .w = rows.data(), .start = start.data()};
  c.M = 8, c.N = N, c.K = K, c.groups = G;
  const auto dot = [&](int64_t m, int64_t n) {
    const int64_t g = m < 2 ? 0 : 2;
    double sum = 0;
    for (int64_t k = 0; k < K; ++k) sum += x[size(m * K + k)] * w[size((g * 2 * N + n) * K + k)];
    return sum;
  };
  agree::ref().grouped_linear(c);
  for (int64_t m = 0; m < 7; ++m)
    for (int64_t n = 0; n < N; ++n) CHECK(y[size(m * N + n)] == doctest::Approx(dot(m, n)).epsilon(1e-4));
  CHECK(y[7 * N] == 7);  // no group's row
  c.accumulate = true;
  agree::ref().grouped_linear(c);
  CHECK(y[0] == doctest::Approx(2 * dot(0, 0)).epsilon(1e-4));
  c.accumulate = false, c.gated = true, c.act = Activation::Silu;
  agree::ref().grouped_linear(c);
  for (int64_t m = 0; m < 7; ++m)
    for (int64_t n = 0; n < N; ++n) {
      const double gate = dot(m, n);
      CHECK(y[size(m * N + n)] == doctest::Approx(gate / (1 + std::exp(-gate)) * dot(m, N + n)).epsilon(1e-4));
    }
  std::vector<float> dx(7 * K);
  GroupedLinearCall back{.y = dx.data(), .x = dy.data(), .w = rows.data(), .start = start.data()};
  back.transposed = true, back.M = 7, back.N = K, back.K = N, back.groups = G;
  agree::ref().grouped_linear(back);
  double expected = 0;
  for (int64_t n = 0; n < N; ++n) expected += dy[size(3 * N + n)] * w[size((2 * 2 * N + n) * K + 4)];
  CHECK(dx[3 * K + 4] == doctest::Approx(expected).epsilon(1e-4));
  std::vector<float> dw(G * N * K, 1);
  std::vector<float*> to = {dw.data(), dw.data() + N * K, dw.data() + 2 * N * K};
  GroupedGradCall grad{.dw = to.data(), .a = dy.data(), .b = x.data(), .start = start.data()};
  grad.N = N, grad.K = K, grad.groups = G;
  agree::ref().grouped_gradient(grad);
  CHECK(dw[0] == doctest::Approx(dy[0] * x[0] + dy[N] * x[K]).epsilon(1e-4));
  CHECK(dw[N * K] == 0);
}

TEST_CASE("sampled tokens follow what top_k and top_p leave") {
  constexpr int64_t N = 4000, V = 6;
  const std::vector<float> one = {std::log(0.1f), std::log(0.4f), -INFINITY, std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  std::vector<float> scores;
  for (int64_t n = 0; n < N; ++n) scores.insert(scores.end(), one.begin(), one.end());
  std::vector<int64_t> token(N), row(N), step(N, 3);
  std::iota(row.begin(), row.end(), int64_t{0});
  SampleCall c{.token = token.data(), .scores = scores.data(), .N = N, .V = V, .seed = 5, .row = row.data(), .step = step.data()};
  const auto shares = [&] {
    agree::ref().sample_rows(c);
    std::vector<double> share(V);
    for (const int64_t t : token) share[size(t)] += 1.0 / N;
    return share;
  };
  const auto close = [](const std::vector<double>& a, const std::vector<double>& b) { return agree::distance(a, b) < 0.03; };
  CHECK(close(shares(), {0.1, 0.4, 0, 0.3, 0.15, 0.05}));
  c.top_k = 2;
  CHECK(close(shares(), {0, 4.0 / 7, 0, 3.0 / 7, 0, 0}));
  c.top_k = 0, c.top_p = 0.8f;  // 0.05 and 0.1 are left out: together 0.15; 0.15 more would be over 0.2
  CHECK(close(shares(), {0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85, 0}));
  c.top_p = 0;
  CHECK(close(shares(), {0, 1, 0, 0, 0, 0}));
  c.top_p = 1, c.temperature = 0.5f;
  const double total = 0.01 + 0.16 + 0.09 + 0.0225 + 0.0025;
  CHECK(close(shares(), {0.01 / total, 0.16 / total, 0, 0.09 / total, 0.0225 / total, 0.0025 / total}));
  std::vector<int64_t> best(N);
  agree::ref().argmax_rows(best.data(), scores.data(), N, V);
  CHECK(best == std::vector<int64_t>(N, 1));
  const std::vector<float> odd = {NAN, 2, 2, NAN, NAN, NAN};
  agree::ref().argmax_rows(best.data(), odd.data(), 2, 3);
  CHECK(best[0] == 1);
  CHECK(best[1] == 0);
}

}  // namespace
}  // namespace tenon
