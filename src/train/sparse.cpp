// Sparse training: densities of layers, and which connections go and come.
#include "tenon/train/sparse.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>

#include "tenon/core/parallel.h"

namespace tenon::train {
namespace {

template <class Enum, size_t n>
Enum parse(std::string_view what, std::string_view name, const std::array<std::pair<std::string_view, Enum>, n>& known) {
  std::string all;
  for (const auto& [text, value] : known) {
    if (name == text) return value;
    all.append(all.empty() ? "" : ", ").append(text);
  }
  fail(ErrorCode::Limit, "sparse training", what, ": expected one of ", all, ", got '", name, "'");
}

void check_fits(const Tensor& mask, const Tensor& t, const char* name, DType type) {
  check(t.defined() && t.shape() == mask.shape(), ErrorCode::Shape, "sparse training", name, ": expected ", mask.shape(),
        " as its mask, got ", t.describe());
  check(t.dtype() == type, ErrorCode::Type, "sparse training", name, ": expected ", name_of(type), ", got ", name_of(t.dtype()));
}

uint8_t* bits_of(Tensor mask) { return mask.data<uint8_t>(); }
float* floats_of(Tensor t) { return t.data<float>(); }

void check_layer(const Tensor& mask, const Tensor& weight, std::span<const Tensor> moments) {
  check(mask.defined() && mask.dtype() == DType::U8, ErrorCode::Type, "sparse training", "mask: expected uint8, got ", mask.describe());
  check_fits(mask, weight, "weight", DType::F32);
  for (const Tensor& m : moments)
    check(!m.defined() || m.numel() != mask.numel() || m.dtype() == DType::F32, ErrorCode::Type, "sparse training",
          "moments: expected float32, got ", m.describe(), "; take an optimizer that keeps its state in float32");
}

/// A number of its own for each element of a layer at a step, whatever the order in which it is asked for.
std::vector<uint32_t> lottery(int64_t n, uint64_t seed, uint64_t stream, int64_t step) {
  const Random random(seed, stream << 32 | static_cast<uint64_t>(step));
  std::vector<uint32_t> numbers(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; i += 4) {
    const auto four = random.block(static_cast<uint64_t>(i / 4));
    for (int64_t j = i; j < std::min(i + 4, n); ++j) numbers[static_cast<size_t>(j)] = four[static_cast<size_t>(j - i)];
  }
  return numbers;
}

/// Moves the `count` elements with the largest (or smallest) |key| to the front; equal ones by lot, then by place. NaN counts as 0.
void select(std::vector<int64_t>& elements, int64_t count, const float* key, const std::vector<uint32_t>& lots, bool largest) {
  if (count <= 0 || count >= static_cast<int64_t>(elements.size())) return;
  const auto size = [key](int64_t i) { return key && key[i] == key[i] ? std::fabs(key[i]) : 0.0f; };
  std::nth_element(elements.begin(), elements.begin() + count, elements.end(), [&](int64_t a, int64_t b) {
    const float x = size(a), y = size(b);
    if (x != y) return largest ? x > y : x < y;
    const uint32_t p = lots[static_cast<size_t>(a)], q = lots[static_cast<size_t>(b)];
    return p != q ? p < q : a < b;
  });
}

void forget(std::span<const Tensor> moments, int64_t n, int64_t element) {
  for (const Tensor& m : moments)
    if (m.defined() && m.numel() == n) floats_of(m)[element] = 0;
}

}  // namespace

void check_settings(const SparseSettings& s) {
  check(s.density > 0 && s.density <= 1, ErrorCode::Limit, "sparse training", "density: expected above 0 and at most 1, got ", s.density);
  check(s.drop_fraction >= 0 && s.drop_fraction <= 1, ErrorCode::Limit, "sparse training", "drop_fraction: expected 0 to 1, got ",
        s.drop_fraction);
  check(s.every >= 1, ErrorCode::Limit, "sparse training", "every: expected 1 or more steps, got ", s.every);
  check(s.begin >= 0 && (s.method == SparseMethod::Static || s.end > s.begin), ErrorCode::Limit, "sparse training",
        "expected 0 <= begin < end, got begin ", s.begin, " and end ", s.end);
}

SparseMethod parse_sparse_method(std::string_view name) {
  using enum SparseMethod;
  return parse<SparseMethod, 4>("method", name, {{{"static", Static}, {"set", Set}, {"rigl", RigL}, {"magnitude", Magnitude}}});
}

SparseDistribution parse_sparse_distribution(std::string_view name) {
  using enum SparseDistribution;
  return parse<SparseDistribution, 2>("distribution", name, {{{"uniform", Uniform}, {"erk", Erk}}});
}

std::vector<double> layer_densities(std::span<const Shape> shapes, double density, SparseDistribution distribution) {
  check(density > 0 && density <= 1, ErrorCode::Limit, "sparse training", "density: expected above 0 and at most 1, got ", density);
  for (const Shape& s : shapes) check(s.numel() > 0, ErrorCode::Shape, "sparse training", "layers: expected elements, got ", s);
  std::vector<double> densities(shapes.size(), density);
  if (distribution == SparseDistribution::Uniform) return densities;
  std::vector<double> raw;
  double total = 0;
  for (const Shape& s : shapes) {
    double sum = 0;
    for (const int64_t dim : s) sum += static_cast<double>(dim);
    raw.push_back(sum / static_cast<double>(s.numel()));
    total += static_cast<double>(s.numel());
  }
  // Layers that would come out above 1 are dense, and what they take is taken from the others, until none is left to cap.
  std::vector<char> full(shapes.size(), 0);
  for (bool again = true; again;) {
    again = false;
    double left = density * total, parts = 0, most = 0;
    for (size_t i = 0; i < shapes.size(); ++i) {
      const auto n = static_cast<double>(shapes[i].numel());
      if (full[i])
        left -= n;
      else
        parts += raw[i] * n, most = std::max(most, raw[i]);
    }
    const double scale = parts > 0 ? left / parts : 0;
    for (size_t i = 0; i < shapes.size(); ++i) {
      if (!full[i] && scale * most > 1 && raw[i] == most) full[i] = 1, again = true;
      densities[i] = full[i] ? 1 : scale * raw[i];
    }
  }
  return densities;
}

Tensor random_mask(const Shape& shape, double density, uint64_t seed, uint64_t stream) {
  check(density > 0 && density <= 1, ErrorCode::Limit, "sparse training", "density: expected above 0 and at most 1, got ", density);
  Tensor mask = Tensor::zeros(shape, DType::U8);
  const int64_t n = mask.numel(), ones = std::clamp<int64_t>(std::llround(density * static_cast<double>(n)), std::min<int64_t>(n, 1), n);
  std::vector<int64_t> elements(static_cast<size_t>(n));
  std::iota(elements.begin(), elements.end(), int64_t{0});
  select(elements, ones, nullptr, lottery(n, seed, stream, 0), true);
  for (int64_t i = 0; i < ones; ++i) mask.data<uint8_t>()[elements[static_cast<size_t>(i)]] = 1;
  return mask;
}

bool updates_at(const SparseSettings& s, int64_t step) {
  return s.method != SparseMethod::Static && step > s.begin && step <= s.end && (step - s.begin) % s.every == 0;
}

double drop_fraction_at(const SparseSettings& s, int64_t step) {
  const double done = static_cast<double>(step - s.begin) / static_cast<double>(s.end - s.begin);
  return s.drop_fraction * (1 + std::cos(std::numbers::pi * std::clamp(done, 0.0, 1.0))) / 2;
}

double pruned_density_at(const SparseSettings& s, double goal, int64_t step) {
  const int64_t updates = std::max<int64_t>(1, (s.end - s.begin) / s.every);  // the last one reaches the goal
  const double done = static_cast<double>(step - s.begin) / static_cast<double>(updates * s.every);
  return goal + (1 - goal) * std::pow(1 - std::clamp(done, 0.0, 1.0), 3);
}

void apply_mask(Context& ctx, const Tensor& t, const Tensor& mask) {
  check(mask.defined() && mask.dtype() == DType::U8, ErrorCode::Type, "sparse training", "mask: expected uint8, got ", mask.describe());
  check_fits(mask, t, "tensor", DType::F32);
  float* x = floats_of(t);
  const uint8_t* m = bits_of(mask);
  parallel_for(ctx.threads(), t.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) x[i] = m[i] ? x[i] : 0.0f;
  });
}

SparseMoves prune_smallest(const Tensor& mask, const Tensor& weight, std::span<const Tensor> moments, int64_t ones, uint64_t seed,
                           uint64_t stream, int64_t step) {
  check_layer(mask, weight, moments);
  uint8_t* bits = bits_of(mask);
  float* w = floats_of(weight);
  std::vector<int64_t> active;
  for (int64_t i = 0; i < mask.numel(); ++i)
    if (bits[i]) active.push_back(i);
  const int64_t drop = std::max<int64_t>(0, static_cast<int64_t>(active.size()) - std::max<int64_t>(1, ones));
  select(active, drop, w, lottery(mask.numel(), seed, stream, step), false);
  for (int64_t i = 0; i < drop; ++i) {
    const int64_t e = active[static_cast<size_t>(i)];
    bits[e] = 0;
    w[e] = 0;
    forget(moments, mask.numel(), e);
  }
  return {drop, 0};
}

SparseMoves move_connections(const Tensor& mask, const Tensor& weight, const Tensor& gradient, std::span<const Tensor> moments,
                             SparseMethod method, double fraction, uint64_t seed, uint64_t stream, int64_t step) {
  check_layer(mask, weight, moments);
  check(fraction >= 0 && fraction <= 1, ErrorCode::Limit, "sparse training", "fraction: expected 0 to 1, got ", fraction);
  check(method == SparseMethod::Set || method == SparseMethod::RigL, ErrorCode::Limit, "sparse training",
        "method: expected one that moves connections, set or rigl");
  if (method == SparseMethod::RigL) check_fits(mask, gradient, "gradient", DType::F32);
  uint8_t* bits = bits_of(mask);
  float* w = floats_of(weight);
  std::vector<int64_t> active, others;
  for (int64_t i = 0; i < mask.numel(); ++i) (bits[i] ? active : others).push_back(i);
  const auto count = static_cast<int64_t>(fraction * static_cast<double>(active.size()));
  if (count == 0 || others.empty()) return {};
  const std::vector<uint32_t> lots = lottery(mask.numel(), seed, stream, step);
  select(active, count, w, lots, false);
  const std::vector<int64_t> dropped(active.begin(), active.begin() + count);
  for (const int64_t i : dropped) others.push_back(i), bits[i] = 0;
  select(others, count, method == SparseMethod::RigL ? gradient.data<float>() : nullptr, lots, true);
  SparseMoves moves;
  constexpr uint8_t kBack = 2;
  for (const int64_t i : dropped) bits[i] = kBack;  // to tell those that come back from new ones
  for (int64_t i = 0; i < count; ++i) {
    uint8_t& bit = bits[others[static_cast<size_t>(i)]];
    if (bit != kBack) {
      ++moves.grown;
      w[others[static_cast<size_t>(i)]] = 0;
      forget(moments, mask.numel(), others[static_cast<size_t>(i)]);
    }
    bit = 1;
  }
  for (const int64_t i : dropped) {
    if (bits[i] != kBack) continue;
    ++moves.dropped;
    bits[i] = 0;
    w[i] = 0;
    forget(moments, mask.numel(), i);
  }
  return moves;
}

SparseMoves update_connections(const SparseSettings& s, double goal, const Tensor& mask, const Tensor& weight, const Tensor& gradient,
                               std::span<const Tensor> moments, uint64_t stream, int64_t step) {
  if (s.method == SparseMethod::Magnitude) {
    const double density = pruned_density_at(s, goal, step);
    return prune_smallest(mask, weight, moments, std::llround(density * static_cast<double>(weight.numel())), s.seed, stream, step);
  }
  if (s.method == SparseMethod::Static || (s.method == SparseMethod::RigL && !gradient.defined())) return {};
  return move_connections(mask, weight, gradient, moments, s.method, drop_fraction_at(s, step), s.seed, stream, step);
}

SparseTraining::SparseTraining(Context& ctx, SparseSettings settings, std::vector<std::pair<std::string, Tensor>> layers)
    : settings_(settings), layers_(std::move(layers)) {
  check_settings(settings_);
  check(!layers_.empty(), ErrorCode::Limit, "sparse training", "layers: expected at least one, got none");
  std::vector<Shape> shapes;
  for (const auto& [name, t] : layers_) {
    check(t.defined() && t.dtype() == DType::F32 && !t.read_only(), ErrorCode::Type, "sparse training", name,
          ": expected a writable float32 parameter, got ", t.describe());
    shapes.push_back(t.shape());
  }
  densities_ = layer_densities(shapes, settings_.density, settings_.distribution);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const bool dense = settings_.method == SparseMethod::Magnitude;
    masks_.push_back(random_mask(shapes[i], dense ? 1 : densities_[i], settings_.seed, i));
    apply_mask(ctx, layers_[i].second, masks_[i]);
  }
}

double SparseTraining::density() const {
  int64_t ones = 0, all = 0;
  for (const Tensor& m : masks_) {
    const uint8_t* bits = bits_of(m);
    ones += std::count(bits, bits + m.numel(), uint8_t{1});
    all += m.numel();
  }
  return static_cast<double>(ones) / static_cast<double>(all);
}

void SparseTraining::update(Optimizer& optimizer, const Tape& tape) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Tensor& weight = layers_[i].second;
    std::vector<Tensor> moments;
    for (ParameterGroup& g : optimizer.groups())
      for (size_t p = 0; p < g.parameters.size(); ++p)
        if (g.parameters[p].id() == weight.id()) moments = g.states[p].tensors;
    const SparseMoves m = update_connections(settings_, densities_[i], masks_[i], weight, tape.grad(weight), moments, i, steps_);
    moves_.dropped += m.dropped, moves_.grown += m.grown;
  }
}

double SparseTraining::step(Context& ctx, Optimizer& optimizer, Tape& tape, double max_norm) {
  ++steps_;
  if (updates_at(settings_, steps_)) {
    std::vector<Tensor> gradients;
    for (const auto& [name, t] : layers_) gradients.push_back(tape.grad(t));
    if (std::isfinite(gradient_norm(ctx, gradients))) update(optimizer, tape);  // else they say nothing, and the step may be skipped
  }
  for (size_t i = 0; i < layers_.size(); ++i)
    if (const Tensor g = tape.grad(layers_[i].second); g.defined()) apply_mask(ctx, g, masks_[i]);
  const double norm = optimizer.step(ctx, tape, max_norm);
  for (size_t i = 0; i < layers_.size(); ++i) apply_mask(ctx, layers_[i].second, masks_[i]);
  return norm;
}

std::vector<std::pair<std::string, Tensor>> SparseTraining::state() const {
  std::vector<std::pair<std::string, Tensor>> all;
  for (size_t i = 0; i < layers_.size(); ++i) all.emplace_back(layers_[i].first + ".mask", masks_[i]);
  Tensor step = Tensor::empty({1}, DType::I64);
  *step.data<int64_t>() = steps_;
  all.emplace_back("step", step);
  return all;
}

void SparseTraining::load_state(Context& ctx, std::span<const std::pair<std::string, Tensor>> state) {
  const auto find = [&](const std::string& name, const Shape& shape, DType type) {
    for (const auto& [key, t] : state) {
      if (key != name) continue;
      check(t.defined() && t.shape() == shape && t.dtype() == type, ErrorCode::Format, "sparse training", name, ": expected ",
            name_of(type), " ", shape, ", got ", t.describe());
      return t;
    }
    fail(ErrorCode::Format, "sparse training", name, " is missing");
  };
  std::vector<Tensor> masks;
  for (const auto& [name, t] : layers_) {
    masks.push_back(find(name + ".mask", t.shape(), DType::U8).clone());
    const uint8_t* bits = bits_of(masks.back());
    check(std::all_of(bits, bits + t.numel(), [](uint8_t b) { return b <= 1; }), ErrorCode::Format, "sparse training", name,
          ".mask: expected zeros and ones");
  }
  const Tensor step = find("step", {1}, DType::I64);
  const int64_t steps = *step.data<int64_t>();
  check(steps >= 0, ErrorCode::Format, "sparse training", "step: expected 0 or more, got ", steps);
  masks_ = std::move(masks);
  steps_ = steps;
  for (size_t i = 0; i < layers_.size(); ++i) apply_mask(ctx, layers_[i].second, masks_[i]);
}

}  // namespace tenon::train
