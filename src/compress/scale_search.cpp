// The grid search over exponents, and the search for limits.
#include "tenon/compress/scale_search.h"

#include <algorithm>
#include <cmath>

#include "tenon/ops/matmul.h"

namespace tenon::compress {
namespace {

int64_t columns_of(const ScaleGroup& g) { return g.rounded.front()->weight.size(1); }

void check_group(const ScaleGroup& g) {
  check(!g.rounded.empty() && (g.weight || g.previous), ErrorCode::Shape, "scale group", g.name,
        ": expected layers and what comes before them");
  const int64_t K = columns_of(g);
  for (const auto& list : {g.rounded, g.others})
    for (const nn::Linear* l : list)
      check(l->weight.defined() && l->weight.rank() == 2 && l->weight.size(1) == K && l->weight.dtype() == DType::F32, ErrorCode::Shape,
            "scale group", g.name, ": expected float32 weights of ", K, " columns, got ", l->weight.describe());
  check(g.channel.empty() ? g.channels() == K : static_cast<int64_t>(g.channel.size()) == K, ErrorCode::Shape, "scale group", g.name,
        ": expected ", K, " channels, got ", g.channels());
  for (const int64_t c : g.channel)
    check(c >= 0 && c < g.channels(), ErrorCode::Limit, "scale group", g.name, ": channel ", c, " of ", g.channels());
}

int64_t channel_of(const ScaleGroup& g, int64_t k) { return g.channel.empty() ? k : g.channel[static_cast<size_t>(k)]; }

/// The mean over the columns of each channel.
std::vector<double> by_channel(const ScaleGroup& g, const std::vector<double>& of_column) {
  std::vector<double> sum(static_cast<size_t>(g.channels())), count(sum.size());
  for (size_t k = 0; k < of_column.size(); ++k) {
    const auto c = static_cast<size_t>(channel_of(g, static_cast<int64_t>(k)));
    sum[c] += of_column[k], count[c] += 1;
  }
  for (size_t c = 0; c < sum.size(); ++c) sum[c] /= std::max(count[c], 1.0);
  return sum;
}

/// Of each column the mean over all rows of |w| / (the group's largest |w| + 1e-6): how much of its group's range it uses.
std::vector<double> weight_shares(const ScaleGroup& g, const Rounding& r) {
  const int64_t K = columns_of(g), size = r.format == WeightFormat::Int8 ? K : std::min(r.group, K);
  std::vector<double> share(static_cast<size_t>(K));
  int64_t rows = 0;
  for (const nn::Linear* l : g.rounded) {
    const float* w = std::as_const(l->weight).data<float>();
    for (int64_t n = 0; n < l->weight.size(0); ++n)
      for (int64_t k0 = 0; k0 < K; k0 += size) {
        float most = 0;
        const int64_t k1 = std::min(k0 + size, K);
        for (int64_t k = k0; k < k1; ++k) most = std::max(most, std::fabs(w[n * K + k]));
        for (int64_t k = k0; k < k1; ++k) share[static_cast<size_t>(k)] += static_cast<double>(std::fabs(w[n * K + k]) / (most + 1e-6f));
      }
    rows += l->weight.size(0);
  }
  for (double& v : share) v /= static_cast<double>(std::max<int64_t>(rows, 1));
  return share;
}

std::vector<float> expand(const ScaleGroup& g, const std::vector<float>& scale) {
  std::vector<float> s;
  for (int64_t k = 0; k < columns_of(g); ++k) s.push_back(scale[static_cast<size_t>(channel_of(g, k))]);
  return s;
}

/// Scales whose largest and smallest lie evenly around 1; odd ones become 1.
std::vector<float> centred(std::vector<double> s) {
  double least = INFINITY, most = 0;
  for (double& v : s) {
    if (!std::isfinite(v)) v = 1;
    v = std::max(v, 1e-4);
    least = std::min(least, v), most = std::max(most, v);
  }
  const double centre = std::sqrt(least * most);
  std::vector<float> out;
  for (const double v : s) out.push_back(std::isfinite(v / centre) && v / centre > 0 ? static_cast<float>(v / centre) : 1.0f);
  return out;
}

double squared_error(const Tensor& a, const Tensor& b) {
  const float *x = a.data<float>(), *y = b.data<float>();
  double sum = 0;
  for (int64_t i = 0; i < a.numel(); ++i) sum += (static_cast<double>(x[i]) - y[i]) * (static_cast<double>(x[i]) - y[i]);
  return sum / static_cast<double>(std::max<int64_t>(a.numel(), 1));
}

}  // namespace

bool ChannelStatistics::add(const Tensor& x) {
  const int64_t C = x.size(-1), N = x.numel() / std::max<int64_t>(C, 1);
  const float* p = x.data<float>();
  float odd = 0;
  for (int64_t i = 0; i < N * C; ++i) odd += p[i] * 0;
  if (odd != 0) return false;
  sum.resize(static_cast<size_t>(C)), most.resize(static_cast<size_t>(C));
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < C; ++c) {
      const float a = std::fabs(p[n * C + c]);
      sum[static_cast<size_t>(c)] += a;
      most[static_cast<size_t>(c)] = std::max(most[static_cast<size_t>(c)], a);
    }
  rows += N;
  return true;
}

std::vector<float> ChannelStatistics::mean() const {
  std::vector<float> m;
  for (const double s : sum) m.push_back(static_cast<float>(s / static_cast<double>(std::max<int64_t>(rows, 1))));
  return m;
}

ScaleChoice search_scales(Context& ctx, const ScaleGroup& g, const Rounding& rounding, const ScaleSearch& options) {
  check_group(g);
  check(g.input && static_cast<int64_t>(g.input->sum.size()) == columns_of(g), ErrorCode::Shape, "scale search", g.name,
        ": expected the statistics of ", columns_of(g), " columns");
  check(options.grid > 0, ErrorCode::Limit, "scale search", "grid: expected 1 or more, got ", options.grid);
  const std::vector<float> mean = g.input->mean();
  const std::vector<double> x = by_channel(g, {mean.begin(), mean.end()}), w = by_channel(g, weight_shares(g, rounding));
  const Tensor wanted = g.output(ctx);

  std::vector<Tensor> plain;
  for (nn::Linear* l : g.rounded) plain.push_back(l->weight);
  struct Restore {  // whatever the block throws
    const ScaleGroup& g;
    const std::vector<Tensor>& plain;
    ~Restore() {
      for (size_t i = 0; i < plain.size(); ++i) g.rounded[i]->weight = plain[i];
    }
  } restore{g, plain};
  for (nn::Linear* l : g.rounded) l->weight = Tensor::empty(l->weight.shape(), DType::F32);

  const auto loss_of = [&](const std::vector<float>* scale) {
    std::vector<float> s;
    if (scale) s = expand(g, *scale);
    for (size_t i = 0; i < plain.size(); ++i)
      round_weights(ctx, g.rounded[i]->weight.data<float>(), std::as_const(plain[i]).data<float>(), scale ? s.data() : nullptr,
                    plain[i].size(0), plain[i].size(1), rounding);
    const double loss = squared_error(g.output(ctx), wanted);
    return std::isfinite(loss) ? loss : INFINITY;
  };
  ScaleChoice best;
  best.scale.assign(static_cast<size_t>(g.channels()), 1.0f);
  best.loss = best.plain_loss = loss_of(nullptr);
  for (int i = 0; i < options.grid; ++i) {
    const double r = static_cast<double>(i) / options.grid;
    std::vector<double> s;
    for (size_t c = 0; c < x.size(); ++c) s.push_back(std::pow(x[c], r) / (options.duo ? std::pow(w[c], 1 - r) + 1e-4 : 1.0));
    std::vector<float> scale = centred(std::move(s));
    const double loss = loss_of(&scale);
    if (loss < best.loss) best.loss = loss, best.ratio = r, best.scale = std::move(scale);
  }
  return best;
}

std::vector<float> smooth_scales(const ScaleGroup& g, float alpha) {
  check_group(g);
  check(alpha >= 0 && alpha <= 1, ErrorCode::Limit, "smoothquant", "alpha: expected 0 to 1, got ", alpha);
  check(g.input && static_cast<int64_t>(g.input->most.size()) == columns_of(g), ErrorCode::Shape, "smoothquant", g.name,
        ": expected the statistics of ", columns_of(g), " columns");
  const auto C = static_cast<size_t>(g.channels());
  std::vector<float> x(C), w(C), s;
  for (int64_t k = 0; k < columns_of(g); ++k) {
    const auto c = static_cast<size_t>(channel_of(g, k));
    x[c] = std::max(x[c], g.input->most[static_cast<size_t>(k)]);
    for (const nn::Linear* l : g.rounded)
      for (int64_t n = 0; n < l->weight.size(0); ++n)
        w[c] = std::max(w[c], std::fabs(std::as_const(l->weight).data<float>()[n * columns_of(g) + k]));
  }
  for (size_t c = 0; c < C; ++c) {
    const float v = std::pow(std::max(x[c], 1e-5f), alpha) / std::pow(std::max(w[c], 1e-5f), 1 - alpha);
    s.push_back(std::isfinite(v) ? std::max(v, 1e-5f) : 1.0f);
  }
  return s;
}

void apply_scales(const ScaleGroup& g, const std::vector<float>& scale) {
  check_group(g);
  check(static_cast<int64_t>(scale.size()) == g.channels(), ErrorCode::Shape, "apply_scales", g.name, ": expected ", g.channels(),
        " scales, got ", scale.size());
  for (const float s : scale)
    check(s > 0 && std::isfinite(s), ErrorCode::Limit, "apply_scales", g.name, ": expected positive scales, got ", s);
  const std::vector<float> s = expand(g, scale);
  for (const auto& list : {g.rounded, g.others})
    for (nn::Linear* l : list) {
      float* w = l->weight.data<float>();
      for (int64_t n = 0; n < l->weight.size(0); ++n)
        for (size_t k = 0; k < s.size(); ++k) w[static_cast<size_t>(n) * s.size() + k] *= s[k];
    }
  if (g.previous) {
    const int64_t K = g.previous->weight.size(1);
    for (size_t c = 0; c < scale.size(); ++c) {
      float* row = g.previous->weight.data<float>() + g.row[c] * K;
      for (int64_t k = 0; k < K; ++k) row[k] /= scale[c];
      if (g.previous->bias.defined()) g.previous->bias.data<float>()[g.row[c]] /= scale[c];
    }
    return;
  }
  for (Tensor* t : {g.weight, g.bias})
    for (size_t c = 0; t && c < scale.size(); ++c) t->data<float>()[c] /= scale[c];
}

namespace {

/// A group of columns: of the inputs its Gram matrix, with which the error of a row over all tokens is d^T (X^T X) d, and of the weights.
struct Columns {
  Tensor gram, weights;  // (n,n), (N,n)

  Columns(Context& ctx, const Tensor& w, const Tensor& x, int64_t first, int64_t n) : weights(ctx.empty({w.size(0), n}, DType::F32)) {
    const int64_t K = w.size(1), rows = x.numel() / K;
    Tensor part = ctx.empty({rows, n}, DType::F32);
    for (int64_t r = 0; r < rows; ++r) std::copy_n(x.data<float>() + r * K + first, n, part.data<float>() + r * n);
    for (int64_t i = 0; i < w.size(0); ++i) std::copy_n(w.data<float>() + i * K + first, n, weights.data<float>() + i * n);
    gram = ops::detail::product_of(ctx, part, part, true, false, n, n, rows);
  }
};

/// Of each row: d^T G w and d^T G d, with which scale * d is nearest to w where scale is their ratio.
struct Fit {
  std::vector<double> along, own;

  Fit(Context& ctx, const Tensor& d, const Columns& c) {
    const int64_t N = d.size(0), n = d.size(1);
    const Tensor product = ops::detail::product_of(ctx, d, c.gram, false, false, N, n, n);
    const float *p = product.data<float>(), *own_row = d.data<float>(), *w = std::as_const(c.weights).data<float>();
    for (int64_t i = 0; i < N; ++i, p += n, own_row += n, w += n) {
      double a = 0, b = 0;
      for (int64_t k = 0; k < n; ++k) a += static_cast<double>(p[k]) * w[k], b += static_cast<double>(p[k]) * own_row[k];
      along.push_back(a), own.push_back(b);
    }
  }
};

}  // namespace

double search_clip(Context& ctx, Tensor& w, const Tensor& x, const Rounding& rounding) {
  const int64_t N = w.size(0), K = w.size(1), group = std::min(rounding.group, K);
  constexpr int kSteps = 20, kTried = 10;
  int64_t cut = 0, groups = 0;
  for (int64_t k0 = 0; k0 < K; k0 += group) {
    const int64_t n_k = std::min(group, K - k0);
    const Columns columns(ctx, w, x, k0, n_k);
    const float* original = std::as_const(columns.weights).data<float>();
    std::vector<double> explained(static_cast<size_t>(N), -INFINITY);  // of the product's energy, with the best scale
    std::vector<float> limit(static_cast<size_t>(N)), full(static_cast<size_t>(N));
    for (int64_t n = 0; n < N; ++n)
      for (int64_t k = 0; k < n_k; ++k) full[static_cast<size_t>(n)] = std::max(full[static_cast<size_t>(n)], std::fabs(original[n * n_k + k]));
    Tensor d = ctx.empty({N, n_k}, DType::F32);
    for (int i = 0; i < kTried; ++i) {
      const float share = 1 - static_cast<float>(i) / kSteps;
      float* to = d.data<float>();
      for (int64_t n = 0; n < N; ++n) {
        const float most = full[static_cast<size_t>(n)] * share;
        for (int64_t k = n * n_k; k < (n + 1) * n_k; ++k) to[k] = std::clamp(original[k], -most, most);
      }
      round_weights(ctx, to, to, nullptr, N, n_k, rounding);
      const Fit fit(ctx, d, columns);
      for (size_t n = 0; n < static_cast<size_t>(N); ++n) {
        const double energy = fit.own[n] > 0 ? fit.along[n] * fit.along[n] / fit.own[n] : 0;
        if (energy > explained[n]) explained[n] = energy, limit[n] = full[n] * share;
      }
    }
    for (int64_t n = 0; n < N; ++n) {
      const float most = limit[static_cast<size_t>(n)];
      cut += most < full[static_cast<size_t>(n)], ++groups;
      float* row = w.data<float>() + n * K + k0;
      for (int64_t k = 0; k < n_k; ++k) row[k] = std::clamp(row[k], -most, most);
    }
  }
  return groups ? static_cast<double>(cut) / static_cast<double>(groups) : 0;
}

void refit_scales(Context& ctx, quant::QuantizedMatrix& m, const Tensor& w, const Tensor& x) {
  check(m.format == WeightFormat::Int4 && m.order.empty() && w.shape() == Shape{m.N, m.K}, ErrorCode::Shape, "refit_scales", "expected 4 bits of (", m.N, ", ",
        m.K, ") in their own order, and weights of that shape, got ", w.describe());
  const int64_t G = m.groups();
  const Tensor rounded = quant::dequantize(ctx, m);
  for (int64_t g = 0; g < G; ++g) {
    const int64_t n_k = std::min(m.group, m.K - g * m.group);
    const Columns columns(ctx, w, x, g * m.group, n_k);
    Tensor d = ctx.empty({m.N, n_k}, DType::F32);
    for (int64_t n = 0; n < m.N; ++n) std::copy_n(rounded.data<float>() + n * m.K + g * m.group, n_k, d.data<float>() + n * n_k);
    const Fit fit(ctx, d, columns);
    for (int64_t n = 0; n < m.N; ++n) {
      const double ratio = fit.along[static_cast<size_t>(n)] / fit.own[static_cast<size_t>(n)];
      if (!(ratio > 0.5 && ratio < 2)) continue;  // inputs that hardly use the group say nothing about it
      float& scale = m.scale.data<float>()[n * G + g];
      const float fitted = static_cast<float>(float16::from(static_cast<float>(scale * ratio)));
      if (fitted > 0 && std::isfinite(fitted)) scale = fitted;
    }
  }
}

}  // namespace tenon::compress
