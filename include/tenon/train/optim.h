// Optimisers: their formulas, what they remember of each parameter, and groups of parameters with settings of their own.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tenon/train/tape.h"

namespace tenon::train {

/// p -= lr * (weight_decay * p + mhat / (sqrt(vhat) + eps)); m and v are moving averages of g and g^2, mhat and vhat the same divided by
/// 1 - beta^step, which makes up for their start at 0.
/// Source: torch.optim.AdamW; with decoupled = false torch.optim.Adam. State: exp_avg, exp_avg_sq (max_exp_avg_sq).
struct AdamW {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01;
  bool decoupled = true;  // false: weight_decay * p is added to the gradient instead
  bool amsgrad = false;   // vhat never falls
  bool maximize = false;
};

/// AdamW that keeps m and v in 8 bits: 2 bytes a parameter instead of 8. Every block of 256 is divided by its largest magnitude, and
/// each element rounded to the nearest of 256 numbers that lie densest towards 0. Parameters of fewer than `smallest` elements keep
/// float32. Source: Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization" (bitsandbytes.optim.AdamW8bit decays after its
/// step, this before it, as AdamW). State: state1, state2 and, in 8 bits, absmax1, absmax2.
struct AdamW8bit {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01;
  int64_t smallest = 4096;
};

/// Adam with the second moments of a matrix as the outer product of its row and column means, and a step that is relative to the
/// parameter's own size. Without lr the step is min(0.01, 1 / sqrt(step)), with warmup_init min(1e-6 * step, 1 / sqrt(step)).
/// Source: transformers.optimization.Adafactor. torch.optim.Adafactor is another: it always takes lr (times min(1, 1 / sqrt(step)) there),
/// scales the parameter likewise and decays before its step. State: exp_avg_sq_row, exp_avg_sq_col or exp_avg_sq; exp_avg with beta1.
struct Adafactor {
  std::optional<double> lr;
  double eps1 = 1e-30, eps2 = 1e-3;  // added to g^2; least size of a parameter
  double clip_threshold = 1, decay_rate = -0.8;
  std::optional<double> beta1;
  double weight_decay = 0;
  bool scale_parameter = true, relative_step = true, warmup_init = false;
};

/// p -= lr * (sign(b1 m + (1-b1) g) + weight_decay * p), then m = b2 m + (1-b2) g.
/// Source: Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms". State: exp_avg.
struct Lion {
  double lr = 1e-4, beta1 = 0.9, beta2 = 0.99, weight_decay = 0;
};

/// g += weight_decay * p; m = momentum * m + (1 - dampening) * g, at first g; p -= lr * (nesterov ? g + momentum * m : m).
/// Source: torch.optim.SGD. State: momentum_buffer, with momentum.
struct Sgd {
  double lr = 1e-3, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false, maximize = false;
};

using Algorithm = std::variant<AdamW, AdamW8bit, Adafactor, Lion, Sgd>;

/// Errors: Error(Limit) naming the setting that is out of its range.
void check_settings(const Algorithm& algorithm);

/// What an optimiser remembers of one parameter.
struct ParameterState {
  int64_t step = 0;  // steps made so far
  std::vector<Tensor> tensors;
};
/// The names of a parameter's state tensors, in order, as PyTorch's state_dict() has them.
std::vector<std::string> state_names(const Algorithm& algorithm, const Tensor& parameter);
/// Zeroed tensors for them. Errors: Error(Memory).
std::vector<Tensor> new_state(const Algorithm& algorithm, const Tensor& parameter);

/// A parameter and its gradient in one step of an optimiser.
struct Update {
  Tensor parameter, gradient;
  ParameterState* state = nullptr;
};
/// One step of the algorithm for each of the updates, from grad_scale times the gradients. The same bits for any number of threads.
/// Errors: Error(Type) for parameters or gradients that are not float32, or read-only; Error(Shape) for gradients or states that do not
/// fit.
void step(Context& ctx, const Algorithm& algorithm, std::span<const Update> updates, double grad_scale = 1);

/// The norm of all gradients as one vector, sqrt(sum of g^2); undefined ones count as 0. One pass over them.
/// Errors: Error(Type) if one is not float32.
double gradient_norm(Context& ctx, std::span<const Tensor> gradients);
/// What gradients of this norm are multiplied by so that it becomes at most max_norm: min(1, max_norm / (norm + 1e-6)).
double clip_factor(double norm, double max_norm);
/// Multiplies the gradients by clip_factor() of their norm, in place and only if it is below 1; returns the norm before.
/// Errors: Error(Limit) if max_norm is negative; Error(Type).
/// Source: torch.nn.utils.clip_grad_norm_.
double clip_gradient_norm(Context& ctx, std::span<Tensor> gradients, double max_norm);
/// Moves every element of the gradients into [-limit, limit], in place. Errors: Error(Limit) if limit is negative; Error(Type).
/// Source: torch.nn.utils.clip_grad_value_.
void clip_gradient_value(Context& ctx, std::span<Tensor> gradients, double limit);

double learning_rate(const Algorithm& algorithm);
void set_learning_rate(Algorithm& algorithm, double lr);

/// Parameters that are stepped alike.
struct ParameterGroup {
  Algorithm algorithm;
  std::vector<Tensor> parameters;
  double initial_lr = 0;  // what a schedule multiplies
  std::vector<ParameterState> states = {};
};

/// Groups of parameters with their states.
class Optimizer {
 public:
  Optimizer() = default;
  Optimizer(Algorithm algorithm, std::vector<Tensor> parameters) { add(std::move(algorithm), std::move(parameters)); }

  /// Another group. Errors: Error(Limit) for a setting out of range; Error(Type) for a parameter that is not writable float32, or is here
  /// already.
  void add(Algorithm algorithm, std::vector<Tensor> parameters);
  std::vector<ParameterGroup>& groups() { return groups_; }
  const std::vector<ParameterGroup>& groups() const { return groups_; }

  /// Asks a tape for the gradients of all parameters.
  void watch(Tape& tape) const;
  /// One step from the tape's gradients, clipped to max_norm as they are read; returns their norm (0 if max_norm is infinite: it is not
  /// computed then). Parameters without a gradient stay as they are. If the norm is not finite nothing is changed.
  double step(Context& ctx, const Tape& tape, double max_norm = std::numeric_limits<double>::infinity());

  /// Every group's learning rate becomes `factor` times its initial one: what a schedule gives.
  void scale_learning_rate(double factor);
  double learning_rate() const { return groups_.empty() ? 0 : train::learning_rate(groups_[0].algorithm); }

  /// All states by name, "3.exp_avg" of the fourth parameter, "3.step" as int64: to be saved and loaded again.
  std::vector<std::pair<std::string, Tensor>> state() const;
  /// Errors: Error(Format) naming what is missing or does not fit; the states are then as before.
  void load_state(std::span<const std::pair<std::string, Tensor>> state);

 private:
  std::vector<ParameterGroup> groups_;
};

}  // namespace tenon::train
