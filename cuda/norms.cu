// Launches of the kernels that reduce rows.
#include <type_traits>

#include "bodies/norms.h"
#include "fillers.h"
#include "grouped.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

using scalar::with_float;

void layer_norm(void* y, const void* x, const float* w, const float* b, float* mean, float* rstd, int64_t N, int64_t C, float eps,
                DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    with_width<E>(C, {y, x}, [&](auto width) {
      constexpr int V = decltype(width)::value;
      launch(N, 1, threads_for(C / V), 0,
             LayerNormBody<E, V>{static_cast<E*>(y), static_cast<const E*>(x), w, b, mean, rstd, C, eps});
    });
  });
}

void rms_norm(void* y, const void* x, const float* w, float* rstd, int64_t N, int64_t C, float eps, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    with_width<E>(C, {y, x}, [&](auto width) {
      constexpr int V = decltype(width)::value;
      launch(N, 1, threads_for(C / V), 0, RmsNormBody<E, V>{static_cast<E*>(y), static_cast<const E*>(x), w, rstd, C, eps});
    });
  });
}

void sum_columns(const ColumnSumsBody& body) {
  if (body.N == 0 || body.C == 0) return;
  launch((body.C + kWarp - 1) / kWarp, 1, ColumnSumsBody::kThreads, ColumnSumsBody::kShared, body);
}

void norm_backward(float* dx, const float* dy, const float* x, const float* w, const float* mean, const float* rstd, int64_t N, int64_t C) {
  with_width<float>(C, {dx, dy, x}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch(N, 1, threads_for(C / V), 0, NormBackwardBody<V>{dx, dy, x, w, mean, rstd, C});
  });
}

/// The sums over columns come first: dx may lie where dy does.
void layer_norm_backward(float* dx, float* dw, float* db, const float* dy, const float* x, const float* w, const float* mean,
                         const float* rstd, int64_t N, int64_t C) {
  sum_columns({dw, db, dy, x, mean, rstd, N, C});
  norm_backward(dx, dy, x, w, mean, rstd, N, C);
}

void rms_norm_backward(float* dx, float* dw, const float* dy, const float* x, const float* w, const float* rstd, int64_t N, int64_t C) {
  sum_columns({dw, nullptr, dy, x, nullptr, rstd, N, C});
  norm_backward(dx, dy, x, w, nullptr, rstd, N, C);
}

void sum_rows(float* sum, const float* x, int64_t N, int64_t C) { sum_columns({nullptr, sum, x, nullptr, nullptr, nullptr, N, C}); }

void l2_normalize(float* y, float* norm, const float* x, int64_t N, int64_t C, float eps) {
  with_width<float>(C, {y, x}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch(N, 1, threads_for(C / V), 0, L2NormalizeBody<V>{y, norm, x, C, eps});
  });
}

template <class Code>
void quantize_to(Code* q, float* scale, const void* x, int64_t N, int64_t C, DType type) {
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    with_width<E>(C, {x, q}, [&](auto width) {
      constexpr int V = decltype(width)::value;
      launch(N, 1, threads_for(C / V), 0, QuantizeRowsBody<Code, E, V>{q, scale, static_cast<const E*>(x), C});
    });
  });
}

}  // namespace

void quantize_rows_int8(int8_t* q, float* scale, const void* x, int64_t N, int64_t C, DType type) { quantize_to(q, scale, x, N, C, type); }

void fill_norms(Kernels& k) {
  k.layer_norm = layer_norm;
  k.layer_norm_backward = layer_norm_backward;
  k.rms_norm = rms_norm;
  k.rms_norm_backward = rms_norm_backward;
  k.sum_rows = sum_rows;
  k.l2_normalize = l2_normalize;
  k.quantize_rows = quantize_rows_int8;
  k.quantize_rows_fp8 = quantize_to<float8>;
}

}  // namespace tenon::cuda
