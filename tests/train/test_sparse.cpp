// Sparse training: densities, moves of connections by hand, masks that hold through every optimiser, resuming, errors.
#include <algorithm>

#include "ops/op_test.h"
#include "tenon/ops/linear.h"
#include "tenon/ops/loss.h"
#include "tenon/train/trainer.h"

namespace tenon {
namespace {

using namespace train;

int64_t ones(const Tensor& mask) {
  const auto bits = mask.values<uint8_t>();
  return std::count(bits.begin(), bits.end(), uint8_t{1});
}
std::vector<int> bits(const Tensor& mask) {
  const auto b = mask.values<uint8_t>();
  return {b.begin(), b.end()};
}
Tensor mask_of(const std::vector<uint8_t>& b) { return Tensor::from(b, {static_cast<int64_t>(b.size())}); }

TEST_CASE("densities: uniform, Erdos-Renyi-kernel, and layers that come out dense") {
  const std::vector<Shape> two = {{100, 100}, {10, 1000}};
  CHECK(layer_densities(two, 0.125, SparseDistribution::Uniform) == std::vector<double>{0.125, 0.125});
  const std::vector<double> erk = layer_densities(two, 0.125, SparseDistribution::Erk);
  CHECK(erk[0] * 10000 + erk[1] * 10000 == doctest::Approx(0.125 * 20000));
  CHECK(erk[1] / erk[0] == doctest::Approx(1010.0 / 200));
  // A third layer of 2 x 2 has (2 + 2) / 4 = 1 and is capped; the others share the rest in the same proportion.
  const std::vector<double> capped = layer_densities(std::vector<Shape>{{100, 100}, {10, 1000}, {2, 2}}, 0.125, SparseDistribution::Erk);
  CHECK(capped[2] == 1);
  CHECK(capped[1] / capped[0] == doctest::Approx(1010.0 / 200));
  CHECK((capped[0] + capped[1]) * 10000 + 4 == doctest::Approx(0.125 * 20004));
  CHECK(layer_densities(two, 1, SparseDistribution::Erk) == std::vector<double>{1, 1});
}

TEST_CASE("random masks have the ones that were asked for, and follow from the seed") {
  const Tensor a = random_mask({40, 50}, 0.125, 3, 0);
  CHECK(ones(a) == 250);
  CHECK(bits(a) == bits(random_mask({40, 50}, 0.125, 3, 0)));
  CHECK(bits(a) != bits(random_mask({40, 50}, 0.125, 4, 0)));
  CHECK(bits(a) != bits(random_mask({40, 50}, 0.125, 3, 1)));
  CHECK(ones(random_mask({40, 50}, 1, 3, 0)) == 2000);
  CHECK(ones(random_mask({3}, 0.01, 3, 0)) == 1);
}

TEST_CASE("when connections move, and how many") {
  const SparseSettings s{.drop_fraction = 0.4, .begin = 10, .end = 50, .every = 10};
  std::vector<int64_t> steps;
  for (int64_t i = 1; i < 100; ++i)
    if (updates_at(s, i)) steps.push_back(i);
  CHECK(steps == std::vector<int64_t>{20, 30, 40, 50});
  CHECK(drop_fraction_at(s, 10) == doctest::Approx(0.4));
  CHECK(drop_fraction_at(s, 30) == doctest::Approx(0.2));
  CHECK(drop_fraction_at(s, 50) == doctest::Approx(0));
  CHECK(pruned_density_at(s, 0.2, 10) == 1);
  CHECK(pruned_density_at(s, 0.2, 30) == doctest::Approx(0.2 + 0.8 * 0.125));
  CHECK(pruned_density_at(s, 0.2, 50) == doctest::Approx(0.2));
  CHECK_FALSE(updates_at({.method = SparseMethod::Static, .end = 50}, 100));
}

TEST_CASE("RigL drops the smallest weights and grows where the gradient is largest") {
  const Tensor mask = mask_of({1, 1, 1, 1, 0, 0, 0}), weight = test::floats({0.5f, -0.1f, 0.2f, -0.9f, 0, 0, 0}, {7});
  const Tensor gradient = test::floats({9, 0.3f, 2, 9, 1, -3, 0.1f}, {7});
  const Tensor m = test::floats({1, 2, 3, 4, 5, 6, 7}, {7}), other = test::floats({8}, {1});
  const std::vector<Tensor> moments = {m, other};
  // Two of four go: 1 and 2. Of these and 4, 5, 6 the largest gradients are 5 and 2: 2 is back at once and stays as it was.
  const SparseMoves moves = move_connections(mask, weight, gradient, moments, SparseMethod::RigL, 0.5, 0, 0, 100);
  CHECK(bits(mask) == std::vector<int>{1, 0, 1, 1, 0, 1, 0});
  CHECK(test::values(weight) == std::vector<float>{0.5f, 0, 0.2f, -0.9f, 0, 0, 0});
  CHECK(test::values(m) == std::vector<float>{1, 0, 3, 4, 5, 0, 7});
  CHECK(test::values(other) == std::vector<float>{8});
  CHECK(moves.dropped == 1);
  CHECK(moves.grown == 1);
}

TEST_CASE("SET grows at random, as many as went, and as the seed says") {
  const auto moved = [](uint64_t seed) {
    Tensor mask = random_mask({30, 40}, 0.25, 1, 0), weight = test::normal({30, 40}, 2);
    Context ctx;
    apply_mask(ctx, weight, mask);
    const std::vector<float> before = test::values(weight);
    const std::vector<int> was = bits(mask);
    move_connections(mask, weight, {}, {}, SparseMethod::Set, 0.3, seed, 5, 7);
    CHECK(ones(mask) == 300);
    const std::vector<float> after = test::values(weight);
    float largest_dropped = 0, smallest_kept = 1e9f;
    for (size_t i = 0; i < before.size(); ++i) {
      if (!was[i]) CHECK(after[i] == 0);
      if (was[i] && !bits(mask)[i]) largest_dropped = std::max(largest_dropped, std::fabs(before[i]));
      if (was[i] && bits(mask)[i] && std::fabs(before[i]) > 0.4f) smallest_kept = std::min(smallest_kept, std::fabs(after[i]));
    }
    CHECK(largest_dropped < 0.5f);  // the smallest third of normal numbers
    CHECK(smallest_kept > 0.4f);
    return bits(mask);
  };
  CHECK(moved(1) == moved(1));
  CHECK(moved(1) != moved(2));
}

TEST_CASE("pruning by magnitude leaves the largest") {
  const Tensor mask = mask_of({1, 0, 1, 1, 1}), weight = test::floats({0.5f, 0, -0.7f, 0.1f, -0.2f}, {5});
  prune_smallest(mask, weight, {}, 2, 0, 0, 1);
  CHECK(bits(mask) == std::vector<int>{1, 0, 1, 0, 0});
  CHECK(test::values(weight) == std::vector<float>{0.5f, 0, -0.7f, 0, 0});
}

/// A layer that has to find the sparse one that made its targets.
struct Task {
  Tensor truth = Tensor::zeros({8, 40}, DType::F32), w = test::normal({8, 40}, 11, 0.1f), b = Tensor::zeros({8}, DType::F32);
  uint64_t seed = 100;
  Task() {
    Context ctx;
    truth = test::normal({8, 40}, 12);
    apply_mask(ctx, truth, random_mask({8, 40}, 0.125, 9, 9));
  }
  double step(Context& ctx, Optimizer& optimizer, SparseTraining& sparse) {
    const Tensor x = test::normal({32, 40}, ++seed), y = ops::linear(ctx, x, truth, Tensor());
    Tape tape;
    optimizer.watch(tape);
    ctx.set_recorder(&tape);
    const Tensor loss = ops::mse_loss(ctx, ops::linear(ctx, x, w, b), y);
    ctx.set_recorder(nullptr);
    const double value = loss.item();
    tape.backward(ctx, loss);
    sparse.step(ctx, optimizer, tape, 10);
    return value;
  }
};

SparseSettings settings(SparseMethod method) {
  return {.method = method, .density = 0.2, .drop_fraction = 0.5, .end = 160, .every = 10, .seed = 4};
}

double train(SparseMethod method, const Algorithm& algorithm, int steps = 200) {
  Context ctx(2);
  Task task;
  Optimizer optimizer(algorithm, {task.w, task.b});
  SparseTraining sparse(ctx, settings(method), {{"w", task.w}});
  double loss = 0;
  for (int i = 0; i < steps; ++i) {
    loss = task.step(ctx, optimizer, sparse);
    const std::vector<float> w = test::values(task.w);
    const std::vector<int> m = bits(sparse.masks()[0]);
    for (size_t j = 0; j < w.size(); ++j)
      if (!m[j]) REQUIRE(w[j] == 0);
    if (method != SparseMethod::Magnitude) REQUIRE(ones(sparse.masks()[0]) == 64);
  }
  CHECK(sparse.density() == doctest::Approx(0.2));
  return loss;
}

TEST_CASE("masks hold through every optimiser") {
  for (const SparseMethod method : {SparseMethod::Static, SparseMethod::Set, SparseMethod::RigL, SparseMethod::Magnitude})
    for (const Algorithm& algorithm :
         std::vector<Algorithm>{AdamW{.weight_decay = 0.1}, Adafactor{}, Lion{}, Sgd{.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01}})
      train(method, algorithm);
}

TEST_CASE("RigL finds the connections that static masks lack") {
  const AdamW adam{.lr = 0.02, .weight_decay = 0};
  const double fixed = train(SparseMethod::Static, adam, 400), rigl = train(SparseMethod::RigL, adam, 400),
               set = train(SparseMethod::Set, adam, 400), pruned = train(SparseMethod::Magnitude, adam, 400);
  CHECK(rigl < 0.2 * fixed);
  CHECK(set < 0.8 * fixed);
  CHECK(pruned < 0.2 * fixed);
}

TEST_CASE("the training loop takes its steps sparsely") {
  Context ctx;
  Task task;
  Optimizer optimizer(AdamW{.lr = 0.02, .weight_decay = 0}, {task.w, task.b});
  SparseTraining sparse(ctx, settings(SparseMethod::RigL), {{"w", task.w}});
  const std::vector<int> before = bits(sparse.masks()[0]);
  const auto batches_of = [](int) { return std::vector<uint64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}; };
  const auto loss_of = [&](Context& c, uint64_t seed) {
    const Tensor x = test::normal({32, 40}, seed), y = ops::linear(c, x, task.truth, Tensor());
    return ops::mse_loss(c, ops::linear(c, x, task.w, task.b), y);
  };
  const TrainResult result = fit(ctx, optimizer, {.epochs = 4, .sparse = &sparse}, batches_of, loss_of);
  CHECK(result.steps == 40);
  CHECK(sparse.steps() == 40);
  CHECK(bits(sparse.masks()[0]) != before);
  const std::vector<float> w = test::values(task.w);
  for (size_t i = 0; i < w.size(); ++i)
    if (!bits(sparse.masks()[0])[i]) REQUIRE(w[i] == 0);
}

TEST_CASE("a run that is resumed gives the same bits") {
  for (const SparseMethod method : {SparseMethod::Set, SparseMethod::RigL, SparseMethod::Magnitude}) {
    Context ctx;
    Task whole, half;
    Optimizer a(AdamW{.lr = 0.01}, {whole.w, whole.b}), b(AdamW{.lr = 0.01}, {half.w, half.b});
    SparseTraining s(ctx, settings(method), {{"w", whole.w}}), first(ctx, settings(method), {{"w", half.w}});
    for (int i = 0; i < 90; ++i) whole.step(ctx, a, s);
    for (int i = 0; i < 45; ++i) half.step(ctx, b, first);
    Task rest;
    rest.w = half.w.clone(), rest.b = half.b.clone(), rest.seed = half.seed;
    SparseSettings other = settings(method);
    Optimizer c(AdamW{.lr = 0.01}, {rest.w, rest.b});
    c.load_state(b.state());
    const std::vector<float> kept = test::values(rest.w);
    SparseTraining second(ctx, other, {{"w", rest.w}});
    std::copy(kept.begin(), kept.end(), rest.w.data<float>());  // the masks of the start have been applied
    second.load_state(ctx, first.state());
    CHECK(test::values(rest.w) == kept);
    for (int i = 0; i < 45; ++i) rest.step(ctx, c, second);
    CHECK(second.steps() == 90);
    CHECK(test::values(rest.w) == test::values(whole.w));
    CHECK(bits(second.masks()[0]) == bits(s.masks()[0]));
  }
}

TEST_CASE("errors of sparse training") {
  Context ctx;
  const Tensor w = test::normal({4, 5}, 1);
  const auto refused = [&](const SparseSettings& s, const std::vector<std::string>& parts) {
    test::expect_error(ErrorCode::Limit, parts, [&] { SparseTraining(ctx, s, {{"w", w}}); });
  };
  refused({.density = 0, .end = 9}, {"density", "above 0"});
  refused({.density = 1.5, .end = 9}, {"density", "1.5"});
  refused({.density = NAN, .end = 9}, {"density"});
  refused({.drop_fraction = 2, .end = 9}, {"drop_fraction", "2"});
  refused({.begin = 5, .end = 5}, {"begin 5", "end 5"});
  refused({.end = 5, .every = 0}, {"every"});
  test::expect_error(ErrorCode::Limit, {"at least one"}, [&] { SparseTraining(ctx, {.end = 9}, {}); });
  test::expect_error(ErrorCode::Type, {"w", "float32"}, [&] { SparseTraining(ctx, {.end = 9}, {{"w", w.to(DType::BF16)}}); });
  test::expect_error(ErrorCode::Limit, {"rigl", "snip"}, [&] { parse_sparse_method("snip"); });
  test::expect_error(ErrorCode::Limit, {"erk"}, [&] { parse_sparse_distribution("x"); });
  const Tensor mask = random_mask({4, 5}, 0.5, 0, 0), eight = Tensor::zeros({4, 5}, DType::U8);
  test::expect_error(ErrorCode::Shape, {"gradient", "(4, 5)", "(5, 4)"}, [&] {
    move_connections(mask, w, test::normal({5, 4}, 1), {}, SparseMethod::RigL, 0.3, 0, 0, 1);
  });
  test::expect_error(ErrorCode::Type, {"moments", "uint8"},
                     [&] { move_connections(mask, w, w, std::vector<Tensor>{eight}, SparseMethod::RigL, 0.3, 0, 0, 1); });
  SparseTraining sparse(ctx, {.end = 9, .seed = 1}, {{"w", w}});
  const std::vector<int> before = bits(sparse.masks()[0]);
  auto state = sparse.state();
  state[0].second = random_mask({5, 4}, 0.5, 0, 0);
  test::expect_error(ErrorCode::Format, {"w.mask", "(4, 5)", "(5, 4)"}, [&] { sparse.load_state(ctx, state); });
  state[0].second = Tensor::from(std::vector<uint8_t>(20, 7), {4, 5});
  test::expect_error(ErrorCode::Format, {"w.mask", "zeros and ones"}, [&] { sparse.load_state(ctx, state); });
  state.erase(state.begin());
  test::expect_error(ErrorCode::Format, {"w.mask", "missing"}, [&] { sparse.load_state(ctx, state); });
  CHECK(bits(sparse.masks()[0]) == before);
}

}  // namespace
}  // namespace tenon
