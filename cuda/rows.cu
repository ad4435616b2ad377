// Launches of the kernels over rows: softmax, losses, rows picked, put and summed.
#include <type_traits>

#include "bodies/rows.h"
#include "fillers.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

using scalar::with_float;

constexpr int kLongRow = 1024;  // threads: vocabularies have rows of 100,000 logits

void softmax(float* y, const float* x, int64_t N, int64_t C) {
  if (C == 0) return;
  with_width<float>(C, {y, x}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch(N, 1, threads_for(C / V, kLongRow), 0, SoftmaxBody<V>{y, x, C});
  });
}

void softmax_backward(float* dx, const float* dy, const float* y, int64_t N, int64_t C) {
  if (C == 0) return;
  with_width<float>(C, {dx, dy, y}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch(N, 1, threads_for(C / V, kLongRow), 0, SoftmaxBackwardBody<V>{dx, dy, y, C});
  });
}

void log_softmax(float* y, const float* x, int64_t N, int64_t C) {
  if (C == 0) return;
  with_width<float>(C, {y, x}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch(N, 1, threads_for(C / V, kLongRow), 0, LogSoftmaxBody<V>{y, x, C});
  });
}

void log_softmax_backward(float* dx, const float* dy, const float* y, int64_t N, int64_t C) {
  if (C == 0) return;
  with_width<float>(C, {dx, dy, y}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch(N, 1, threads_for(C / V, kLongRow), 0, LogSoftmaxBackwardBody<V>{dx, dy, y, C});
  });
}

void l2_normalize_backward(float* dx, const float* dy, const float* y, const float* norm, int64_t N, int64_t C, float eps) {
  with_width<float>(C, {dx, dy, y}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch(N, 1, threads_for(C / V), 0, L2NormalizeBackwardBody<V>{dx, dy, y, norm, C, eps});
  });
}

void dot_rows(float* out, const float* a, const int64_t* a_index, const float* b, const int64_t* b_index, int64_t N, int64_t C) {
  with_width<float>(C, {a, b}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch(N, 1, threads_for(C / V, kLongRow), 0, DotRowsBody<V>{out, a, b, a_index, b_index, C});
  });
}

void cross_entropy(float* loss, float* d, const float* logits, const int64_t* labels, int64_t N, int64_t C, int64_t ignore,
                   float smoothing) {
  with_width<float>(C, {d, logits}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch(N, 1, threads_for(C / V, kLongRow), 0, CrossEntropyBody<V>{loss, d, logits, labels, C, ignore, smoothing});
  });
}

void gather_rows(void* y, DType y_type, const void* table, DType table_type, const int64_t* index, int64_t N, int64_t C, bool accumulate) {
  if (C == 0) return;
  with_float(y_type, [&](auto* y_tag) {
    with_float(table_type, [&](auto* table_tag) {
      using Y = std::remove_pointer_t<decltype(y_tag)>;
      using Table = std::remove_pointer_t<decltype(table_tag)>;
      with_width<float>(C, {y, table}, [&](auto width) {  // four to a load: 16 bytes of the wider type
        constexpr int V = decltype(width)::value;
        launch(N, 1, threads_for(C / V), 0,
               GatherRowsBody<Y, Table, V>{static_cast<Y*>(y), static_cast<const Table*>(table), index, C, accumulate});
      });
    });
  });
}

void combine_rows(void* y, const void* x, const int64_t* index, const float* weight, int64_t N, int64_t K, int64_t C, bool accumulate,
                  DType type) {
  if (C == 0) return;
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    with_width<E>(C, {y, x}, [&](auto width) {
      constexpr int V = decltype(width)::value;
      launch(N, 1, threads_for(C / V), 0,
             CombineRowsBody<E, V>{static_cast<E*>(y), static_cast<const E*>(x), index, weight, K, C, accumulate});
    });
  });
}

void scatter_add_rows(float* table, const float* dy, const int64_t* index, int64_t N, int64_t C) {
  constexpr int kThreads = 256;
  launch(N, 1, kThreads, kThreads, ScatterAddRowsBody{table, dy, index, N, C});
}

}  // namespace

void fill_rows(Kernels& k) {
  k.softmax = softmax;
  k.softmax_backward = softmax_backward;
  k.log_softmax = log_softmax;
  k.log_softmax_backward = log_softmax_backward;
  k.l2_normalize_backward = l2_normalize_backward;
  k.dot_rows = dot_rows;
  k.cross_entropy = cross_entropy;
  k.gather_rows = gather_rows;
  k.combine_rows = combine_rows;
  k.scatter_add_rows = scatter_add_rows;
}

}  // namespace tenon::cuda
