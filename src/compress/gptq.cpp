// GPTQ over blocks of columns; the inverse Hessian's factor comes from Eigen.
#include "tenon/compress/gptq.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tenon/ops/matmul.h"

namespace tenon::compress {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The upper triangular U with U^T U = H^-1, or false. With the order of rows and columns turned round, H = L L^T; then U is L^-1 turned
/// round.
bool inverse_factor(const Matrix& h, Matrix& u) {
  const Eigen::LLT<Matrix> llt(h.reverse());
  if (llt.info() != Eigen::Success) return false;
  Matrix inverse = Matrix::Identity(h.rows(), h.cols());
  llt.matrixL().solveInPlace(inverse);
  u = inverse.reverse();
  return u.allFinite();
}

struct Grid {
  float scale, zero;
};

/// The scale and zero of a group, as quant::round_to_nearest has them.
Grid grid_of(const float* x, int64_t n, bool symmetric) {
  float least = 0, most = 0;  // 0 is among the codes even if no weight is
  for (int64_t i = 0; i < n; ++i) least = std::min(least, x[i]), most = std::max(most, x[i]);
  float scale = symmetric ? std::max(std::max(-least, most) / 7.5f, 1e-6f) : std::max(most - least, 1e-5f) / 15;
  if (scale < 65504) scale = std::max(static_cast<float>(float16::from(scale)), 0x1p-24f);
  return {scale, symmetric ? 8 : std::clamp(-std::nearbyint(least / scale), 0.0f, 15.0f)};
}

}  // namespace

bool Hessian::add(Context& ctx, const Tensor& x) {
  const int64_t K = columns(), N = x.numel() / K;
  const float* p = x.data<float>();
  float odd = 0;
  for (int64_t i = 0; i < N * K; ++i) odd += p[i] * 0;
  if (odd != 0) return false;
  ops::detail::multiply(ctx, sums_.data<float>(), p, p, DType::F32, true, false, K, K, N, true);
  rows_ += N;
  return true;
}

Tensor Hessian::matrix() const {
  Tensor h = sums_.clone();
  for (int64_t i = 0; i < h.numel(); ++i) h.data<float>()[i] *= 2 / static_cast<float>(std::max<int64_t>(rows_, 1));
  return h;
}

GptqResult gptq(Context& ctx, const Tensor& w, const Hessian& hessian, const GptqOptions& o) {
  check(w.defined() && w.rank() == 2 && w.dtype() == DType::F32 && w.size(1) == hessian.columns(), ErrorCode::Shape, "gptq",
        "expected (N, ", hessian.columns(), ") float32, got ", w.describe());
  const int64_t N = w.size(0), K = w.size(1), group = std::min(o.group, K), G = (K + group - 1) / group;
  check(group > 0, ErrorCode::Shape, "gptq", "group: expected 1 or more, got ", o.group);
  check(hessian.rows() > 0, ErrorCode::Limit, "gptq", "expected inputs of the layer, got none");
  check(o.damp_percent > 0 && o.damp_percent < 1, ErrorCode::Limit, "gptq", "damp_percent: expected between 0 and 1, got ", o.damp_percent);
  const Tensor given = hessian.matrix();
  const float* h0 = given.data<float>();

  std::vector<int64_t> order(static_cast<size_t>(K));
  std::iota(order.begin(), order.end(), int64_t{0});
  if (o.desc_act) std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return h0[a * K + a] > h0[b * K + b]; });

  Matrix h(K, K), u;
  Tensor work = Tensor::empty({N, K}, DType::F32);
  float* left = work.data<float>();  // the weights, with what earlier columns lost
  double mean = 0;
  for (int64_t i = 0; i < K; ++i) mean += static_cast<double>(h0[i * K + i]) / static_cast<double>(K);
  for (int64_t i = 0; i < K; ++i)
    for (int64_t j = 0; j < K; ++j) h(i, j) = h0[order[static_cast<size_t>(i)] * K + order[static_cast<size_t>(j)]];
  for (int64_t n = 0; n < N; ++n)
    for (int64_t k = 0; k < K; ++k) left[n * K + k] = w.data<float>()[n * K + order[static_cast<size_t>(k)]];
  for (int64_t k = 0; k < K; ++k)
    if (h(k, k) == 0) {  // a channel that is always zero: its weights do not matter
      h(k, k) = 1;
      for (int64_t n = 0; n < N; ++n) left[n * K + k] = 0;
    }
  GptqResult result;
  result.damp_percent = o.damp_percent;
  const Eigen::VectorXf diagonal = h.diagonal();
  for (int tries = 0;; ++tries) {
    h.diagonal() = diagonal.array() + static_cast<float>(std::max(mean, 1e-12) * result.damp_percent);
    if (inverse_factor(h, u)) break;
    check(tries < 3, ErrorCode::Limit, "gptq", "the Hessian of the inputs cannot be inverted, not even with ", 100 * result.damp_percent,
          " % of damping");
    result.damp_percent *= 10;
  }
  h.resize(0, 0);

  quant::QuantizedMatrix& m = result.matrix;
  m = {WeightFormat::Int4,
       N,
       K,
       group,
       Tensor::zeros({N, (K + 1) / 2}, DType::U8),
       Tensor::empty({N, G}, DType::F32),
       Tensor::empty({N, G}, DType::U8),
       {}};
  if (o.desc_act) m.order = order;
  uint8_t *q = m.q.data<uint8_t>(), *zeros = m.zero.data<uint8_t>();
  float* scales = m.scale.data<float>();
  constexpr int64_t kBlock = 128;
  for (int64_t k0 = 0; k0 < K; k0 += kBlock) {
    const int64_t k1 = std::min(k0 + kBlock, K), width = k1 - k0;
    Tensor lost = ctx.empty({N, width}, DType::F32);
    float* e = lost.data<float>();
    ctx.over_rows(N, 4 * width * width, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        float* row = left + n * K;
        for (int64_t k = k0; k < k1; ++k) {
          const int64_t g = k / group;
          if (k % group == 0) {
            const Grid grid = grid_of(row + k, std::min(group, K - k), o.symmetric);
            scales[n * G + g] = grid.scale, zeros[n * G + g] = static_cast<uint8_t>(grid.zero);
          }
          const float scale = scales[n * G + g], zero = zeros[n * G + g];
          const float code = std::clamp(std::nearbyint(row[k] / scale) + zero, 0.0f, 15.0f);
          uint8_t& byte = q[n * ((K + 1) / 2) + k / 2];
          byte = static_cast<uint8_t>(byte | (static_cast<int>(code) << (k % 2 ? 4 : 0)));
          const float error = (row[k] - (code - zero) * scale) / u(k, k);
          e[n * width + k - k0] = error;
          for (int64_t j = k + 1; j < k1; ++j) row[j] -= error * u(k, j);
        }
      }
    });
    if (k1 == K) break;
    Tensor rest = ctx.empty({width, K - k1}, DType::F32);
    for (int64_t i = 0; i < width; ++i) std::copy_n(u.data() + (k0 + i) * K + k1, K - k1, rest.data<float>() + i * (K - k1));
    const Tensor change = ops::detail::product_of(ctx, lost, rest, false, false, N, K - k1, width);
    for (int64_t n = 0; n < N; ++n)
      for (int64_t k = k1; k < K; ++k) left[n * K + k] -= change.data<float>()[n * (K - k1) + k - k1];
  }
  return result;
}

}  // namespace tenon::compress
