// Learning rate schedules: what the learning rate is multiplied by at each step. The formulas are those of Transformers.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "tenon/core/error.h"

namespace tenon::train {

enum class ScheduleKind : uint8_t {
  Constant,            // 1
  ConstantWithWarmup,  // 1 after the warm-up
  Linear,              // down to 0
  Cosine,              // cosine of `cycles` turns (half a one), down to 0
  CosineWithRestarts,  // `cycles` (one) half turns, each from 1 to 0
  CosineWithMinLr,     // as Cosine, down to `least`
  Polynomial,          // (1 - progress)^power, down to `least`
  InverseSqrt,         // 1 / sqrt(step / timescale), moved to begin with 1
  WarmupStableDecay,   // 1 until `decay_steps` before the end, then a cosine of `cycles` turns down to `least`
};

/// The kind of that name in Transformers' SchedulerType ("linear", "cosine_with_restarts", ...).
/// Errors: Error(Limit) naming those that there are.
inline ScheduleKind schedule_kind(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, ScheduleKind>, 9> kNames = {{{"constant", ScheduleKind::Constant},
                                                                                {"constant_with_warmup", ScheduleKind::ConstantWithWarmup},
                                                                                {"linear", ScheduleKind::Linear},
                                                                                {"cosine", ScheduleKind::Cosine},
                                                                                {"cosine_with_restarts", ScheduleKind::CosineWithRestarts},
                                                                                {"cosine_with_min_lr", ScheduleKind::CosineWithMinLr},
                                                                                {"polynomial", ScheduleKind::Polynomial},
                                                                                {"inverse_sqrt", ScheduleKind::InverseSqrt},
                                                                                {"warmup_stable_decay", ScheduleKind::WarmupStableDecay}}};
  std::string known;
  for (const auto& [known_name, kind] : kNames) {
    if (name == known_name) return kind;
    known += (known.empty() ? "" : ", ") + std::string(known_name);
  }
  fail(ErrorCode::Limit, "schedule", "expected one of ", known, ", got '", name, "'");
}

/// A factor on the learning rate for each step. All but Constant rise from 0 to 1 in the first `warmup_steps`.
/// Source: transformers.optimization.get_scheduler.
struct Schedule {
  ScheduleKind kind = ScheduleKind::Linear;
  int64_t steps = 0, warmup_steps = 0, decay_steps = 0;
  std::optional<double> cycles = {};
  double power = 1, least = 0;
  int64_t timescale = 0;  // 0: the warm-up, or 10000 without one

  /// Units: `step` counts from 0, the first step of the optimiser.
  double factor(int64_t step) const {
    if (kind == ScheduleKind::Constant) return 1;
    const double at = static_cast<double>(step), after = at - static_cast<double>(warmup_steps);
    if (after < 0) {
      const double rise = at / static_cast<double>(warmup_steps);
      return kind == ScheduleKind::WarmupStableDecay ? above_least(rise) : rise;
    }
    const double progress = after / static_cast<double>(std::max<int64_t>(1, steps - warmup_steps));
    switch (kind) {
      case ScheduleKind::Constant:
      case ScheduleKind::ConstantWithWarmup:
        return 1;
      case ScheduleKind::Linear:
        return std::max(0.0, 1 - progress);
      case ScheduleKind::Cosine:
        return cosine(2 * cycles.value_or(0.5) * progress);
      case ScheduleKind::CosineWithRestarts:
        return progress >= 1 ? 0 : cosine(std::fmod(cycles.value_or(1) * progress, 1.0));
      case ScheduleKind::CosineWithMinLr:
        return above_least(cosine(2 * cycles.value_or(0.5) * progress));
      case ScheduleKind::Polynomial:
        return above_least(std::pow(1 - std::min(progress, 1.0), power));
      case ScheduleKind::InverseSqrt: {
        const auto scale = static_cast<double>(timescale > 0 ? timescale : warmup_steps > 0 ? warmup_steps : 10000);
        return 1 / std::sqrt((after + scale) / scale);
      }
      case ScheduleKind::WarmupStableDecay: {
        const int64_t into_decay = step - (steps - decay_steps);
        if (into_decay < 0) return 1;
        if (into_decay >= decay_steps) return least;
        return above_least(cosine(2 * cycles.value_or(0.5) * static_cast<double>(into_decay) / static_cast<double>(decay_steps)));
      }
    }
    return 1;
  }

 private:
  double above_least(double factor) const { return std::max(0.0, factor * (1 - least) + least); }
  static double cosine(double half_turns) { return std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * half_turns))); }
};

/// Lowers a factor on the learning rate when a metric has not become better for more than `patience` steps.
/// Source: torch.optim.lr_scheduler.ReduceLROnPlateau (threshold_mode "rel").
class ReduceOnPlateau {
 public:
  /// Units: factor in (0, 1); a metric is better than the best by more than `threshold` of it.
  explicit ReduceOnPlateau(bool maximise = false, double factor = 0.1, int patience = 10, double threshold = 1e-4, int cooldown = 0)
      : maximise_(maximise), reduction_(factor), threshold_(threshold), patience_(patience), cooldown_(cooldown) {
    check(factor > 0 && factor < 1, ErrorCode::Limit, "schedule", "factor: expected above 0 and below 1, got ", factor);
    best_ = maximise ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
  }

  /// Takes the metric of one more evaluation; returns what the learning rate is multiplied by from now on.
  double update(double metric) {
    const bool better = maximise_ ? metric > best_ * (1 + threshold_) : metric < best_ * (1 - threshold_);
    if (better) best_ = metric;
    bad_ = better ? 0 : bad_ + 1;
    if (waiting_ > 0) {
      --waiting_;
      bad_ = 0;
    }
    if (bad_ > patience_) {
      factor_ *= reduction_;
      waiting_ = cooldown_;
      bad_ = 0;
    }
    return factor_;
  }
  double factor() const { return factor_; }
  double best() const { return best_; }

 private:
  bool maximise_;
  double reduction_, threshold_, best_ = 0, factor_ = 1;
  int patience_, cooldown_, bad_ = 0, waiting_ = 0;
};

}  // namespace tenon::train
