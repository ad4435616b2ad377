// Launches of the kernels of training.
#include <algorithm>
#include <type_traits>

#include "bodies/training.h"
#include "fillers.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

using scalar::with_float;

void dropout(void* y, const void* x, const Dropout& d, int64_t begin, int64_t n, DType type) {
  if (n <= 0) return;
  with_float(type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    launch_elements((begin + n - 1) / 8 - begin / 8 + 1, DropoutBody<E>{static_cast<E*>(y), static_cast<const E*>(x), d, begin, n});
  });
}

void adamw(const AdamWCall& c) {
  with_width<float>(0, {c.p, c.m, c.v, c.g, c.vmax}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch_elements((c.n + V - 1) / V, AdamWBody<V>{c});
  });
}

void sgd(const SgdCall& c) {
  with_width<float>(0, {c.p, c.m, c.g}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch_elements((c.n + V - 1) / V, SgdBody<V>{c});
  });
}

void lion(const LionCall& c) {
  with_width<float>(0, {c.p, c.m, c.g}, [&](auto width) {
    constexpr int V = decltype(width)::value;
    launch_elements((c.n + V - 1) / V, LionBody<V>{c});
  });
}

double sum_of_squares(const float* x, int64_t n) {
  if (n <= 0) return 0;
  constexpr int kThreads = 256;
  const int64_t blocks = std::min<int64_t>((n + 8 * kThreads - 1) / (8 * kThreads), 1024);
  const Scratch partial((static_cast<size_t>(blocks) + 1) * sizeof(double));
  double *shares = partial.as<double>(), *whole = shares + blocks;
  launch(blocks, 1, kThreads, 0, SumBody<float>{shares, x, n, blocks, true});
  launch(1, 1, kThreads, 0, SumBody<double>{whole, shares, blocks, 1, false});
  double sum = 0;
  read_back(&sum, whole, sizeof(sum));
  return sum;
}

}  // namespace

void fill_training(Kernels& k) {
  k.dropout = dropout;
  k.adamw = adamw;
  k.sgd = sgd;
  k.lion = lion;
  k.sum_of_squares = sum_of_squares;
}

}  // namespace tenon::cuda
