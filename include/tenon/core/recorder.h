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

class Recorder {
 public:
  virtual ~Recorder() = default;
  /// True if a gradient is wanted for this tensor: a watched parameter, or something computed from one.
  virtual bool wants(const Tensor& t) const = 0;
  /// Notes that `outputs` were computed from `inputs`, in the order in which `backward` reads and returns gradients.
  virtual void record(std::string_view op, std::vector<Tensor> outputs, std::vector<Tensor> inputs, Backward backward) = 0;
};

}  // namespace tenon
