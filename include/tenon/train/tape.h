// Reverse-mode differentiation: what ops record, played backwards.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "tenon/core/context.h"

namespace tenon::train {

/// Watches parameters, remembers the ops between them and a loss, and gives their gradients. Gradients of one parameter from
/// several uses, and from several backward() calls, add up until clear().
class Tape final : public Recorder {
 public:
  /// A gradient is wanted for t. Errors: Error(Type) if it is not float32.
  void watch(const Tensor& t) {
    check(t.defined() && t.dtype() == DType::F32, ErrorCode::Type, "tape", "watch: expected a float32 tensor, got ", t.describe());
    wanted_.insert(t.id());
    leaves_.insert(t.id());
  }
  bool wants(const Tensor& t) const override { return t.defined() && wanted_.count(t.id()) > 0; }

  void record(std::string_view op, std::vector<Tensor> outputs, std::vector<Tensor> inputs, Backward backward) override {
    check(backward != nullptr, ErrorCode::Type, op, "gradient: this op has no backward, but an input wants a gradient");
    for (const Tensor& t : outputs) wanted_.insert(t.id());
    steps_.push_back({std::string(op), std::move(outputs), std::move(inputs), std::move(backward)});
  }

  /// Gradients of `loss` with respect to all that is watched; `dy` is the gradient of loss itself, 1 if undefined.
  /// The steps are forgotten afterwards, and with them the activations they hold.
  /// Errors: Error(Shape) if loss has several elements and no dy, or dy another shape; Error(Type) if nothing recorded leads to loss.
  void backward(Context& ctx, const Tensor& loss, Tensor dy = {}) {
    check(wants(loss), ErrorCode::Type, "tape", "backward: no recorded op computed this tensor from a watched one");
    if (!dy.defined()) {
      check(loss.numel() == 1, ErrorCode::Shape, "tape", "backward: expected a loss of one element, got ", loss.shape());
      dy = ctx.empty(loss.shape(), DType::F32);
      *dy.data<float>() = 1;
    }
    check(dy.shape() == loss.shape(), ErrorCode::Shape, "tape", "backward: dy: expected ", loss.shape(), ", got ", dy.shape());
    Recorder* const before = ctx.set_recorder(nullptr);
    try {
      accumulate(ctx, loss, dy);
      while (!steps_.empty()) {
        const Step step = std::move(steps_.back());
        steps_.pop_back();
        play(ctx, step);
      }
    } catch (...) {
      ctx.set_recorder(before);
      throw;
    }
    ctx.set_recorder(before);
  }

  /// The gradient of a watched tensor; undefined if the loss does not depend on it.
  Tensor grad(const Tensor& t) const {
    const auto it = grads_.find(t.id());
    return it == grads_.end() ? Tensor() : it->second.value;
  }
  size_t num_steps() const { return steps_.size(); }
  /// Forgets steps and gradients; what is watched stays watched.
  void clear() {
    steps_.clear();
    grads_.clear();
    wanted_ = leaves_;
  }

 private:
  struct Step {
    std::string op;
    std::vector<Tensor> outputs, inputs;
    Backward backward;
  };
  struct Gradient {
    Tensor value;
    bool own = false;  // the first gradient may share memory with another tensor's: it is added to only once it is our own
  };

  void play(Context& ctx, const Step& step) {
    std::vector<Tensor> dy;
    bool any = false;
    for (const Tensor& t : step.outputs) {
      const auto it = grads_.find(t.id());
      dy.push_back(it == grads_.end() ? Tensor() : it->second.value);
      any |= dy.back().defined();
      if (it != grads_.end() && !leaves_.count(t.id())) grads_.erase(it);
    }
    if (!any) return;
    const std::vector<Tensor> dx = step.backward(ctx, dy);
    check(dx.size() == step.inputs.size(), ErrorCode::Type, step.op, "backward gave ", dx.size(), " gradients for ", step.inputs.size(),
          " inputs");
    for (size_t i = 0; i < dx.size(); ++i) {
      if (!wants(step.inputs[i])) continue;
      check(dx[i].defined(), ErrorCode::Type, step.op, "backward gave no gradient for input ", i, ", which wants one");
      accumulate(ctx, step.inputs[i], dx[i]);
    }
  }

  void accumulate(Context& ctx, const Tensor& t, const Tensor& d) {
    check(d.dtype() == DType::F32 && d.numel() == t.numel(), ErrorCode::Shape, "tape", "a gradient of ", d.describe(), " for ", t.describe());
    Gradient& g = grads_[t.id()];
    if (!g.value.defined()) {
      g.value = d.shape() == t.shape() ? d : d.view(t.shape());
      return;
    }
    if (!g.own) {
      g.value = g.value.clone();
      g.own = true;
    }
    float* sum = g.value.data<float>();
    const float* more = d.data<float>();
    ctx.over_rows(t.numel(), 1, [&](int64_t begin, int64_t end) { ctx.kernels().axpby(sum + begin, more + begin, end - begin, 1, 1); });
  }

  std::vector<Step> steps_;
  std::unordered_set<uint64_t> wanted_, leaves_;
  std::unordered_map<uint64_t, Gradient> grads_;
};

}  // namespace tenon::train
