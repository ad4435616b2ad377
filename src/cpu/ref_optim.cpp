// The ref kernels of optimisers whose state is smaller than the parameter: AdamW in 8 bits, Adafactor.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/ref.h"

namespace tenon {
namespace {

constexpr int64_t kQuantBlock = 256;

/// The nearest of 256 rising numbers, the lower of two equally near. Without a sign (the first is 0) only what is nothing becomes 0.
uint8_t nearest(const float* numbers, float x) {
  int code = numbers[0] == 0 && x >= 0x1p-133f ? 1 : 0;
  while (code < 255 && x > (numbers[code] + numbers[code + 1]) / 2) ++code;
  return static_cast<uint8_t>(code);
}

/// Rounds x to codes; returns the magnitude that they are relative to, 0 for a block whose inverse would be infinite.
float round_block(uint8_t* codes, const float* x, int64_t n, const float* numbers) {
  float largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float inverse = largest > 1e-38f ? 1 / largest : 0;
  for (int64_t i = 0; i < n; ++i) codes[i] = nearest(numbers, x[i] * inverse);
  return inverse > 0 ? largest : 0;
}

void adamw8(const AdamW8Call& call) {
  AdamWCall c = call.step;
  const int64_t n = c.n;
  float m[kQuantBlock], v[kQuantBlock];
  for (int64_t block = 0; block * kQuantBlock < n; ++block, c.p += kQuantBlock, c.g += kQuantBlock) {
    uint8_t *m_codes = call.m + block * kQuantBlock, *v_codes = call.v + block * kQuantBlock;
    c.m = m, c.v = v, c.vmax = nullptr;
    c.n = std::min(kQuantBlock, n - block * kQuantBlock);
    for (int64_t i = 0; i < c.n; ++i) {
      m[i] = call.m_numbers[m_codes[i]] * call.m_largest[block];
      v[i] = call.v_numbers[v_codes[i]] * call.v_largest[block];
    }
    ref_kernels().adamw(c);
    call.m_largest[block] = round_block(m_codes, m, c.n, call.m_numbers);
    call.v_largest[block] = round_block(v_codes, v, c.n, call.v_numbers);
  }
}

void adafactor(const AdafactorCall& c) {
  const int64_t rows = c.rows, columns = c.columns, n = rows ? c.count * rows * columns : columns;
  if (n == 0) return;
  double lr = c.lr;
  if (c.least_size > 0) {
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(c.p[i]) * c.p[i];
    lr *= std::max(static_cast<double>(c.least_size), std::sqrt(squares / static_cast<double>(n)));
  }
  const double fresh = 1 - static_cast<double>(c.keep);
  std::vector<double> u(static_cast<size_t>(n));  // the step before it is clipped
  for (int64_t k = 0; k < (rows ? c.count : 0); ++k) {
    const float* g = c.g + k * rows * columns;
    std::vector<double> across(static_cast<size_t>(columns));
    double mean = 0;
    for (int64_t i = 0; i < rows; ++i) {
      double along = 0;
      for (int64_t j = 0; j < columns; ++j) {
        const double d = static_cast<double>(g[i * columns + j]) * c.grad_scale;
        along += d * d, across[static_cast<size_t>(j)] += d * d;
      }
      float& average = c.row[k * rows + i];
      average = static_cast<float>(c.keep * average + fresh * (along / static_cast<double>(columns) + c.eps1));
      mean += average / static_cast<double>(rows);
    }
    for (int64_t j = 0; j < columns; ++j) {
      float& average = c.column[k * columns + j];
      average = static_cast<float>(c.keep * average + fresh * (across[static_cast<size_t>(j)] / static_cast<double>(rows) + c.eps1));
    }
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        u[static_cast<size_t>((k * rows + i) * columns + j)] =
            g[i * columns + j] * (c.grad_scale / std::sqrt(c.row[k * rows + i] / mean)) / std::sqrt(static_cast<double>(c.column[k * columns + j]));
  }
  for (int64_t i = 0; i < (rows ? 0 : n); ++i) {
    const double d = static_cast<double>(c.g[i]) * c.grad_scale;
    c.column[i] = static_cast<float>(c.keep * c.column[i] + fresh * (d * d + c.eps1));
    u[static_cast<size_t>(i)] = d / std::sqrt(static_cast<double>(c.column[i]));
  }
  double squares = 0;
  for (const double x : u) squares += x * x;
  const double rate = lr / std::max(1.0, std::sqrt(squares / static_cast<double>(n)) / c.clip_threshold);
  for (int64_t i = 0; i < n; ++i) {
    auto x = static_cast<float>(u[static_cast<size_t>(i)] * rate);
    if (c.average) x = c.average[i] = c.beta1 * c.average[i] + (1 - c.beta1) * x;
    c.p[i] -= static_cast<float>(c.weight_decay * lr) * c.p[i] + x;
  }
}

}  // namespace

void fill_ref_optim(Kernels& k) {
  k.adamw8 = adamw8;
  k.adafactor = adafactor;
}

}  // namespace tenon
