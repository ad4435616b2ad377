// Adafactor: second moments of matrices by their row and column means.
#include <algorithm>
#include <cmath>

#include "train/blocks.h"
#include "train/steps.h"

namespace tenon::train {
namespace {

constexpr int64_t kRows = 64;  // summed one after another; fixed, so that sums do not change with the number of threads

/// What every element of a parameter's step shares.
struct Step {
  double lr, keep;  // keep: of the second moments (beta2 at this step)
  float grad_scale;
};

/// A parameter as `count` matrices (rows, columns), and its gradient.
struct Matrices {
  int64_t count, rows, columns;
  float* p;
  const float* g;

  int64_t row_blocks() const { return (rows + kRows - 1) / kRows; }
  /// body(block, matrix, begin, end) for rows [begin, end) of each matrix.
  template <class Body>
  void over(const Context& ctx, Body&& body) const {
    ctx.over_rows(count * row_blocks(), kRows * columns, [&](int64_t first, int64_t last) {
      for (int64_t block = first; block < last; ++block) {
        const int64_t begin = block % row_blocks() * kRows;
        body(block, block / row_blocks(), begin, std::min(rows, begin + kRows));
      }
    });
  }
};

double sum_in_order(const std::vector<double>& parts) {
  double sum = 0;
  for (const double part : parts) sum += part;
  return sum;
}

double root_mean_square(Context& ctx, const float* x, int64_t n) {
  std::vector<double> sums(static_cast<size_t>((n + kBlock - 1) / kBlock));
  over_blocks(ctx, std::span(&n, 1), [&](size_t, int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at += kBlock)
      sums[static_cast<size_t>(at / kBlock)] = ctx.kernels().sum_of_squares(x + at, std::min(kBlock, end - at));
  });
  return n ? std::sqrt(sum_in_order(sums) / static_cast<double>(n)) : 0;
}

/// Moves the row and column means of g^2 + eps1 towards those of this gradient.
void update_means(Context& ctx, const Matrices& x, float* row, float* column, const Step& s, double eps1) {
  const auto columns = static_cast<size_t>(x.columns);
  const double fresh = 1 - s.keep, squared_scale = static_cast<double>(s.grad_scale) * s.grad_scale;
  std::vector<float> partial(static_cast<size_t>(x.count * x.row_blocks()) * columns);
  x.over(ctx, [&](int64_t block, int64_t matrix, int64_t begin, int64_t end) {
    float* sums = partial.data() + static_cast<size_t>(block) * columns;
    for (int64_t r = begin; r < end; ++r) {
      const float* g = x.g + (matrix * x.rows + r) * x.columns;
      const double mean = squared_scale * ctx.kernels().sum_of_squares(g, x.columns) / static_cast<double>(x.columns) + eps1;
      float& average = row[matrix * x.rows + r];
      average = static_cast<float>(s.keep * average + fresh * mean);
      for (size_t c = 0; c < columns; ++c) sums[c] += g[c] * g[c];
    }
  });
  ctx.over_rows(x.count, x.row_blocks() * x.columns, [&](int64_t first, int64_t last) {
    for (int64_t matrix = first; matrix < last; ++matrix)
      for (size_t c = 0; c < columns; ++c) {
        double sum = 0;
        for (int64_t block = 0; block < x.row_blocks(); ++block)
          sum += partial[static_cast<size_t>(matrix * x.row_blocks() + block) * columns + c];
        float& average = column[static_cast<size_t>(matrix) * columns + c];
        average = static_cast<float>(s.keep * average + fresh * (squared_scale * sum / static_cast<double>(x.rows) + eps1));
      }
  });
}

/// Factors f and h with which g[r][c] * f[r] * h[c] is g over the root of its second moment.
void factors(const Matrices& x, const float* row, const float* column, std::vector<float>& f, std::vector<float>& h, float grad_scale) {
  f.resize(static_cast<size_t>(x.count * x.rows));
  h.resize(static_cast<size_t>(x.count * x.columns));
  for (int64_t matrix = 0; matrix < x.count; ++matrix) {
    double mean = 0;
    for (int64_t r = 0; r < x.rows; ++r) mean += row[matrix * x.rows + r];
    mean /= static_cast<double>(x.rows);
    for (int64_t i = matrix * x.rows; i < (matrix + 1) * x.rows; ++i)
      f[static_cast<size_t>(i)] = static_cast<float>(grad_scale / std::sqrt(row[i] / mean));
    for (int64_t i = matrix * x.columns; i < (matrix + 1) * x.columns; ++i) h[static_cast<size_t>(i)] = 1 / std::sqrt(column[i]);
  }
}

/// p -= the step, whose element i is direction(i) times `rate`, or its moving average.
template <class Direction>
void apply(float* p, float* average, int64_t begin, int64_t end, float rate, float beta1, float decay, Direction&& direction) {
  for (int64_t i = begin; i < end; ++i) {
    float u = direction(i) * rate;
    if (average) u = average[i] = beta1 * average[i] + (1 - beta1) * u;
    p[i] -= decay * p[i] + u;
  }
}

/// The step's size, before it is made relative to the parameter's.
double rate_at(const Adafactor& o, double time) {
  return o.relative_step ? std::min(o.warmup_init ? 1e-6 * time : 1e-2, 1 / std::sqrt(time)) : o.lr.value_or(0);
}

/// A device's kernel does a whole parameter; what follows has the host's threads and vectors.
void step_on_device(Context& ctx, const Adafactor& o, const Update& u, float grad_scale) {
  const Tensor& t = u.parameter;
  if (t.numel() == 0) return;
  const auto time = static_cast<double>(u.state->step);
  const bool matrices = t.rank() >= 2;
  AdafactorCall c;
  c.p = elements(t), c.g = u.gradient.ptr<float>();
  if (matrices) c.row = elements(u.state->tensors[0]);
  c.column = elements(u.state->tensors[matrices ? 1 : 0]);
  if (o.beta1) c.average = elements(u.state->tensors.back());
  c.rows = matrices ? t.size(-2) : 0, c.columns = matrices ? t.size(-1) : t.numel();
  c.count = matrices ? t.numel() / (c.rows * c.columns) : 1;
  c.lr = static_cast<float>(rate_at(o, time)), c.keep = static_cast<float>(1 - std::pow(time, o.decay_rate));
  c.eps1 = static_cast<float>(o.eps1), c.clip_threshold = static_cast<float>(o.clip_threshold);
  c.beta1 = static_cast<float>(o.beta1.value_or(0)), c.weight_decay = static_cast<float>(o.weight_decay), c.grad_scale = grad_scale;
  if (o.scale_parameter) c.least_size = static_cast<float>(o.eps2);
  ctx.kernels().adafactor(c);
}

void step_one(Context& ctx, const Adafactor& o, const Update& u, float grad_scale) {
  const Tensor& t = u.parameter;
  const int64_t n = t.numel();
  if (n == 0) return;
  if (!ctx.device().is_cpu()) return step_on_device(ctx, o, u, grad_scale);
  const auto time = static_cast<double>(u.state->step);
  float* p = elements(t);
  const float* g = u.gradient.data<float>();
  double lr = rate_at(o, time);
  if (o.scale_parameter) lr *= std::max(o.eps2, root_mean_square(ctx, p, n));
  const Step s{lr, 1 - std::pow(time, o.decay_rate), grad_scale};
  const auto decay = static_cast<float>(o.weight_decay * lr), beta1 = static_cast<float>(o.beta1.value_or(0));
  float* average = o.beta1 ? elements(u.state->tensors.back()) : nullptr;
  // The step is clipped to a root mean square of clip_threshold before lr.
  const auto rate_of = [&](double squares) {
    return static_cast<float>(lr / std::max(1.0, std::sqrt(squares / static_cast<double>(n)) / o.clip_threshold));
  };

  if (t.rank() >= 2) {
    const Matrices x{n / (t.size(-1) * t.size(-2)), t.size(-2), t.size(-1), p, g};
    float *row = elements(u.state->tensors[0]), *column = elements(u.state->tensors[1]);
    update_means(ctx, x, row, column, s, o.eps1);
    std::vector<float> f, h;
    factors(x, row, column, f, h, grad_scale);
    std::vector<double> squares(static_cast<size_t>(x.count * x.row_blocks()));
    x.over(ctx, [&](int64_t block, int64_t matrix, int64_t begin, int64_t end) {
      const float* across = h.data() + matrix * x.columns;
      for (int64_t r = matrix * x.rows + begin; r < matrix * x.rows + end; ++r) {
        float sums[8] = {};  // side by side
        const float* from = g + r * x.columns;
        int64_t c = 0;
        for (; c + 8 <= x.columns; c += 8)
          for (int k = 0; k < 8; ++k) sums[k] += from[c + k] * across[c + k] * (from[c + k] * across[c + k]);
        for (; c < x.columns; ++c) sums[0] += from[c] * across[c] * (from[c] * across[c]);
        double sum = 0;
        for (const float part : sums) sum += part;
        squares[static_cast<size_t>(block)] += sum * f[static_cast<size_t>(r)] * f[static_cast<size_t>(r)];
      }
    });
    const float rate = rate_of(sum_in_order(squares));
    x.over(ctx, [&](int64_t, int64_t matrix, int64_t begin, int64_t end) {
      for (int64_t r = matrix * x.rows + begin; r < matrix * x.rows + end; ++r) {
        const float* across = h.data() + matrix * x.columns - r * x.columns;
        const float down = f[static_cast<size_t>(r)];
        apply(p, average, r * x.columns, (r + 1) * x.columns, rate, beta1, decay, [&](int64_t i) { return g[i] * (down * across[i]); });
      }
    });
    return;
  }
  // Vectors are small: one thread.
  float* v = elements(u.state->tensors[0]);
  const auto keep = static_cast<float>(s.keep), fresh = static_cast<float>(1 - s.keep), eps = static_cast<float>(o.eps1);
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float d = g[i] * grad_scale;
    v[i] = keep * v[i] + fresh * (d * d + eps);
    squares += static_cast<double>(d) * d / v[i];
  }
  apply(p, average, 0, n, rate_of(squares), beta1, decay, [&](int64_t i) { return g[i] * grad_scale / std::sqrt(v[i]); });
}

}  // namespace

void make_step(Context& ctx, const Adafactor& o, std::span<const Update> updates, double grad_scale) {
  for (const Update& u : updates) step_one(ctx, o, u, static_cast<float>(grad_scale));
}

}  // namespace tenon::train
