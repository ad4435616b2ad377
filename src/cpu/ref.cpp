// The ref table and its kernels over rows.
#include "cpu/ref.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "cpu/scalar.h"

namespace tenon {
namespace {

using scalar::load;
using scalar::store;
using scalar::with_float;

void layer_norm(void* y, const void* x, const float* w, const float* b, float* mean, float* rstd, int64_t N, int64_t C, float eps,
                DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    for (int64_t n = 0; n < N; ++n) {
      const E* x_n = static_cast<const E*>(x) + n * C;
      E* y_n = static_cast<E*>(y) + n * C;
      double sum = 0, squares = 0;
      for (int64_t c = 0; c < C; ++c) sum += load(x_n + c);
      const double m = sum / static_cast<double>(C);
      for (int64_t c = 0; c < C; ++c) squares += (load(x_n + c) - m) * (load(x_n + c) - m);
      const double r = 1 / std::sqrt(squares / static_cast<double>(C) + eps);
      for (int64_t c = 0; c < C; ++c) store(y_n + c, static_cast<float>((load(x_n + c) - m) * r * w[c] + b[c]));
      if (mean) mean[n] = static_cast<float>(m);
      if (rstd) rstd[n] = static_cast<float>(r);
    }
  });
}

void layer_norm_backward(float* dx, float* dw, float* db, const float* dy, const float* x, const float* w, const float* mean,
                         const float* rstd, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N; ++n) {
    const float *x_n = x + n * C, *dy_n = dy + n * C;
    float* dx_n = dx + n * C;
    double sum_g = 0, sum_gx = 0;  // g = dy * w, the gradient of the normalised row
    for (int64_t c = 0; c < C; ++c) {
      const float xhat = (x_n[c] - mean[n]) * rstd[n];
      sum_g += dy_n[c] * w[c];
      sum_gx += dy_n[c] * w[c] * xhat;
      dw[c] += dy_n[c] * xhat;
      db[c] += dy_n[c];
    }
    const float mean_g = static_cast<float>(sum_g / static_cast<double>(C)), mean_gx = static_cast<float>(sum_gx / static_cast<double>(C));
    for (int64_t c = 0; c < C; ++c) {
      const float xhat = (x_n[c] - mean[n]) * rstd[n];
      dx_n[c] = rstd[n] * (dy_n[c] * w[c] - mean_g - xhat * mean_gx);
    }
  }
}

void rms_norm(void* y, const void* x, const float* w, float* rstd, int64_t N, int64_t C, float eps, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    for (int64_t n = 0; n < N; ++n) {
      const E* x_n = static_cast<const E*>(x) + n * C;
      E* y_n = static_cast<E*>(y) + n * C;
      double squares = 0;
      for (int64_t c = 0; c < C; ++c) squares += static_cast<double>(load(x_n + c)) * load(x_n + c);
      const double r = 1 / std::sqrt(squares / static_cast<double>(C) + eps);
      for (int64_t c = 0; c < C; ++c) store(y_n + c, static_cast<float>(load(x_n + c) * r * w[c]));
      if (rstd) rstd[n] = static_cast<float>(r);
    }
  });
}

/// With xhat = x rstd and g = dy w: dx = rstd (g - xhat mean(g xhat)).
void rms_norm_backward(float* dx, float* dw, const float* dy, const float* x, const float* w, const float* rstd, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N; ++n, dx += C, dy += C, x += C) {
    double sum = 0;
    for (int64_t c = 0; c < C; ++c) {
      const float xhat = x[c] * rstd[n];
      sum += static_cast<double>(dy[c]) * w[c] * xhat;
      dw[c] += dy[c] * xhat;
    }
    const float mean = static_cast<float>(sum / static_cast<double>(C));
    for (int64_t c = 0; c < C; ++c) dx[c] = rstd[n] * (dy[c] * w[c] - x[c] * rstd[n] * mean);
  }
}

void rope(void* y, const void* x, const float* cos, const float* sin, int64_t N, int64_t H, int64_t ld, int64_t stride, int64_t R,
          bool interleaved, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    for (int64_t n = 0; n < N; ++n)
      for (int64_t h = 0; h < H; ++h)
        for (int64_t i = 0; i < R / 2; ++i) {
          const int64_t head = n * ld + h * stride, first = head + (interleaved ? 2 * i : i), second = head + (interleaved ? 2 * i + 1 : i + R / 2);
          const float a = load(static_cast<const E*>(x) + first), b = load(static_cast<const E*>(x) + second);
          const float c = cos[n * (R / 2) + i], s = sin[n * (R / 2) + i];
          store(static_cast<E*>(y) + first, a * c - b * s);
          store(static_cast<E*>(y) + second, b * c + a * s);
        }
  });
}

void combine_rows(void* y, const void* x, const int64_t* index, const float* weight, int64_t N, int64_t K, int64_t C, bool accumulate,
                  DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    for (int64_t n = 0; n < N; ++n)
      for (int64_t c = 0; c < C; ++c) {
        E* to = static_cast<E*>(y) + n * C + c;
        float sum = accumulate ? load(to) : 0.0f;
        for (int64_t k = 0; k < K; ++k)
          if (index[n * K + k] >= 0) sum += weight[n * K + k] * load(static_cast<const E*>(x) + index[n * K + k] * C + c);
        store(to, sum);
      }
  });
}

void softmax(float* y, const float* x, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N; ++n, x += C, y += C) {
    const float largest = C ? *std::max_element(x, x + C) : 0;
    double sum = 0;
    for (int64_t c = 0; c < C; ++c) sum += y[c] = std::exp(x[c] - largest);
    const float inverse = static_cast<float>(1 / sum);
    for (int64_t c = 0; c < C; ++c) y[c] *= inverse;
  }
}

void softmax_backward(float* dx, const float* dy, const float* y, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N; ++n, dx += C, dy += C, y += C) {
    double sum = 0;
    for (int64_t c = 0; c < C; ++c) sum += dy[c] * y[c];
    for (int64_t c = 0; c < C; ++c) dx[c] = y[c] * (dy[c] - static_cast<float>(sum));
  }
}

void cross_entropy(float* loss, float* d, const float* logits, const int64_t* labels, int64_t N, int64_t C, int64_t ignore,
                   float smoothing) {
  for (int64_t n = 0; n < N; ++n) {
    const float* x = logits + n * C;
    if (labels[n] == ignore) {
      loss[n] = 0;
      if (d) std::fill_n(d + n * C, C, 0.0f);
      continue;
    }
    const double largest = *std::max_element(x, x + C);
    double sum = 0, total = 0;
    for (int64_t c = 0; c < C; ++c) sum += std::exp(x[c] - largest), total += x[c];
    const double log_sum = largest + std::log(sum), mean = total / static_cast<double>(C);
    // s * 0 must stay 0 when a logit is -inf
    loss[n] = static_cast<float>((1 - smoothing) * (log_sum - x[labels[n]]) + (smoothing > 0 ? smoothing * (log_sum - mean) : 0));
    if (!d) continue;
    for (int64_t c = 0; c < C; ++c)
      d[n * C + c] =
          static_cast<float>(std::exp(x[c] - log_sum)) - (c == labels[n] ? 1 - smoothing : 0) - smoothing / static_cast<float>(C);
  }
}

void l2_normalize(float* y, float* norm, const float* x, int64_t N, int64_t C, float eps) {
  for (int64_t n = 0; n < N; ++n, x += C, y += C) {
    double squares = 0;
    for (int64_t c = 0; c < C; ++c) squares += static_cast<double>(x[c]) * x[c];
    const float length = static_cast<float>(std::sqrt(squares)), divisor = std::max(length, eps);
    for (int64_t c = 0; c < C; ++c) y[c] = x[c] / divisor;
    if (norm) norm[n] = length;
  }
}

void gather_rows(void* y, DType y_type, const void* table, DType table_type, const int64_t* index, int64_t N, int64_t C, bool accumulate) {
  with_float(y_type, [&](auto* y_tag) {
    with_float(table_type, [&](auto* table_tag) {
      using Y = std::remove_pointer_t<decltype(y_tag)>;
      using Table = std::remove_pointer_t<decltype(table_tag)>;
      for (int64_t n = 0; n < N; ++n) {
        Y* y_n = static_cast<Y*>(y) + n * C;
        const Table* row = static_cast<const Table*>(table) + index[n] * C;
        for (int64_t c = 0; c < C; ++c) store(y_n + c, load(row + c) + (accumulate ? load(y_n + c) : 0.0f));
      }
    });
  });
}

void scatter_add_rows(float* table, const float* dy, const int64_t* index, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < C; ++c) table[index[n] * C + c] += dy[n * C + c];
}

void sum_rows(float* sum, const float* x, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < C; ++c) sum[c] += x[n * C + c];
}

int8_t coded(float v, const int8_t*) {
  v = std::nearbyint(v);
  return v >= -127 && v <= 127 ? static_cast<int8_t>(v) : int8_t{0};  // outside only for a NaN
}
float8 coded(float v, const float8*) { return {float_to_f8e4m3(v)}; }

template <class Code, int kLimit>
void quantize_to(Code* q, float* scale, const void* x, int64_t N, int64_t C, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    for (int64_t n = 0; n < N; ++n) {
      const E* x_n = static_cast<const E*>(x) + n * C;
      float largest = 0;
      for (int64_t c = 0; c < C; ++c) largest = std::max(largest, std::fabs(load(x_n + c)));
      scale[n] = largest / kLimit > 0 ? largest / kLimit : 1;
      for (int64_t c = 0; c < C; ++c) q[n * C + c] = coded(load(x_n + c) / scale[n], q);
    }
  });
}

}  // namespace

void fill_ref_rows(Kernels& k) {
  k.layer_norm = layer_norm;
  k.layer_norm_backward = layer_norm_backward;
  k.rms_norm = rms_norm;
  k.rms_norm_backward = rms_norm_backward;
  k.rope = rope;
  k.combine_rows = combine_rows;
  k.softmax = softmax;
  k.softmax_backward = softmax_backward;
  k.cross_entropy = cross_entropy;
  k.l2_normalize = l2_normalize;
  k.gather_rows = gather_rows;
  k.scatter_add_rows = scatter_add_rows;
  k.sum_rows = sum_rows;
  k.quantize_rows = quantize_to<int8_t, 127>;
  k.quantize_rows_fp8 = quantize_to<float8, 448>;
}

const Kernels& ref_kernels() {
  static const Kernels kernels = [] {
    Kernels k{};
    k.name = "ref";
    fill_ref_matmul(k);
    fill_ref_fp8(k);
    fill_ref_sparse(k);
    fill_ref_experts(k);
    fill_ref_attention(k);
    fill_ref_training(k);
    fill_ref_optim(k);
    fill_ref_rows(k);
    fill_ref_parts(k);
    fill_ref_elements(k);
    fill_ref_arrays(k);
    return k;
  }();
  return kernels;
}

}  // namespace tenon
