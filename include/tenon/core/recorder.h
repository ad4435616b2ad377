// What ops tell about themselves when gradients are wanted. The tape (train/tape.h) implements it; inference has none.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "tenon/core/tensor.h"

namespace tenon {

class Context;

/// Maps the gradients of an op's outputs to those of its inputs. An output nobody used has an undefined gradient; an input
/// whose gradient is not wanted may be left undefined. Runs with a Context that records nothing.
using Backward = std::function<std::vector<Tensor>(Context&, std::span<const Tensor> dy)>;

/// A part of a model as a function of the tensors that reach it from outside, without its parameters.
using Part = std::function<std::vector<Tensor>(Context&, std::span<const Tensor> inputs)>;

class Recorder {
 public:
  virtual ~Recorder() = default;
  /// True if a gradient is wanted for this tensor: a watched parameter, or something computed from one.
  virtual bool wants(const Tensor& t) const = 0;
  /// Notes that `outputs` were computed from `inputs`, in the order in which `backward` reads and returns gradients.
  virtual void record(std::string_view op, std::vector<Tensor> outputs, std::vector<Tensor> inputs, Backward backward) = 0;
  /// Runs `part` and keeps of it the inputs alone; the gradient runs it again, with the same random numbers. `part` may be called after
  /// this returns: it must own what it captures, but for parameters.
  virtual std::vector<Tensor> checkpoint(Context& ctx, std::string_view name, std::vector<Tensor> inputs, Part part) {
    (void)name;
    return part(ctx, inputs);
  }
};

}  // namespace tenon
