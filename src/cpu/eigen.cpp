// The portable matmul entries, over Eigen: used where oneDNN is absent, and for what it cannot do. Weights stay as ref packs them.
//
// Everything is computed in float32: bf16 weights are widened a block of columns at a time, bf16 activations once. Int8 is a plain
// loop of integers, which compilers vectorise.
#include <Eigen/Core>
#include <algorithm>
#include <vector>

#include "cpu/fillers.h"
#include "cpu/ref.h"
#include "tenon/core/parallel.h"

namespace tenon {
namespace {

template <int kOrder>
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, kOrder>;
template <int kOrder>
using View = Eigen::Map<const Matrix<kOrder>>;
using Rows = Eigen::Map<Matrix<Eigen::RowMajor>>;

constexpr int64_t kColumns = 64;    // of y that a thread finishes together
constexpr int64_t kTileRows = 128;  // so that a tile of 32 KB is still in a cache when its epilogue reads it

size_t aligned(int64_t bytes) { return (static_cast<size_t>(bytes) + 63) / 64 * 64; }
int64_t blocks(const LinearCall& c) { return (c.N + kColumns - 1) / kColumns; }
int64_t workers(const LinearCall& c) { return std::clamp<int64_t>(c.threads, 1, blocks(c)); }

/// scratch: x in the form that is multiplied | its row scales (int8) | for each worker a tile of y and a block of widened weights
struct Scratch {
  size_t x = 0, scales = 0, tile = aligned(kTileRows * kColumns * 4), weights = 0;
  explicit Scratch(const LinearCall& c) {
    if (c.format == WeightFormat::Int8) {
      x = aligned(c.M * c.K);
      scales = aligned(c.M * 4);
    } else if (c.type != DType::F32) {
      x = aligned(c.M * c.K * 4);
    }
    if (c.format == WeightFormat::BF16) weights = aligned(kColumns * c.K * 4);
  }
  size_t worker() const { return tile + weights; }
};

bool grouped(const LinearCall& c) { return c.format == WeightFormat::Int4 || c.format == WeightFormat::Fp8; }

size_t linear_scratch(const LinearCall& c) {
  if (grouped(c)) return ref_kernels().linear_scratch(c);
  const Scratch s(c);
  return s.x + s.scales + s.worker() * static_cast<size_t>(workers(c));
}

int32_t dot(const int8_t* x, const int8_t* w, int64_t K) {
  int32_t sum = 0;
  for (int64_t k = 0; k < K; ++k) sum += static_cast<int16_t>(x[k]) * static_cast<int16_t>(w[k]);
  return sum;
}

/// The tile is (rows, n), row after row without gaps: finishes it and writes it to y.
void finish(const LinearCall& c, float* tile, int64_t first_row, int64_t rows, int64_t first, int64_t n) {
  const Kernels& k = cpu_kernels();
  Rows t(tile, rows, n);
  if (c.bias) t.rowwise() += Eigen::Map<const Eigen::RowVectorXf>(c.bias + first, n);
  if (c.act != Activation::None) k.activation(tile, tile, rows * n, c.act, DType::F32);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = (first_row + r) * c.N + first;
    float* row = tile + r * n;
    if (c.type == DType::F32) {
      const float* residual = static_cast<const float*>(c.residual);
      float* y = static_cast<float*>(c.y) + at;
      for (int64_t i = 0; i < n; ++i) y[i] = residual ? row[i] + residual[at + i] : row[i];
    } else {
      const auto* residual = static_cast<const bfloat16*>(c.residual);
      for (int64_t i = 0; residual && i < n; ++i) row[i] += residual[at + i];
      k.cast(static_cast<bfloat16*>(c.y) + at, c.type, row, DType::F32, n);
    }
  }
}

/// Columns [first, first + n) of y. x is float32, or int8 with its row scales.
void linear_block(const LinearCall& c, const void* x, const float* x_scale, int64_t first, int64_t n, float* tile, float* widened) {
  const float* w = static_cast<const float*>(c.w) + first * c.K;
  if (c.format == WeightFormat::BF16) {
    cpu_kernels().cast(widened, DType::F32, static_cast<const bfloat16*>(c.w) + first * c.K, DType::BF16, n * c.K);
    w = widened;
  }
  for (int64_t m = 0; m < c.M; m += kTileRows) {
    const int64_t rows = std::min(kTileRows, c.M - m);
    if (c.format == WeightFormat::Int8) {
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < n; ++i)
          tile[r * n + i] = static_cast<float>(dot(static_cast<const int8_t*>(x) + (m + r) * c.K,
                                                   static_cast<const int8_t*>(c.w) + (first + i) * c.K, c.K)) *
                            (x_scale[m + r] * c.w_scale[first + i]);
    } else {
      Rows(tile, rows, n).noalias() =
          View<Eigen::RowMajor>(static_cast<const float*>(x) + m * c.K, rows, c.K) * View<Eigen::RowMajor>(w, n, c.K).transpose();
    }
    finish(c, tile, m, rows, first, n);
  }
}

void linear(const LinearCall& c) {
  if (c.M <= 0 || c.N <= 0) return;
  if (grouped(c)) return ref_kernels().linear(c);
  for (int64_t i = 0; i < c.num_blocks; ++i) linear(block_call(c, c.blocks[i]));
  if (c.blocks) return;
  const Kernels& k = cpu_kernels();
  const Scratch s(c);
  char* scratch = static_cast<char*>(c.scratch);
  const void* x = s.x ? scratch : c.x;
  float* x_scale = reinterpret_cast<float*>(scratch + s.x);
  if (s.x)
    parallel_for(c.threads, c.M, 1, [&](int64_t begin, int64_t end) {
      const void* from = static_cast<const char*>(c.x) + begin * c.K * static_cast<int64_t>(size_of(c.type));
      if (c.format == WeightFormat::Int8)
        k.quantize_rows(reinterpret_cast<int8_t*>(scratch) + begin * c.K, x_scale + begin, from, end - begin, c.K, c.type);
      else
        k.cast(reinterpret_cast<float*>(scratch) + begin * c.K, DType::F32, from, c.type, (end - begin) * c.K);
    });
  const int64_t n_workers = workers(c), n_blocks = blocks(c);
  parallel_for(static_cast<int>(n_workers), n_workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) {
      char* own = scratch + s.x + s.scales + static_cast<size_t>(worker) * s.worker();
      for (int64_t b = worker; b < n_blocks; b += n_workers)
        linear_block(c, x, x_scale, b * kColumns, std::min(kColumns, c.N - b * kColumns), reinterpret_cast<float*>(own),
                     reinterpret_cast<float*>(own + s.tile));
    }
  });
}

// --- matmul ------------------------------------------------------------------------------------------------------------------------

/// A factor as float32: itself, or a widened copy.
class Factor {
 public:
  Factor(const void* p, DType type, int64_t n) : data_(static_cast<const float*>(p)) {
    if (type == DType::F32) return;
    copy_.resize(static_cast<size_t>(n));
    cpu_kernels().cast(copy_.data(), DType::F32, p, type, n);
    data_ = copy_.data();
  }
  const float* data() const { return data_; }

 private:
  std::vector<float> copy_;
  const float* data_;
};

/// Rows [begin, end) of c. A transposed factor is one stored by columns.
template <int kOrderA, int kOrderB>
void matmul_rows(const MatmulCall& c, const float* a, const float* b, int64_t begin, int64_t end) {
  const auto part = View<kOrderA>(a, c.M, c.K).middleRows(begin, end - begin);
  const View<kOrderB> right(b, c.K, c.N);
  const int64_t n = (end - begin) * c.N;
  if (c.c_type == DType::F32) {
    Rows out(static_cast<float*>(c.c) + begin * c.N, end - begin, c.N);
    if (c.accumulate)
      out.noalias() += part * right;
    else
      out.noalias() = part * right;
    return;
  }
  bfloat16* out = static_cast<bfloat16*>(c.c) + begin * c.N;
  std::vector<float> sum(static_cast<size_t>(n));
  if (c.accumulate) cpu_kernels().cast(sum.data(), DType::F32, out, DType::BF16, n);
  Rows(sum.data(), end - begin, c.N).noalias() += part * right;
  cpu_kernels().cast(out, DType::BF16, sum.data(), DType::F32, n);
}

void matmul(const MatmulCall& c) {
  if (c.M <= 0 || c.N <= 0) return;
  const Factor a(c.a, c.type, c.M * c.K), b(c.b, c.type, c.K * c.N);
  constexpr auto kRow = Eigen::RowMajor, kColumn = Eigen::ColMajor;
  const auto rows = c.trans_a ? (c.trans_b ? matmul_rows<kColumn, kColumn> : matmul_rows<kColumn, kRow>)
                              : (c.trans_b ? matmul_rows<kRow, kColumn> : matmul_rows<kRow, kRow>);
  const int threads = c.M * c.N * c.K < (1 << 16) ? 1 : c.threads;
  parallel_for(threads, c.M, 8, [&](int64_t begin, int64_t end) { rows(c, a.data(), b.data(), begin, end); });
}

}  // namespace

void fill_eigen(Kernels& k) {
  k.linear_scratch = linear_scratch;
  k.linear = linear;
  k.matmul = matmul;
}

}  // namespace tenon
