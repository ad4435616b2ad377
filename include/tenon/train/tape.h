// Reverse-mode differentiation: what ops record, played backwards.
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "tenon/core/context.h"
#include "tenon/core/error.h"

namespace tenon::train {

/// Watches parameters, remembers the ops between them and a loss, and gives their gradients. Not for concurrent use: each Context
/// that records has its own.
class Tape final : public Recorder {
 public:
  /// Asks for the gradient of a tensor: a parameter, or any input.
  /// Errors: Error(Type) if it is not float32.
  void watch(const Tensor& t) {
    check(t.defined() && t.dtype() == DType::F32, ErrorCode::Type, "tape", "watch: expected a float32 tensor, got ", t.describe());
    watched_.insert(t.id());
  }
  bool wants(const Tensor& t) const override {
    return t.defined() && (watched_.contains(t.id()) || computed_.contains(t.id()) || (outer_ && outer_->wants(t)));
  }
  /// From now on the first op that gives a NaN or an infinity, forward or backward, is an error that names it: Error(Limit). Slow.
  void check_finite() { checking_ = true; }

  void record(std::string_view op, std::vector<Tensor> outputs, std::vector<Tensor> inputs, Backward backward) override {
    check(backward != nullptr, ErrorCode::Type, op, "gradient: this op has no backward, but an input wants a gradient");
    if (checking_)
      for (const Tensor& t : outputs) expect_finite(t, op, "its result");
    // Ids and shapes suffice: holding the tensors would keep memory that no gradient needs.
    Step step{std::string(op), {}, {}, std::move(backward)};
    for (const Tensor& t : inputs) step.inputs.push_back(wants(t) ? Node{t.id(), t.shape()} : Node{});
    for (const Tensor& t : outputs) {
      step.outputs.push_back({t.id(), t.shape()});
      computed_.insert(t.id());
    }
    steps_.push_back(std::move(step));
  }

  std::vector<Tensor> checkpoint(Context& ctx, std::string_view name, std::vector<Tensor> inputs, Part part) override {
    if (outer_) return part(ctx, inputs);  // a part within a part is kept whole
    const Random random = ctx.random();
    std::vector<Tensor> outputs;
    {
      const Silence silence(ctx);
      outputs = part(ctx, inputs);
    }
    // An output that is an input, or a parameter, must not be named twice.
    for (Tensor& t : outputs)
      if (t.defined() && wants(t)) t = t.view(t.shape());
    record(name, outputs, inputs,
           [this, inputs, random, mode = ctx.training(), part = std::move(part)](Context& c, std::span<const Tensor> dy) {
             return replay(c, inputs, random, mode, part, dy);
           });
    return outputs;
  }

  /// Adds the gradients of `loss` to those of the watched tensors; `dy` is the gradient of loss itself, 1 if undefined.
  /// The steps are forgotten one by one, and with them the activations that they hold.
  /// Errors: Error(Shape) if loss has several elements and no dy, or dy another shape; Error(Type) if nothing recorded leads to loss.
  void backward(Context& ctx, const Tensor& loss, Tensor dy = {}) {
    if (!dy.defined()) {
      check(loss.numel() == 1, ErrorCode::Shape, "tape", "backward: expected a loss of one element, got ", loss.shape());
      dy = ctx.empty(loss.shape(), DType::F32);
      const float one = 1;
      cuda::copy(dy.address(), ctx.device(), &one, {}, sizeof(one));
    }
    backward(ctx, std::span(&loss, 1), std::span(&dy, 1));
  }

  /// The same for several tensors at once: the gradients of sum over i of outputs[i] * dy[i]. An undefined dy counts as 0.
  /// Errors: Error(Shape) if their numbers or shapes differ; Error(Type) if nothing recorded leads to an output with a dy.
  void backward(Context& ctx, std::span<const Tensor> outputs, std::span<const Tensor> dy) {
    check(outputs.size() == dy.size(), ErrorCode::Shape, "tape", "backward: expected ", outputs.size(), " gradients, got ", dy.size());
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!dy[i].defined()) continue;
      check(wants(outputs[i]), ErrorCode::Type, "tape", "backward: expected a tensor computed from a watched one, got ", outputs[i].describe());
      check(dy[i].shape() == outputs[i].shape(), ErrorCode::Shape, "tape", "backward: dy: expected ", outputs[i].shape(), ", got ", dy[i].shape());
    }
    const Silence silence(ctx);
    for (size_t i = 0; i < outputs.size(); ++i)
      if (dy[i].defined()) accumulate(ctx, "tape", {outputs[i].id(), outputs[i].shape()}, dy[i]);
    while (!steps_.empty()) {
      const Step step = std::move(steps_.back());
      steps_.pop_back();
      play(ctx, step);
    }
    computed_.clear();
    // Both inputs of a sum get the same gradient; whoever clips one in place must not change the other.
    for (auto& [id, gradient] : gradients_)
      if (gradient.storage().use_count() > 1) gradient = gradient.clone();
  }

  /// The gradient of a watched tensor; undefined if no loss depended on it. Several backward passes add up until clear().
  Tensor grad(const Tensor& t) const {
    const auto it = gradients_.find(t.id());
    return it == gradients_.end() ? Tensor() : it->second;
  }
  size_t num_steps() const { return steps_.size(); }
  /// Forgets steps and gradients; what is watched stays watched.
  void clear() {
    steps_.clear();
    computed_.clear();
    gradients_.clear();
  }

 private:
  struct Node {
    uint64_t id = 0;  // 0: no gradient wanted
    Shape shape;
  };
  struct Step {
    std::string op;
    std::vector<Node> outputs, inputs;
    Backward backward;
  };

  /// Gradients are not themselves recorded.
  struct Silence {
    explicit Silence(Context& c) : ctx(c), before(c.set_recorder(nullptr)) {}
    ~Silence() { ctx.set_recorder(before); }
    Silence(const Silence&) = delete;
    Silence& operator=(const Silence&) = delete;
    Context& ctx;
    Recorder* before;
  };

  /// Records on another tape, with the random numbers and the mode of the time of a checkpoint.
  struct Replay {
    Replay(Context& c, Tape& tape, const Random& random, const TrainingMode& mode) : ctx(c), random_before(c.random()), mode_before(c.training()) {
      ctx.random() = random;
      ctx.set_training(mode);
      ctx.set_recorder(&tape);
    }
    ~Replay() {
      ctx.set_recorder(nullptr);
      ctx.set_training(mode_before);
      ctx.random() = random_before;
    }
    Replay(const Replay&) = delete;
    Replay& operator=(const Replay&) = delete;
    Context& ctx;
    const Random random_before;
    const TrainingMode mode_before;
  };

  /// Gradients of a checkpoint: runs the part again on a tape of its own and hands what its parameters get to this one.
  std::vector<Tensor> replay(Context& ctx, const std::vector<Tensor>& inputs, const Random& random, const TrainingMode& mode, const Part& part,
                             std::span<const Tensor> dy) {
    Tape inner;
    inner.outer_ = this;
    inner.checking_ = checking_;
    {
      const Replay as_then(ctx, inner, random, mode);
      const std::vector<Tensor> outputs = part(ctx, inputs);
      std::vector<Tensor> seeds(dy.begin(), dy.end());
      for (size_t i = 0; i < seeds.size(); ++i)
        if (!inner.wants(outputs[i])) seeds[i] = Tensor();
      inner.backward(ctx, outputs, seeds);
    }
    std::vector<Tensor> dx;
    for (const Tensor& t : inputs) {
      const auto it = t.defined() ? inner.gradients_.find(t.id()) : inner.gradients_.end();
      // An input that did not count has no gradient, one given twice has it once.
      dx.push_back(it != inner.gradients_.end() ? it->second : wants(t) ? ctx.zeros(t.shape(), DType::F32) : Tensor());
      if (it != inner.gradients_.end()) inner.gradients_.erase(it);
    }
    for (auto& [id, gradient] : inner.gradients_) {
      const Node node{id, gradient.shape()};
      accumulate(ctx, "checkpoint", node, std::move(gradient));
    }
    return dx;
  }

  static void expect_finite(const Tensor& t, std::string_view op, std::string_view what) {
    if (!t.defined() || (t.dtype() != DType::F32 && t.dtype() != DType::BF16)) return;
    const Tensor f = t.to(Device{}).to(DType::F32);
    for (const float v : f.values<float>())
      check(std::isfinite(v), ErrorCode::Limit, op, what, " holds ", std::isnan(v) ? "a NaN" : "an infinity", ", ", t.describe());
  }

  void play(Context& ctx, const Step& step) {
    std::vector<Tensor> dy;
    bool reached = false;
    for (const Node& node : step.outputs) {
      const auto it = gradients_.find(node.id);
      dy.push_back(it == gradients_.end() ? Tensor() : it->second);
      reached |= dy.back().defined();
      if (it != gradients_.end() && !watched_.contains(node.id)) gradients_.erase(it);
    }
    if (!reached) return;
    std::vector<Tensor> dx = step.backward(ctx, dy);
    dy.clear();
    check(dx.size() == step.inputs.size(), ErrorCode::Type, step.op, "gradient: expected one for each of ", step.inputs.size(),
          " inputs, got ", dx.size());
    for (size_t i = 0; i < dx.size() && checking_; ++i) expect_finite(dx[i], step.op, "its gradient");
    for (size_t i = 0; i < dx.size(); ++i)
      if (step.inputs[i].id) accumulate(ctx, step.op, step.inputs[i], std::move(dx[i]));
  }

  void accumulate(Context& ctx, std::string_view op, const Node& node, Tensor d) {
    check(d.defined() && d.dtype() == DType::F32 && d.numel() == node.shape.numel(), ErrorCode::Shape, op, "gradient: expected float32 ",
          node.shape, ", got ", d.describe());
    check(d.device() == ctx.device(), ErrorCode::Device, op, "gradient: expected it on ", ctx.device(), ", got ", d.describe());
    if (d.shape() != node.shape) d = d.view(node.shape);
    Tensor& sum = gradients_[node.id];
    if (!sum.defined()) {
      sum = std::move(d);
      return;
    }
    // In place only in memory that nobody else holds.
    Tensor to = sum.storage().use_count() == 1 ? sum : ctx.empty(node.shape, DType::F32);
    float* out = to.ptr<float>();
    const float *a = std::as_const(sum).ptr<float>(), *b = std::as_const(d).ptr<float>();
    ctx.over_rows(d.numel(), 1,
                  [&](int64_t begin, int64_t end) { ctx.kernels().add(out + begin, a + begin, b + begin, end - begin, DType::F32); });
    sum = std::move(to);
  }

  std::vector<Step> steps_;
  std::unordered_set<uint64_t> watched_, computed_;
  std::unordered_map<uint64_t, Tensor> gradients_;
  const Tape* outer_ = nullptr;  // of a checkpoint's replay
  bool checking_ = false;
};

}  // namespace tenon::train
