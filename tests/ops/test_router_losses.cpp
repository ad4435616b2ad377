// The losses of routers against a float64 reference and finite differences, soft starts of newcomers, and the bias update.
#include "ops/op_test.h"
#include "tenon/ops/router_loss.h"
#include "tenon/ops/router_losses.h"

namespace tenon {
namespace {

using ops::BalanceKind;
using ops::RouterLossOptions;
using ops::RouterScore;
using ops::Routing;

constexpr int64_t N = 7, E = 6, K = 2, L = 2;
const std::vector<uint8_t> kCounted = {1, 1, 0, 1, 1, 1, 1};
const std::vector<int64_t> kSequence = {0, 4, 7}, kTarget = {5, -100, 1, -1, 0, 3, -100};

Tensor logits_of(uint64_t seed) { return test::normal({N, E}, seed, 1.5f); }

/// Routings whose choice stays that of `chosen` while the logits move.
std::vector<Routing> routings(const std::vector<Tensor>& logits, const std::vector<Tensor>& chosen, int64_t top_k = K) {
  Context ctx(1);
  std::vector<Routing> all;
  for (size_t i = 0; i < logits.size(); ++i) {
    Routing r = ops::route(ctx, chosen[i], {}, {.top_k = top_k});
    r.logits = logits[i];
    all.push_back(r);
  }
  return all;
}

ops::RouterRows some_rows() { return {.counted = kCounted, .sequence = kSequence, .target = kTarget}; }

/// All losses by their formulas, in double, one loop a formula.
std::vector<double> reference(const std::vector<Routing>& layers, const RouterLossOptions& o) {
  using Table = std::vector<std::vector<double>>;
  std::vector<Table> p(layers.size(), Table(N, std::vector<double>(E)));
  std::vector<double> value(8);
  const double ln = std::log(static_cast<double>(E));
  double T = 0, named = 0;
  for (const uint8_t c : kCounted) T += c;
  for (size_t l = 0; l < layers.size(); ++l)
    for (int64_t n = 0; n < N; ++n) {
      const float* x = layers[l].logits.data<float>() + n * E;
      double sum = 0, z = 0;
      for (int64_t e = 0; e < E; ++e) z += std::exp(static_cast<double>(x[e]));
      for (int64_t e = 0; e < E; ++e)
        sum += p[l][n][e] =
            o.score == RouterScore::Softmax ? std::exp(static_cast<double>(x[e])) : 1 / (1 + std::exp(-static_cast<double>(x[e])));
      for (int64_t e = 0; e < E; ++e) p[l][n][e] /= sum;
      if (!kCounted[static_cast<size_t>(n)]) continue;
      value[4] += std::pow(std::log(z), 2) / (T * L);
      for (int64_t e = 0; e < E; ++e) value[6] -= p[l][n][e] * std::log(p[l][n][e]) / ln / (T * L);
      if (const int64_t t = kTarget[static_cast<size_t>(n)]; t >= 0) value[7] -= std::log(p[l][n][static_cast<size_t>(t)]), ++named;
    }
  value[7] /= named;
  std::vector<double> all_f(E), all_P(E);
  const int64_t per = E / o.devices;
  const double M = o.devices_per_token ? static_cast<double>(o.devices_per_token) : static_cast<double>(o.devices);
  for (size_t l = 0; l < layers.size(); ++l) {
    std::vector<double> count(E), first(E), P(E), sent(static_cast<size_t>(o.devices));
    for (int64_t n = 0; n < N; ++n) {
      if (!kCounted[static_cast<size_t>(n)]) continue;
      std::vector<bool> there(static_cast<size_t>(o.devices));
      for (int64_t k = 0; k < K; ++k) {
        const int64_t e = layers[l].expert[static_cast<size_t>(n * K + k)];
        ++count[static_cast<size_t>(e)], there[static_cast<size_t>(e / per)] = true;
      }
      for (size_t d = 0; d < there.size(); ++d) sent[d] += there[d];
      ++first[static_cast<size_t>(std::max_element(p[l][n].begin(), p[l][n].end()) - p[l][n].begin())];
      for (int64_t e = 0; e < E; ++e) P[static_cast<size_t>(e)] += p[l][n][static_cast<size_t>(e)] / T;
    }
    double entropy = 0;
    for (size_t e = 0; e < E; ++e) {
      entropy -= P[e] * std::log(P[e]) / ln;
      all_f[e] += count[e] / (T * L), all_P[e] += P[e] / L;
      if (o.balance == BalanceKind::Megablocks) value[0] += E * count[e] / (K * T) * P[e] / L;
      if (o.balance == BalanceKind::Deepseek) value[0] += E * count[e] / (K * T) * P[e];
      if (o.balance == BalanceKind::Switch) value[0] += E * first[e] / T * P[e];
    }
    value[5] += (1 - entropy) / L;
    for (int64_t d = 0; d < o.devices; ++d) {
      double f = 0, mass = 0;
      for (int64_t e = d * per; e < (d + 1) * per; ++e)
        f += E * count[static_cast<size_t>(e)] / (K * T) / static_cast<double>(per), mass += P[static_cast<size_t>(e)];
      value[2] += f * mass;
      value[3] += static_cast<double>(o.devices) / (M * T) * sent[static_cast<size_t>(d)] * mass;
    }
    for (size_t s = 0; s + 1 < kSequence.size(); ++s) {
      double rows = 0;
      std::vector<double> f(E), mean(E);
      for (int64_t n = kSequence[s]; n < kSequence[s + 1]; ++n) {
        if (!kCounted[static_cast<size_t>(n)]) continue;
        ++rows;
        for (int64_t k = 0; k < K; ++k) ++f[static_cast<size_t>(layers[l].expert[static_cast<size_t>(n * K + k)])];
        for (size_t e = 0; e < E; ++e) mean[e] += p[l][n][e];
      }
      for (size_t e = 0; e < E; ++e) value[1] += E * f[e] / (K * rows) * mean[e] / rows / 2;
    }
  }
  if (o.balance == BalanceKind::Hf)
    for (size_t e = 0; e < E; ++e) value[0] += E * all_f[e] * all_P[e];
  return value;
}

std::vector<RouterLossOptions> all_options() {
  std::vector<RouterLossOptions> all;
  for (const auto score : {RouterScore::Softmax, RouterScore::Sigmoid})
    for (const auto kind : {BalanceKind::Megablocks, BalanceKind::Switch, BalanceKind::Hf, BalanceKind::Deepseek})
      all.push_back({.balance = kind, .score = score, .devices = 3, .devices_per_token = 2});
  return all;
}

std::vector<Tensor> listed(ops::RouterLosses losses) {
  std::vector<Tensor> all;
  losses.visit([&](const char*, Tensor& t) { all.push_back(t); });
  return all;
}

TEST_CASE("each loss is what its formula gives in float64") {
  const std::vector<Tensor> logits = {logits_of(1), logits_of(2)};
  const std::vector<Routing> layers = routings(logits, logits);
  for (const RouterLossOptions& o : all_options()) {
    Context ctx(2);
    const std::vector<Tensor> got = listed(ops::router_losses(ctx, layers, some_rows(), o));
    const std::vector<double> want = reference(layers, o);
    for (size_t i = 0; i < want.size(); ++i) {
      CAPTURE(i);
      CHECK(got[i].item() == doctest::Approx(want[i]).epsilon(1e-5));
    }
  }
}

TEST_CASE("the losses' gradients are those of finite differences") {
  const std::vector<Tensor> chosen = {logits_of(1), logits_of(2)};
  for (const RouterLossOptions& o : all_options())
    for (size_t i = 0; i < 8; ++i) {
      CAPTURE(i);
      if (i == 0 && o.balance == BalanceKind::Switch) continue;  // counts by logits that move: below
      test::check_gradients(
          [&](Context& c, const std::vector<Tensor>& in) { return listed(ops::router_losses(c, routings(in, chosen), some_rows(), o))[i]; },
          chosen, 3e-3, 0.02f);
    }
  // Most probable experts that stay so while the logits move.
  const std::vector<Tensor> apart = {test::floats({0, 1, 2, 3, 3, -1, 0.5f, 1.5f}, {2, 4}),
                                     test::floats({2, 1, 0, 3, 3, -1, 0.5f, 1.5f}, {2, 4})};
  test::check_gradients(
      [&](Context& c, const std::vector<Tensor>& in) {
        return ops::router_losses(c, routings(in, apart), {}, {.balance = BalanceKind::Switch}).balance;
      },
      apart, 3e-3, 0.02f);
}

TEST_CASE("perfect balance is 1, of Hf K, and one expert for all E; the older loss is the Hf kind") {
  Context ctx(2);
  const Tensor even = test::floats({9, 9, 0, 0, 0, 0, 9, 9}, {2, 4}), one = test::floats({90, 45, 0, 0, 90, 45, 0, 0}, {2, 4});
  const auto balance = [&](const Tensor& x, BalanceKind kind) {
    return ops::router_losses(ctx, routings({x}, {x}), {}, {.balance = kind}).balance.item();
  };
  CHECK(balance(even, BalanceKind::Megablocks) == doctest::Approx(1));
  CHECK(balance(even, BalanceKind::Deepseek) == doctest::Approx(1));
  CHECK(balance(even, BalanceKind::Hf) == doctest::Approx(2));
  CHECK(balance(one, BalanceKind::Switch) == doctest::Approx(4));
  const std::vector<Tensor> logits = {logits_of(1), logits_of(2)};
  const std::vector<Routing> layers = routings(logits, logits);
  CHECK(ops::router_losses(ctx, layers, {.counted = kCounted}, {.balance = BalanceKind::Hf}).balance.item() ==
        doctest::Approx(ops::load_balancing_loss(ctx, layers, kCounted).item()));
}

TEST_CASE("entropies: balanced and certain costs nothing, collapsed costs the whole load term") {
  Context ctx(2);
  const Tensor sharp = test::floats({80, 0, 0, 80}, {2, 2}), collapsed = test::floats({80, 0, 80, 0}, {2, 2});
  const ops::RouterLosses good = ops::router_losses(ctx, routings({sharp}, {sharp}, 1)),
                          bad = ops::router_losses(ctx, routings({collapsed}, {collapsed}, 1));
  CHECK(good.load_entropy.item() == doctest::Approx(0));
  CHECK(good.token_entropy.item() == doctest::Approx(0));
  CHECK(bad.load_entropy.item() == doctest::Approx(1));
  CHECK_FALSE(good.target.defined());
  // Probabilities that round to nothing still have finite slopes.
  test::check_gradients([&](Context& c, const std::vector<Tensor>& in) { return ops::router_losses(c, routings(in, {collapsed}, 1)).z; },
                        {collapsed});
  train::Tape tape;
  tape.watch(collapsed);
  ctx.set_recorder(&tape);
  const ops::RouterLosses losses = ops::router_losses(ctx, routings({collapsed}, {collapsed}, 1));
  ctx.set_recorder(nullptr);
  tape.backward(ctx, losses.load_entropy);
  for (const float g : test::values(tape.grad(collapsed))) CHECK(std::isfinite(g));
}

TEST_CASE("rows that do not count change nothing, none that count cost nothing") {
  Context ctx(2);
  const Tensor logits = logits_of(1);
  const std::vector<uint8_t> none(N, 0);
  for (const Tensor& t : listed(ops::router_losses(ctx, routings({logits}, {logits}), {.counted = none})))
    if (t.defined()) CHECK(t.item() == 0);
  const Tensor loads = ops::expert_loads(routings({logits}, {logits}), kCounted);
  int64_t sum = 0;
  for (const int64_t n : loads.values<int64_t>()) sum += n;
  CHECK(sum == 6 * K);
}

TEST_CASE("what does not fit is refused by name") {
  Context ctx;
  const Tensor logits = logits_of(1);
  const std::vector<Routing> layers = routings({logits}, {logits});
  const std::vector<int64_t> far(N, E), torn = {0, 9};
  test::expect_error(ErrorCode::Shape, {"[router losses]", "layer"}, [&] { ops::router_losses(ctx, {}); });
  test::expect_error(ErrorCode::Limit, {"[router losses]", "devices"}, [&] { ops::router_losses(ctx, layers, {}, {.devices = 4}); });
  test::expect_error(ErrorCode::Limit, {"[router losses]", "target"}, [&] { ops::router_losses(ctx, layers, {.target = far}); });
  test::expect_error(ErrorCode::Shape, {"[router losses]", "sequence"}, [&] { ops::router_losses(ctx, layers, {.sequence = torn}); });
}

TEST_CASE("a newcomer of weight 0 changes nothing, of weight 1 is a place like the others; between them gradients are true") {
  Context ctx(2);
  const Tensor logits = logits_of(3);
  const auto weights = [&](int64_t k, int64_t newcomers, float weight) {
    return ops::route(ctx, logits, {}, {.top_k = k, .normalize = true, .newcomers = newcomers, .newcomer_weight = weight}).weight;
  };
  const Tensor two = weights(2, 0, 1), none = weights(4, 2, 0);
  for (int64_t n = 0; n < N; ++n)
    for (int64_t k = 0; k < 4; ++k) CHECK(none.data<float>()[n * 4 + k] == (k < 2 ? two.data<float>()[n * 2 + k] : 0));
  CHECK(test::relative_error(weights(4, 2, 1), weights(4, 0, 1)) == 0);
  for (const auto score : {RouterScore::Softmax, RouterScore::Sigmoid})
    test::check_gradients(
        [&](Context& c, const std::vector<Tensor>& in) {
          return ops::route(c, in[0], {},
                            {.top_k = 3, .score = score, .normalize = true, .scale = 1.5f, .newcomers = 1, .newcomer_weight = 0.3f})
              .weight;
        },
        {test::floats({0, 1, 2, 3, 3, -1, 0.5f, 1.5f}, {2, 4})}, 3e-3, 0.01f);
  test::expect_error(ErrorCode::Limit, {"[router]", "newcomers"}, [&] { weights(2, 2, 1); });
  test::expect_error(ErrorCode::Limit, {"[router]", "newcomer_weight"}, [&] { weights(2, 1, 1.5f); });
}

TEST_CASE("the bias falls where the load is above the mean, rises below it, and stays at it") {
  Tensor bias = test::floats({0, 1, -1, 0.5f}, {4});
  const std::vector<int64_t> loads = {10, 0, 5, 5};
  ops::update_correction_bias(bias, loads, 0.25f);
  CHECK(test::values(bias) == std::vector<float>{-0.25f, 1.25f, -1, 0.5f});
  test::expect_error(ErrorCode::Shape, {"[correction bias]"}, [&] { ops::update_correction_bias(bias, std::vector<int64_t>{1, 2}, 0.1f); });
  test::expect_error(ErrorCode::Limit, {"[correction bias]", "gamma"}, [&] { ops::update_correction_bias(bias, loads, -1); });
}

}  // namespace
}  // namespace tenon
