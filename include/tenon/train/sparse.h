// Sparse training: masks over weights that stay sparse while they are learnt, and the moves of their connections.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenon/train/optim.h"

namespace tenon::train {

/// How the connections of a sparse layer change.
enum class SparseMethod : uint8_t {
  Static,     // never
  Set,        // the smallest go, as many come at random (Mocanu et al. 2018)
  RigL,       // the smallest go, as many come where the dense gradient is largest (Evci et al. 2020)
  Magnitude,  // the smallest go, none comes: dense at first, density falls to its goal by a cubic (Zhu and Gupta 2017)
};

/// How a density is shared out among layers.
enum class SparseDistribution : uint8_t {
  Uniform,  // all alike. The papers keep the first layer dense: leave it out
  Erk,      // Erdos-Renyi-kernel: a layer's density goes with sum(dims) / product(dims), up to 1
};

struct SparseSettings {
  SparseMethod method = SparseMethod::RigL;
  SparseDistribution distribution = SparseDistribution::Erk;
  double density = 0.125;      // of all sparse layers together, in (0, 1]
  double drop_fraction = 0.3;  // of a layer's connections, at the first update; falls to 0 at the last by a cosine; in [0, 1]
  int64_t begin = 0, end = 0;  // updates happen at steps begin + i * every, 0 < i, up to end; steps count from 1
  int64_t every = 100;
  uint64_t seed = 0;
};

/// Errors: Error(Limit) naming the setting that is out of its range.
void check_settings(const SparseSettings& settings);
/// Errors: Error(Limit) listing what is known.
SparseMethod parse_sparse_method(std::string_view name);              // "static", "set", "rigl", "magnitude"
SparseDistribution parse_sparse_distribution(std::string_view name);  // "uniform", "erk"

/// The density of each of several layers, so that together they have `density`.
/// Errors: Error(Limit) for a density outside (0, 1]; Error(Shape) for an empty layer.
/// Source: google-research/rigl, get_mask_random and sparsities_erdos_renyi.
std::vector<double> layer_densities(std::span<const Shape> shapes, double density, SparseDistribution distribution);

/// A mask of round(density * n) ones at random, uint8; at least one.
Tensor random_mask(const Shape& shape, double density, uint64_t seed, uint64_t stream);

/// Whether connections change at this step (from 1).
bool updates_at(const SparseSettings& settings, int64_t step);
/// The share of connections that move at a step: drop_fraction * (1 + cos(pi * (step - begin) / (end - begin))) / 2.
double drop_fraction_at(const SparseSettings& settings, int64_t step);
/// Magnitude: the density of a layer at a step, goal + (1 - goal) * (1 - (step - begin) / (end - begin))^3, from 1 to its goal.
double pruned_density_at(const SparseSettings& settings, double goal, int64_t step);

/// t = 0 where the mask is 0. Shapes: t f32, mask uint8, alike. Errors: Error(Shape), Error(Type).
void apply_mask(Context& ctx, const Tensor& t, const Tensor& mask);

/// Connections that an update took and gave.
struct SparseMoves {
  int64_t dropped = 0, grown = 0;
};

/// One update of a layer, in place: floor(fraction * ones) of the smallest |weight| go; as many come, with RigL the largest |gradient|
/// (of the dense layer), with SET at random, among all that are not kept, so that one may come back at once and then stays as it was.
/// What has come starts at 0, and the moments of all that went or came are 0. Ties and SET's choices follow from seed, stream and
/// step. Moments are the optimiser's state tensors; those of another size than the weight are left alone.
/// Shapes: mask uint8, weight, gradient and moments f32, alike; gradient is read with RigL alone.
/// Errors: Error(Shape), Error(Type), also for moments in 8 bits.
/// Source: google-research/rigl, sparse_optimizers_base.py.
SparseMoves move_connections(const Tensor& mask, const Tensor& weight, const Tensor& gradient, std::span<const Tensor> moments,
                             SparseMethod method, double fraction, uint64_t seed, uint64_t stream, int64_t step);
/// Leaves the `ones` largest |weight| of those in the mask. Errors: as move_connections.
SparseMoves prune_smallest(const Tensor& mask, const Tensor& weight, std::span<const Tensor> moments, int64_t ones, uint64_t seed,
                           uint64_t stream, int64_t step);

/// What the settings' method does to a layer at a step for which updates_at() is true; `goal` is the density of the layer. RigL without a
/// gradient does nothing. Shapes and errors: as move_connections.
SparseMoves update_connections(const SparseSettings& settings, double goal, const Tensor& mask, const Tensor& weight,
                               const Tensor& gradient, std::span<const Tensor> moments, uint64_t stream, int64_t step);

/// The masks of some parameters and their course. step() stands for Optimizer::step.
class SparseTraining {
 public:
  /// Draws the masks (Magnitude: full ones) and applies them. Errors: Error(Limit) for settings, and if there is no layer;
  /// Error(Type) for parameters that are not writable float32.
  SparseTraining(Context& ctx, SparseSettings settings, std::vector<std::pair<std::string, Tensor>> layers);

  /// Moves connections where the settings say so, masks the gradients of the tape, steps the optimiser and keeps what is masked at 0.
  /// Returns the norm of the gradients (see Optimizer::step). Errors: as Optimizer::step and move_connections.
  double step(Context& ctx, Optimizer& optimizer, Tape& tape, double max_norm = std::numeric_limits<double>::infinity());

  int64_t steps() const { return steps_; }
  const std::vector<Tensor>& masks() const { return masks_; }
  const SparseSettings& settings() const { return settings_; }
  /// Ones among all elements of the masks.
  double density() const;
  SparseMoves moves() const { return moves_; }  // of all updates so far

  /// The masks by name, "encoder.layer.0.weight.mask", and "step" as int64: to be saved and loaded again.
  std::vector<std::pair<std::string, Tensor>> state() const;
  /// Errors: Error(Format) naming what is missing or of another shape; nothing is changed then.
  void load_state(Context& ctx, std::span<const std::pair<std::string, Tensor>> state);

 private:
  void update(Optimizer& optimizer, const Tape& tape);

  SparseSettings settings_;
  std::vector<std::pair<std::string, Tensor>> layers_;
  std::vector<Tensor> masks_;
  std::vector<double> densities_;
  int64_t steps_ = 0;
  SparseMoves moves_;
};

}  // namespace tenon::train
