// The router, rows sorted by expert, and tokens chosen.
#include <numeric>

#include "grouped_data.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

void check_router(RouterCall c, const std::vector<float>& logits, const std::vector<float>& bias) {
  std::vector<int64_t> expert(size(c.N * c.K));
  std::vector<float> weight(expert.size()), score(logits.size()), dlogits(logits.size()), dweight = normal(expert.size(), 7);
  const bool with_bias = c.bias != nullptr;
  c.expert = expert.data(), c.weight = weight.data(), c.score = score.data(), c.logits = logits.data();
  c.bias = with_bias ? bias.data() : nullptr;
  ref().route(c);
  Indices gexpert = expert;
  Floats gweight = weight, gscore = score, glogits = logits, gbias = bias;
  RouterCall g = c;
  g.expert = gexpert.p(), g.weight = gweight.p(), g.score = gscore.p(), g.logits = glogits.p(), g.bias = with_bias ? gbias.p() : nullptr;
  kernels().route(g);
  CHECK(gexpert.get() == expert);
  CHECK(distance(gscore.get(), score) <= 1e-6);
  CHECK(distance(gweight.get(), weight) <= 1e-6 * (1 + largest(weight)));

  for (size_t p = 0; p < expert.size(); p += 5) expert[p] = -1;  // dropped by a capacity
  ref().route_backward(dlogits.data(), dweight.data(), c);
  Floats gdlogits = std::vector<float>(dlogits.size(), 9), gdweight = dweight, exact = score;
  Indices gdropped = expert;
  g.expert = gdropped.p(), g.score = exact.p();
  kernels().route_backward(gdlogits.p(), gdweight.p(), g);
  CHECK(distance(gdlogits.get(), dlogits) <= 1e-6 * (1 + largest(dlogits)));
}

}  // namespace

TEST_CASE("device: the router agrees, with groups, biases, ties and newcomers") {
  for (const auto& [E, groups] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {8, 4}, {33, 3}, {64, 8}, {160, 8}, {256, 8}})
    for (const bool sigmoid : {false, true})
      for (const bool bias : {false, true}) {
        INFO("E ", E, ", sigmoid ", sigmoid, ", bias ", bias);
        constexpr int64_t N = 7;
        std::vector<float> logits = normal(size(N * E), 1, 2), b = normal(size(E), 2);
        for (int64_t i = 0; i < 2 * E; ++i) logits[size(i)] = static_cast<float>(i % 3);
        for (int64_t i = 0; i < E; i += 3) b[size(i)] = 0;
        if (!sigmoid && !bias && E > 8) logits[size(3 * E + 5)] = -std::numeric_limits<float>::infinity();
        RouterCall c{.bias = bias ? b.data() : nullptr, .N = N, .E = E, .K = std::min<int64_t>(E, 1)};
        c.sigmoid = sigmoid;
        check_router(c, logits, b);
        c.K = std::min<int64_t>(E, 4), c.normalize = true, c.scale = 2.5f;
        check_router(c, logits, b);
        c.groups = groups, c.top_groups = (groups + 1) / 2;
        check_router(c, logits, b);
        c.group_by_top2 = true, c.newcomers = c.K / 2, c.newcomer_weight = 0.25f;
        check_router(c, logits, b);
      }
}

TEST_CASE("device: routers agree where scores are NaN: they come last, the lowest first") {
  const float nan = std::nanf("");
  const std::vector<float> logits = {0, 1, 2, 3, -1}, bias = {nan, 0, nan, -0.0f, nan};
  RouterCall c{.bias = bias.data(), .N = 1, .E = 5, .K = 4};
  c.sigmoid = true;
  check_router(c, logits, bias);
}

TEST_CASE("device: places sorted by expert agree, within one chunk and over many") {
  for (const int64_t N : {int64_t{1}, int64_t{3}, int64_t{170}, int64_t{171}, int64_t{700}, int64_t{2000}})
    for (const int64_t E : {int64_t{1}, int64_t{8}, int64_t{300}}) {
      INFO("N ", N, ", E ", E);
      constexpr int64_t K = 3;
      std::vector<int64_t> expert(size(N * K)), start(size(E + 1)), token(expert.size()), row(expert.size());
      for (int64_t p = 0; p < N * K; ++p) expert[size(p)] = p % 7 == 3 ? -1 : p * p % 11 * 29 % E;
      ref().sort_by_expert(start.data(), token.data(), row.data(), expert.data(), N, K, E);
      Indices gexpert = expert, gstart = std::vector<int64_t>(start.size(), 77), gtoken = std::vector<int64_t>(token.size(), 77), grow = gtoken.get();
      kernels().sort_by_expert(gstart.p(), gtoken.p(), grow.p(), gexpert.p(), N, K, E);
      CHECK(gstart.get() == start);
      CHECK(gtoken.get() == token);
      CHECK(grow.get() == row);
    }
}

TEST_CASE("device: the likeliest tokens agree, ties and NaN included") {
  for (int64_t C : widths()) {
    INFO("C ", C);
    std::vector<float> x = normal(size(4 * C), 1);
    for (int64_t i = 0; i < C; ++i) x[size(C + i)] = static_cast<float>(i * 7 % 5), x[size(2 * C + i)] = std::nanf("");
    for (int64_t i = 0; i < C; i += 2) x[size(3 * C + i)] = -0.0f;
    for (int64_t i = 1; i < C; i += 2) x[size(3 * C + i)] = 0;
    std::vector<int64_t> index(4);
    Floats gx = x;
    Indices gindex = std::vector<int64_t>(4, -7);
    ref().argmax_rows(index.data(), x.data(), 4, C);
    kernels().argmax_rows(gindex.p(), gx.p(), 4, C);
    CHECK(gindex.get() == index);
  }
}

TEST_CASE("device: sampled tokens agree") {
  constexpr int64_t N = 40;
  for (const int64_t V : {int64_t{1}, int64_t{2}, int64_t{33}, int64_t{1000}, int64_t{5003}})
    for (const int64_t top_k : {int64_t{0}, int64_t{1}, int64_t{20}})
      for (const float top_p : {1.0f, 0.9f, 0.3f, 0.0f})
        for (const bool ties : {false, true}) {
          INFO("V ", V, ", top_k ", top_k, ", top_p ", top_p, ", ties ", ties);
          std::vector<float> scores = normal(size(N * V), 3, 3);
          if (ties)
            for (float& s : scores) s = std::round(s);
          for (size_t i = 0; i < scores.size(); i += 9) scores[i] = i % 2 ? -std::numeric_limits<float>::infinity() : std::nanf("");
          std::vector<int64_t> token(N), row(N), step(N), gone(N);
          for (int64_t n = 0; n < N; ++n) row[size(n)] = 5 * n, step[size(n)] = 1000 - n;
          SampleCall c{.token = token.data(), .scores = scores.data(), .N = N, .V = V, .temperature = 0.7f, .top_k = top_k, .top_p = top_p};
          c.seed = 11, c.row = row.data(), c.step = step.data();
          ref().sample_rows(c);
          Floats gscores = scores;
          Indices gtoken = std::vector<int64_t>(N, -7), grow = row, gstep = step;
          c.token = gtoken.p(), c.scores = gscores.p(), c.row = grow.p(), c.step = gstep.p();
          kernels().sample_rows(c);
          CHECK(gtoken.get() == token);
        }
}

template <class E>
void check_reordered(int64_t K) {
  const std::vector<int64_t> start = {0, 0, 3, 3, 8, 9};  // two rows are nobody's
  constexpr int64_t M = 11, groups = 5;
  std::vector<int64_t> turned(size(K)), odd(size(K));
  for (int64_t k = 0; k < K; ++k) turned[size(k)] = K - 1 - k, odd[size(k)] = (k * 7 + 3) % K;
  const std::vector<E> x = floats_as<E>(normal(size(M * K), 3));
  std::vector<E> y(x.size());
  const std::vector<const int64_t*> order = {odd.data(), turned.data(), nullptr, nullptr, odd.data()};
  ReorderCall c{.y = y.data(), .x = x.data(), .order = order.data(), .start = start.data(), .type = float_type<E>(), .M = M, .K = K, .groups = groups};
  const std::vector<E> before = y;
  ref().reorder_columns(c);
  CHECK(std::memcmp(&y[size(K)], &x[size(2 * K - 1)], sizeof(E)) == 0);
  OnDevice<E> gx = x, gy = before;
  Indices gturned = turned, godd = odd, gstart = start;
  const auto address = [](Indices& i) { return static_cast<int64_t>(reinterpret_cast<intptr_t>(i.p())); };
  Indices gorder = std::vector<int64_t>{address(godd), address(gturned), 0, 0, address(godd)};
  c.y = gy.p(), c.x = gx.p(), c.order = reinterpret_cast<const int64_t* const*>(gorder.p()), c.start = gstart.p();
  kernels().reorder_columns(c);
  CHECK(std::memcmp(gy.get().data(), y.data(), y.size() * sizeof(E)) == 0);
}

TEST_CASE("device: columns of rows are brought into their group's order") {
  for (const int64_t K : {1, 5, 300}) {
    check_reordered<float>(K);
    check_reordered<bfloat16>(K);
    check_reordered<float16>(K);
  }
}
