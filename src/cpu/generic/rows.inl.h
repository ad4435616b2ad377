// Kernels over rows: norms, softmax, losses, gathers, quantisation. Included inside the unnamed namespace of a file compiled for one
// instruction set. A row's result does not depend on its place in the batch.

template <class E>
inline void layer_norm_row(E* y, const E* x, const float* w, const float* b, float* mean, float* rstd, int64_t C, float eps) {
  const float inverse = 1.0f / static_cast<float>(C);
  const float m = sum_lanes(C, [&](int64_t i, auto part) { return load(x + i, part); }) * inverse;
  const vf center = set1(m);
  const float variance = inverse * sum_lanes(C, [&](int64_t i, auto part) {
                           const vf d = keep(load(x + i, part) - center, part, zero());
                           return d * d;
                         });
  const float r = 1.0f / __builtin_sqrtf(variance + eps);
  const vf vr = set1(r);
  for_lanes(
      C, [&](int64_t i, auto part) { store(y + i, fma((load(x + i, part) - center) * vr, load(w + i, part), load(b + i, part)), part); });
  *mean = m;
  *rstd = r;
}

inline void layer_norm(void* y, const void* x, const float* w, const float* b, float* mean, float* rstd, int64_t N, int64_t C, float eps,
                       DType type) {
  with_activation_type(type, [&](auto* e) {
    using E = pointee<decltype(e)>;
    float unused;
    for (int64_t n = 0; n < N; ++n)
      layer_norm_row(static_cast<E*>(y) + n * C, static_cast<const E*>(x) + n * C, w, b, mean ? mean + n : &unused,
                     rstd ? rstd + n : &unused, C, eps);
  });
}

inline void layer_norm_backward(float* dx, float* dw, float* db, const float* dy, const float* x, const float* w, const float* mean,
                                const float* rstd, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N; ++n, dx += C, dy += C, x += C) {
    const vf m = set1(mean[n]), r = set1(rstd[n]);
    vf sum_g = zero(), sum_gx = zero();  // of g = dy * w, the gradient of the normalised row
    for_lanes(C, [&](int64_t i, auto part) {
      const vf d = load(dy + i, part), xhat = (load(x + i, part) - m) * r, g = d * load(w + i, part);
      sum_g = sum_g + g;
      sum_gx = fma(g, xhat, sum_gx);
      store(dw + i, fma(d, xhat, load(dw + i, part)), part);
      store(db + i, load(db + i, part) + d, part);
    });
    const vf mean_g = set1(reduce_add(sum_g) / static_cast<float>(C)), mean_gx = set1(reduce_add(sum_gx) / static_cast<float>(C));
    for_lanes(C, [&](int64_t i, auto part) {
      const vf xhat = (load(x + i, part) - m) * r;
      store(dx + i, r * fnma(xhat, mean_gx, fma(load(dy + i, part), load(w + i, part), zero() - mean_g)), part);
    });
  }
}

inline void rms_norm(void* y, const void* x, const float* w, float* rstd, int64_t N, int64_t C, float eps, DType type) {
  with_activation_type(type, [&](auto* e) {
    using E = pointee<decltype(e)>;
    for (int64_t n = 0; n < N; ++n) {
      const E* from = static_cast<const E*>(x) + n * C;
      E* to = static_cast<E*>(y) + n * C;
      const float squares = sum_lanes(C, [&](int64_t i, auto part) {
        const vf v = load(from + i, part);
        return v * v;
      });
      const float r = 1.0f / __builtin_sqrtf(squares / static_cast<float>(C) + eps);
      for_lanes(C, [&](int64_t i, auto part) { store(to + i, load(from + i, part) * set1(r) * load(w + i, part), part); });
      if (rstd) rstd[n] = r;
    }
  });
}

inline void rms_norm_backward(float* dx, float* dw, const float* dy, const float* x, const float* w, const float* rstd, int64_t N,
                              int64_t C) {
  for (int64_t n = 0; n < N; ++n, dx += C, dy += C, x += C) {
    const vf r = set1(rstd[n]);
    vf sum = zero();
    for_lanes(C, [&](int64_t i, auto part) {
      const vf d = load(dy + i, part), xhat = load(x + i, part) * r;
      sum = fma(d * load(w + i, part), xhat, sum);
      store(dw + i, fma(d, xhat, load(dw + i, part)), part);
    });
    const vf mean = set1(reduce_add(sum) / static_cast<float>(C));
    for_lanes(C, [&](int64_t i, auto part) {
      store(dx + i, r * fnma(load(x + i, part) * r, mean, load(dy + i, part) * load(w + i, part)), part);
    });
  }
}

/// Neighbours as pairs, turned one by one: the sets have no common way to part even from odd lanes.
template <class E>
inline void rope_interleaved(E* y, const E* x, const float* cos, const float* sin, int64_t half) {
  for_lanes(2 * half, [&](int64_t i, auto part) {
    float pair[kLanes];
    store(pair, load(x + i, part), Full{});
    for (int64_t j = 0; j < kLanes && i + j < 2 * half; j += 2) {
      const float a = pair[j], b = pair[j + 1], c = cos[(i + j) / 2], s = sin[(i + j) / 2];
      pair[j] = a * c - b * s;
      pair[j + 1] = b * c + a * s;
    }
    store(y + i, load(pair, Full{}), part);
  });
}

template <class E>
inline void rope_halves(E* y, const E* x, const float* cos, const float* sin, int64_t half) {
  for_lanes(half, [&](int64_t i, auto part) {
    const vf a = load(x + i, part), b = load(x + half + i, part), c = load(cos + i, part), s = load(sin + i, part);
    store(y + i, fnma(b, s, a * c), part);
    store(y + half + i, fma(a, s, b * c), part);
  });
}

inline void rope(void* y, const void* x, const float* cos, const float* sin, int64_t N, int64_t H, int64_t ld, int64_t stride, int64_t R,
                 bool interleaved, DType type) {
  with_activation_type(type, [&](auto* e) {
    using E = pointee<decltype(e)>;
    const int64_t half = R / 2;
    for (int64_t n = 0; n < N; ++n, cos += half, sin += half)
      for (int64_t h = 0; h < H; ++h) {
        const int64_t at = n * ld + h * stride;
        if (interleaved)
          rope_interleaved(static_cast<E*>(y) + at, static_cast<const E*>(x) + at, cos, sin, half);
        else
          rope_halves(static_cast<E*>(y) + at, static_cast<const E*>(x) + at, cos, sin, half);
      }
  });
}

inline void combine_rows(void* y, const void* x, const int64_t* index, const float* weight, int64_t N, int64_t K, int64_t C,
                         bool accumulate, DType type) {
  with_activation_type(type, [&](auto* e) {
    using E = pointee<decltype(e)>;
    for (int64_t n = 0; n < N; ++n, index += K, weight += K)
      for_lanes(C, [&](int64_t i, auto part) {
        E* to = static_cast<E*>(y) + n * C + i;
        vf sum = accumulate ? load(to, part) : zero();
        for (int64_t k = 0; k < K; ++k)
          if (index[k] >= 0) sum = fma(set1(weight[k]), load(static_cast<const E*>(x) + index[k] * C + i, part), sum);
        store(to, sum, part);
      });
  });
}

inline void softmax(float* y, const float* x, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N; ++n, x += C, y += C) {
    const vf largest = set1(max_lanes(C, [&](int64_t i, auto part) { return load(x + i, part); }));
    const float sum = sum_lanes(C, [&](int64_t i, auto part) {
      const vf e = keep(exp(load(x + i, part) - largest), part, zero());
      store(y + i, e, part);
      return e;
    });
    const vf inverse = set1(1.0f / sum);
    for_lanes(C, [&](int64_t i, auto part) { store(y + i, load(y + i, part) * inverse, part); });
  }
}

inline void softmax_backward(float* dx, const float* dy, const float* y, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N; ++n, dx += C, dy += C, y += C) {
    const vf sum = set1(sum_lanes(C, [&](int64_t i, auto part) { return load(dy + i, part) * load(y + i, part); }));
    for_lanes(C, [&](int64_t i, auto part) { store(dx + i, load(y + i, part) * (load(dy + i, part) - sum), part); });
  }
}

inline void cross_entropy(float* loss, float* d, const float* logits, const int64_t* labels, int64_t N, int64_t C, int64_t ignore,
                          float smoothing) {
  for (int64_t n = 0; n < N; ++n) {
    const float* x = logits + n * C;
    float* d_n = d ? d + n * C : nullptr;
    if (labels[n] == ignore) {
      loss[n] = 0;
      if (d_n) for_lanes(C, [&](int64_t i, auto part) { store(d_n + i, zero(), part); });
      continue;
    }
    const vf largest = set1(max_lanes(C, [&](int64_t i, auto part) { return load(x + i, part); }));
    // Sums of x - max: as small as the loss itself, so that a common offset of the logits costs no digits.
    const float sum = sum_lanes(C, [&](int64_t i, auto part) { return keep(exp(load(x + i, part) - largest), part, zero()); });
    const float log_sum = __builtin_logf(sum);
    const float label_loss = log_sum - (x[labels[n]] - reduce_max(largest));
    float mean_loss = 0;
    if (smoothing > 0)
      mean_loss = log_sum - sum_lanes(C, [&](int64_t i, auto part) { return keep(load(x + i, part) - largest, part, zero()); }) /
                                static_cast<float>(C);
    loss[n] = (1 - smoothing) * label_loss + smoothing * mean_loss;
    if (!d_n) continue;
    const vf shift = set1(smoothing / static_cast<float>(C)), inverse = set1(1 / sum);
    for_lanes(C, [&](int64_t i, auto part) { store(d_n + i, fma(exp(load(x + i, part) - largest), inverse, zero() - shift), part); });
    d_n[labels[n]] -= 1 - smoothing;
  }
}

inline void l2_normalize(float* y, float* norm, const float* x, int64_t N, int64_t C, float eps) {
  for (int64_t n = 0; n < N; ++n, x += C, y += C) {
    const float length = __builtin_sqrtf(sum_lanes(C, [&](int64_t i, auto part) {
      const vf v = load(x + i, part);
      return v * v;
    }));
    const vf inverse = set1(1.0f / (length < eps ? eps : length));
    for_lanes(C, [&](int64_t i, auto part) { store(y + i, load(x + i, part) * inverse, part); });
    if (norm) norm[n] = length;
  }
}

template <class Y, class Table>
inline void gather_row(Y* y, const Table* row, int64_t C, bool accumulate) {
  if (accumulate)
    for_lanes(C, [&](int64_t i, auto part) { store(y + i, load(row + i, part) + load(y + i, part), part); });
  else if constexpr (same_type<Y, Table>)
    __builtin_memcpy(y, row, static_cast<size_t>(C) * sizeof(Y));
  else
    for_lanes(C, [&](int64_t i, auto part) { store(y + i, load(row + i, part), part); });
}

inline void gather_rows(void* y, DType y_type, const void* table, DType table_type, const int64_t* index, int64_t N, int64_t C,
                        bool accumulate) {
  with_activation_type(y_type, [&](auto* y_pointer) {
    with_float_type(table_type, [&](auto* table_pointer) {
      auto* y_n = static_cast<decltype(y_pointer)>(y);
      const auto* rows = static_cast<decltype(table_pointer)>(const_cast<void*>(table));
      for (int64_t n = 0; n < N; ++n) gather_row(y_n + n * C, rows + index[n] * C, C, accumulate);
    });
  });
}

inline void scatter_add_rows(float* table, const float* dy, const int64_t* index, int64_t N, int64_t C) {
  for (int64_t n = 0; n < N; ++n, dy += C) {
    float* row = table + index[n] * C;
    for_lanes(C, [&](int64_t i, auto part) { store(row + i, load(row + i, part) + load(dy + i, part), part); });
  }
}

inline void sum_rows(float* sum, const float* x, int64_t N, int64_t C) {
  // Four rows a pass: one load and store of the sums for four of the rows.
  int64_t n = 0;
  for (; n + 4 <= N; n += 4, x += 4 * C)
    for_lanes(C, [&](int64_t i, auto part) {
      const vf low = load(x + i, part) + load(x + C + i, part), high = load(x + 2 * C + i, part) + load(x + 3 * C + i, part);
      store(sum + i, load(sum + i, part) + (low + high), part);
    });
  for (; n < N; ++n, x += C) for_lanes(C, [&](int64_t i, auto part) { store(sum + i, load(sum + i, part) + load(x + i, part), part); });
}

/// Codes that reach from -limit to limit.
template <class Code>
inline void quantize_to(Code* q, float* scale, const void* x, int64_t N, int64_t C, DType type, float limit) {
  with_activation_type(type, [&](auto* e) {
    const auto* x_n = static_cast<const pointee<decltype(e)>*>(x);
    for (int64_t n = 0; n < N; ++n, x_n += C, q += C) {
      // max(v, 0) drops a NaN: it must not become the scale of its row.
      const float largest = max_lanes(C, [&](int64_t i, auto part) { return max(abs(load(x_n + i, part)), zero()); });
      scale[n] = largest / limit > 0 ? largest / limit : 1;
      const vf inverse = set1(1.0f / scale[n]);
      for_lanes(C, [&](int64_t i, auto part) {
        const vf v = load(x_n + i, part) * inverse;
        store(q + i, select(less(abs(v), set1(limit + 0.5f)), v, zero()), part);  // only a NaN is beyond
      });
    }
  });
}

inline void quantize_rows(int8_t* q, float* scale, const void* x, int64_t N, int64_t C, DType type) { quantize_to(q, scale, x, N, C, type, 127); }

inline void quantize_rows_fp8(float8* q, float* scale, const void* x, int64_t N, int64_t C, DType type) {
  quantize_to(q, scale, x, N, C, type, 448);
}

inline void unfold_patches(void* y, DType y_type, const float* x, int64_t B, int64_t channels, int64_t height, int64_t width, int64_t p) {
  with_float_type(y_type, [&](auto* e) {
    auto* out = static_cast<decltype(e)>(y);
    const int64_t rows = height / p, columns = width / p;
    for (int64_t b = 0; b < B; ++b)
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < columns; ++c)
          for (int64_t line = 0; line < channels * p; ++line, out += p) {
            const float* from = x + ((b * channels + line / p) * height + r * p + line % p) * width + c * p;
            for_lanes(p, [&](int64_t i, auto part) { store(out + i, load(from + i, part), part); });
          }
  });
}
