// The training loop: batches, losses on a tape, clipped gradients, a schedule, and what is told of each step.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tenon/train/optim.h"
#include "tenon/train/schedule.h"
#include "tenon/train/sparse.h"

namespace tenon::train {

/// What is known after a step.
struct Progress {
  int64_t step = 0, steps = 0;  // made so far; in all
  double epoch = 0;             // passes over the data so far
  double loss = 0, learning_rate = 0, gradient_norm = 0, seconds = 0;
};

struct TrainOptions {
  int epochs = 3;
  int64_t batch_size = 32;
  double lr = 5e-5, weight_decay = 0.01;  // AdamW's; biases and norms do not decay
  ScheduleKind schedule = ScheduleKind::Linear;
  int64_t warmup_steps = 0;
  double max_norm = 1;               // of the gradients of a step
  bool dropout = true;               // as the model's configuration says
  bool bf16 = false;                 // multiply matrices in bfloat16; weights, sums and gradients stay float32
  bool checkpoint = false;           // keep the inputs of layers alone and compute the rest again: less memory, a third more time
  uint64_t seed = 42;                // of the order of the data, and of dropout
  SparseTraining* sparse = nullptr;  // keeps parameters of the optimiser sparse and takes its steps
  std::function<bool(const Progress&)> progress = {};  // called after each step; false ends the training
};

struct TrainResult {
  int64_t steps = 0;
  double loss = 0;  // mean over the last epoch
  double seconds = 0;
};

/// Indices of examples in batches: shuffled, then examples of like length put together within some batches' worth, so that little of a
/// batch is padding; the batches in random order. The last one made may be smaller.
inline std::vector<std::vector<size_t>> batches_by_length(std::span<const size_t> lengths, int64_t batch_size, Random& random) {
  constexpr size_t kBucket = 32;  // batches that are sorted together
  check(batch_size >= 1, ErrorCode::Limit, "train", "batch_size: expected at least 1, got ", batch_size);
  const auto shuffle = [&](auto& items) {
    for (size_t i = items.size(); i > 1; --i)
      std::swap(items[i - 1], items[(static_cast<uint64_t>(random.next()) << 32 | random.next()) % i]);
  };
  const size_t size = static_cast<size_t>(batch_size), bucket = size * kBucket;
  std::vector<size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), size_t{0});
  shuffle(order);
  std::vector<std::vector<size_t>> batches;
  for (size_t from = 0; from < order.size(); from += bucket) {
    const auto begin = order.begin() + static_cast<std::ptrdiff_t>(from);
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(order.size(), from + bucket));
    std::stable_sort(begin, end, [&](size_t a, size_t b) { return lengths[a] < lengths[b]; });
    for (auto at = begin; at < end;) {
      const auto next = at + std::min<std::ptrdiff_t>(end - at, static_cast<std::ptrdiff_t>(size));
      batches.emplace_back(at, next);
      at = next;
    }
  }
  shuffle(batches);
  return batches;
}

/// An optimiser of named parameters: those with at least two dimensions decay, biases and norms do not.
inline Optimizer optimizer_of(const std::vector<std::pair<std::string, Tensor>>& parameters, const AdamW& options) {
  std::vector<Tensor> decaying, others;
  for (const auto& [name, p] : parameters) (p.rank() >= 2 ? decaying : others).push_back(p);
  AdamW plain = options;
  plain.weight_decay = 0;
  Optimizer optimizer;
  if (!decaying.empty()) optimizer.add(options, std::move(decaying));
  if (!others.empty()) optimizer.add(plain, std::move(others));
  return optimizer;
}

/// Steps the optimiser's parameters on each batch of each epoch. batches_of(epoch) gives the batches of one epoch, as many in each;
/// loss_of(ctx, batch) computes the loss of one, a scalar, with a Context that records and is in the mode that the options ask for.
/// Errors: Error(Limit) naming the step at which the loss or the gradients became NaN or infinite (the parameters are then those before
/// it), or for options out of range; what the functions throw.
template <class BatchesOf, class LossOf>
TrainResult fit(Context& ctx, Optimizer& optimizer, const TrainOptions& options, BatchesOf&& batches_of, LossOf&& loss_of) {
  check(options.epochs >= 1, ErrorCode::Limit, "train", "epochs: expected at least 1, got ", options.epochs);
  check(options.max_norm > 0, ErrorCode::Limit, "train", "max_norm: expected above 0, got ", options.max_norm);
  struct Restore {
    Context& ctx;
    TrainingMode mode;
    ~Restore() {
      ctx.set_recorder(nullptr);
      ctx.set_training(mode);
    }
  } const restore{ctx, ctx.training()};
  ctx.set_training({.dropout = options.dropout, .matmul = options.bf16 ? DType::BF16 : DType::F32, .checkpoint = options.checkpoint});
  ctx.random() = Random(options.seed, 1);

  const auto start = std::chrono::steady_clock::now();
  TrainResult result;
  Schedule schedule{.kind = options.schedule, .warmup_steps = options.warmup_steps};
  for (int epoch = 0; epoch < options.epochs; ++epoch) {
    const auto batches = batches_of(epoch);
    check(!batches.empty(), ErrorCode::Limit, "train", "expected at least one batch, got none");
    schedule.steps = static_cast<int64_t>(batches.size()) * options.epochs;
    double sum = 0;
    for (size_t i = 0; i < batches.size(); ++i) {
      optimizer.scale_learning_rate(schedule.factor(result.steps));
      Tape tape;
      optimizer.watch(tape);
      ctx.set_recorder(&tape);
      const Tensor loss = loss_of(ctx, batches[i]);
      ctx.set_recorder(nullptr);
      const double value = loss.item();
      check(std::isfinite(value), ErrorCode::Limit, "train", "step ", result.steps + 1, ": the loss is ", value,
            "; a lower learning rate or a warm-up may help");
      tape.backward(ctx, loss);
      const double norm =
          options.sparse ? options.sparse->step(ctx, optimizer, tape, options.max_norm) : optimizer.step(ctx, tape, options.max_norm);
      check(std::isfinite(norm), ErrorCode::Limit, "train", "step ", result.steps + 1, ": the norm of the gradients is ", norm);
      sum += value;
      ++result.steps;
      result.loss = sum / static_cast<double>(i + 1);
      result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      const double passes = epoch + static_cast<double>(i + 1) / static_cast<double>(batches.size());
      if (options.progress &&
          !options.progress({result.steps, schedule.steps, passes, value, optimizer.learning_rate(), norm, result.seconds}))
        return result;
    }
  }
  return result;
}

}  // namespace tenon::train
