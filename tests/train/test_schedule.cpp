// Schedules against the factors that Transformers computes for a warm-up of 3 and 10 steps.
#include <doctest/doctest.h>

#include <vector>

#include "ops/op_test.h"
#include "tenon/train/schedule.h"

namespace tenon {
namespace {

using train::ReduceOnPlateau;
using train::Schedule;
using train::ScheduleKind;

TEST_CASE("factors equal those of Transformers") {
  struct Case {
    Schedule schedule;
    std::vector<double> after;  // from step 3 on
  };
  const std::vector<Case> cases = {
      {{.kind = ScheduleKind::Linear}, {1, 0.857143, 0.714286, 0.571429, 0.428571, 0.285714, 0.142857, 0, 0}},
      {{.kind = ScheduleKind::ConstantWithWarmup}, {1, 1, 1, 1, 1, 1, 1, 1, 1}},
      {{.kind = ScheduleKind::Cosine}, {1, 0.950484, 0.811745, 0.61126, 0.38874, 0.188255, 0.0495156, 0, 0.0495156}},
      {{.kind = ScheduleKind::Cosine, .cycles = 1}, {1, 0.811745, 0.38874, 0.0495156, 0.0495156, 0.38874, 0.811745, 1, 0.811745}},
      {{.kind = ScheduleKind::CosineWithRestarts, .cycles = 2}, {1, 0.811745, 0.38874, 0.0495156, 0.950484, 0.61126, 0.188255, 0, 0}},
      {{.kind = ScheduleKind::CosineWithMinLr, .least = 0.2},
       {1, 0.960388, 0.849396, 0.689008, 0.510992, 0.350604, 0.239612, 0.2, 0.239612}},
      {{.kind = ScheduleKind::Polynomial, .power = 2, .least = 0.1},
       {1, 0.761224, 0.559184, 0.393878, 0.265306, 0.173469, 0.118367, 0.1, 0.1}},
      {{.kind = ScheduleKind::InverseSqrt}, {1, 0.866025, 0.774597, 0.707107, 0.654654, 0.612372, 0.57735, 0.547723, 0.522233}},
      {{.kind = ScheduleKind::InverseSqrt, .timescale = 8},
       {1, 0.942809, 0.894427, 0.852803, 0.816497, 0.784465, 0.755929, 0.730297, 0.707107}},
      {{.kind = ScheduleKind::WarmupStableDecay, .decay_steps = 4, .least = 0.1}, {1, 1, 1, 1, 0.868198, 0.55, 0.231802, 0.1, 0.1}},
  };
  for (Case c : cases) {
    CAPTURE(static_cast<int>(c.schedule.kind));
    c.schedule.steps = 10;
    c.schedule.warmup_steps = 3;
    const double least = c.schedule.kind == ScheduleKind::WarmupStableDecay ? 0.1 : 0;
    for (int64_t step = 0; step < 3; ++step)
      CHECK(c.schedule.factor(step) == doctest::Approx(least + (1 - least) * static_cast<double>(step) / 3));
    for (size_t i = 0; i < c.after.size(); ++i)
      CHECK(c.schedule.factor(static_cast<int64_t>(i) + 3) == doctest::Approx(c.after[i]).epsilon(1e-5));
  }
}

TEST_CASE("no warm-up, no steps, and names") {
  CHECK(Schedule{.kind = ScheduleKind::Constant, .warmup_steps = 5}.factor(0) == 1);
  CHECK(Schedule{.kind = ScheduleKind::InverseSqrt}.factor(10000) == doctest::Approx(std::sqrt(0.5)));
  CHECK(Schedule{.kind = ScheduleKind::Linear, .steps = 4}.factor(0) == 1);
  CHECK(Schedule{.kind = ScheduleKind::Cosine}.factor(0) == 1);
  CHECK(train::schedule_kind("cosine_with_restarts") == ScheduleKind::CosineWithRestarts);
  test::expect_error(ErrorCode::Limit, {"[schedule]", "linear", "got 'lineer'"}, [] { train::schedule_kind("lineer"); });
}

TEST_CASE("the factor falls on a plateau") {
  const std::vector<double> metrics = {1, 0.9, 0.95, 0.9, 0.9, 0.9, 0.9, 0.85, 0.9, 0.9, 0.9, 0.9};
  const std::vector<double> expected = {1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125};  // torch's
  ReduceOnPlateau plateau(false, 0.5, 1, 1e-4, 1);
  for (size_t i = 0; i < metrics.size(); ++i) CHECK(plateau.update(metrics[i]) == doctest::Approx(expected[i]));
  ReduceOnPlateau rising(true, 0.5, 0);
  CHECK(rising.update(0.5) == 1);
  CHECK(rising.update(0.6) == 1);
  CHECK(rising.update(0.6) == 0.5);
  CHECK(rising.best() == 0.6);
  test::expect_error(ErrorCode::Limit, {"factor", "1"}, [] { ReduceOnPlateau(false, 1); });
}

}  // namespace
}  // namespace tenon
