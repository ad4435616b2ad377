// Kernels of optimisers whose state is smaller than the parameter: AdamW in 8 bits, Adafactor.
#pragma once

#include "bodies/training.h"

namespace tenon::cuda {

/// One element's step of AdamW; p, m and v change.
TENON_BODY void adamw_element(const AdamWCall& c, float& p, float& m, float& v, float g) {
  float d = g * c.grad_scale;
  if (c.decay_gradient) d += c.weight_decay * p;
  else p -= c.lr * c.weight_decay * p;
  m = c.beta1 * m + (1 - c.beta1) * d;
  v = c.beta2 * v + (1 - c.beta2) * d * d;
  p -= c.lr * (m / c.correction1) / (sqrtf(v / c.correction2) + c.eps);
}

/// The nearest of 256 rising numbers, the lower of two equally near. Without a sign (the first is 0) only what is nothing becomes 0.
TENON_BODY uint8_t nearest_number(const float* numbers, float x) {
  int low = numbers[0] == 0 && x >= 0x1p-133f ? 1 : 0, high = 255;  // the first code in [low, 255] above which no middle lies below x
  while (low < high) {
    const int middle = (low + high) / 2;
    if (x > (numbers[middle] + numbers[middle + 1]) / 2) low = middle + 1;
    else high = middle;
  }
  return static_cast<uint8_t>(low);
}

/// A block of threads to a block of 256 elements.
struct AdamW8Body {
  static constexpr int kThreads = 256;
  static constexpr size_t kShared = 2 * 256 * sizeof(float);
  AdamW8Call c;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    float *m_numbers = reinterpret_cast<float*>(block.shared), *v_numbers = m_numbers + 256;
    Lanes<float, Block> m(block), v(block), m_size(block), v_size(block);
    const int64_t first = block.index * kThreads;
    block.each([&](int t) {
      m_numbers[t] = c.m_numbers[t], v_numbers[t] = c.v_numbers[t];
    });
    block.each([&](int t) {
      m_size[t] = v_size[t] = 0;
      const int64_t i = first + t;
      if (i >= c.step.n) return;
      m[t] = m_numbers[c.m[i]] * c.m_largest[block.index], v[t] = v_numbers[c.v[i]] * c.v_largest[block.index];
      float p = c.step.p[i];
      adamw_element(c.step, p, m[t], v[t], c.step.g[i]);
      c.step.p[i] = p;
      m_size[t] = fmaxf(0.0f, fabsf(m[t])), v_size[t] = fmaxf(0.0f, fabsf(v[t]));
    });
    const float m_largest = block.max(m_size), v_largest = block.max(v_size);
    // Below this the inverse would be infinite; the block counts as zeros.
    const float m_inverse = m_largest > 1e-38f ? 1 / m_largest : 0, v_inverse = v_largest > 1e-38f ? 1 / v_largest : 0;
    block.each([&](int t) {
      if (t == 0) c.m_largest[block.index] = m_inverse > 0 ? m_largest : 0, c.v_largest[block.index] = v_inverse > 0 ? v_largest : 0;
      const int64_t i = first + t;
      if (i >= c.step.n) return;
      c.m[i] = nearest_number(m_numbers, m[t] * m_inverse), c.v[i] = nearest_number(v_numbers, v[t] * v_inverse);
    });
  }
};

/// What the kernels of one Adafactor step share, all of it on the device.
struct AdafactorScratch {
  float* partial = nullptr;               // (count, row blocks, columns) sums of g^2 over kRows rows
  float *down = nullptr, *across = nullptr;  // (count, rows), (count, columns): g * down * across is the step before it is clipped
  double *size = nullptr, *squares = nullptr;  // the sum of p^2, and of the steps' squares
  int64_t row_blocks = 0, n = 0;
};
constexpr int64_t kAdafactorRows = 64;

/// Block r: the mean of row r.
struct AdafactorRowBody {
  AdafactorCall c;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    Lanes<double, Block> part(block);
    const float* g = c.g + block.index * c.columns;
    block.each([&](int t) {
      double sum = 0;
      for (int64_t j = t; j < c.columns; j += block.threads) sum += static_cast<double>(g[j]) * g[j];
      part[t] = sum;
    });
    const double sum = block.sum(part);
    block.each([&](int t) {
      if (t != 0) return;
      const double mean = static_cast<double>(c.grad_scale) * c.grad_scale * sum / static_cast<double>(c.columns) + c.eps1;
      c.row[block.index] = static_cast<float>(c.keep * static_cast<double>(c.row[block.index]) + (1 - static_cast<double>(c.keep)) * mean);
    });
  }
};

/// Item i: one column of kAdafactorRows rows.
struct AdafactorPartialBody {
  AdafactorCall c;
  AdafactorScratch s;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t j = i % c.columns, part = i / c.columns % s.row_blocks, k = i / (c.columns * s.row_blocks);
    const int64_t begin = part * kAdafactorRows, end = begin + kAdafactorRows < c.rows ? begin + kAdafactorRows : c.rows;
    float sum = 0;
    for (int64_t r = begin; r < end; ++r) {
      const float g = c.g[(k * c.rows + r) * c.columns + j];
      sum += g * g;
    }
    s.partial[i] = sum;
  }
};

/// Item i: one column's mean, and its factor.
struct AdafactorColumnBody {
  AdafactorCall c;
  AdafactorScratch s;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t j = i % c.columns, k = i / c.columns;
    double sum = 0;
    for (int64_t part = 0; part < s.row_blocks; ++part) sum += static_cast<double>(s.partial[(k * s.row_blocks + part) * c.columns + j]);
    const double mean = static_cast<double>(c.grad_scale) * c.grad_scale * sum / static_cast<double>(c.rows) + c.eps1;
    c.column[i] = static_cast<float>(c.keep * static_cast<double>(c.column[i]) + (1 - static_cast<double>(c.keep)) * mean);
    s.across[i] = 1 / sqrtf(c.column[i]);
  }
};

/// Block k: the factors of matrix k's rows.
struct AdafactorDownBody {
  AdafactorCall c;
  AdafactorScratch s;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    Lanes<double, Block> part(block);
    const float* row = c.row + block.index * c.rows;
    block.each([&](int t) {
      double sum = 0;
      for (int64_t i = t; i < c.rows; i += block.threads) sum += static_cast<double>(row[i]);
      part[t] = sum;
    });
    const double mean = block.sum(part) / static_cast<double>(c.rows);
    block.each([&](int t) {
      for (int64_t i = t; i < c.rows; i += block.threads)
        s.down[block.index * c.rows + i] = static_cast<float>(static_cast<double>(c.grad_scale) / sqrt(static_cast<double>(row[i]) / mean));
    });
  }
};

/// Item i of a vector: its second moment.
struct AdafactorVectorBody {
  AdafactorCall c;
  TENON_BODY void operator()(int64_t i) const {
    const float d = c.g[i] * c.grad_scale;
    c.column[i] = c.keep * c.column[i] + (1 - c.keep) * (d * d + c.eps1);
  }
};

/// The step of element i before it is clipped.
TENON_BODY float adafactor_direction(const AdafactorCall& c, const AdafactorScratch& s, int64_t i) {
  if (c.rows == 0) return c.g[i] * c.grad_scale / sqrtf(c.column[i]);
  const int64_t row = i / c.columns;
  return c.g[i] * (s.down[row] * s.across[row / c.rows * c.columns + (i - row * c.columns)]);
}

/// partial[block] = the block's share of the steps' squares.
struct AdafactorSquaresBody {
  AdafactorCall c;
  AdafactorScratch s;
  double* partial;
  int64_t blocks;
  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    Lanes<double, Block> part(block);
    block.each([&](int t) {
      double sum = 0;
      for (int64_t i = block.index * block.threads + t; i < s.n; i += blocks * block.threads) {
        const double u = static_cast<double>(adafactor_direction(c, s, i));
        sum += u * u;
      }
      part[t] = sum;
    });
    const double sum = block.sum(part);
    block.each([&](int t) {
      if (t == 0) partial[block.index] = sum;
    });
  }
};

/// Item i: p's step.
struct AdafactorStepBody {
  AdafactorCall c;
  AdafactorScratch s;
  TENON_BODY void operator()(int64_t i) const {
    const double n = static_cast<double>(s.n);
    double lr = static_cast<double>(c.lr);
    if (c.least_size > 0) lr *= fmax(static_cast<double>(c.least_size), sqrt(*s.size / n));
    const auto rate = static_cast<float>(lr / fmax(1.0, sqrt(*s.squares / n) / static_cast<double>(c.clip_threshold)));
    float u = adafactor_direction(c, s, i) * rate;
    if (c.average) u = c.average[i] = c.beta1 * c.average[i] + (1 - c.beta1) * u;
    c.p[i] -= static_cast<float>(static_cast<double>(c.weight_decay) * lr) * c.p[i] + u;
  }
};

}  // namespace tenon::cuda
