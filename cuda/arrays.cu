// Launches of the kernels over arrays with strides.
#include <algorithm>

#include "bodies/arrays.h"
#include "fillers.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

/// The same elements in fewer dimensions: those of size 1 are left out, and two become one where every operand walks them as one.
ElementwiseCall joined(const ElementwiseCall& c) {
  ElementwiseCall r = c;
  r.rank = 0;
  for (int d = 0; d < c.rank; ++d) {
    if (c.size[d] == 1) continue;
    const int last = r.rank - 1;
    bool follows = last >= 0;
    for (int k = 0; follows && k < 3; ++k) follows = r.stride[k][last] == c.stride[k][d] * c.size[d];
    const int to = follows ? last : r.rank++;
    r.size[to] = follows ? r.size[to] * c.size[d] : c.size[d];
    for (int k = 0; k < 3; ++k) r.stride[k][to] = c.stride[k][d];
  }
  return r;
}

void elementwise(const ElementwiseCall& call) {
  const ElementwiseCall c = joined(call);
  int64_t n = 1;
  for (int d = 0; d < c.rank; ++d) n *= c.size[d];
  const bool small = n < int64_t{1} << 32;
  if (c.type == DType::F32) launch_elements(n, ElementwiseBody<float>{c, small});
  else if (c.type == DType::I64) launch_elements(n, ElementwiseBody<int64_t>{c, small});
  else launch_elements(n, ElementwiseBody<uint8_t>{c, small});
}

/// Enough chunks of `least` elements or more that few results keep the device busy; their number depends on the sizes alone.
int64_t chunks_of(int64_t n, int64_t least, int64_t results, int64_t wanted) {
  return std::max<int64_t>(1, std::min({n / least, wanted / std::max<int64_t>(results, 1), int64_t{256}}));
}

template <class T>
void reduce_to(const ReduceCall& c) {
  const int64_t results = c.outer * c.inner;
  if (results == 0) return;
  const bool rows = c.inner == 1 && c.n >= 64;
  int64_t chunks = rows ? chunks_of(c.n, 4096, results, 1024) : chunks_of(c.n, 128, results, 65536);
  const int64_t length = (c.n + chunks - 1) / chunks;
  if (length > 0) chunks = (c.n + length - 1) / length;
  const Scratch scratch(chunks > 1 ? static_cast<size_t>(results * chunks) * sizeof(Reduced<T>) : 1);
  auto* partial = scratch.template as<Reduced<T>>();
  if (rows) launch(results * chunks, 1, ReduceRowsBody<T>::kThreads, ReduceRowsBody<T>::kShared, ReduceRowsBody<T>{c, partial, chunks, length});
  else launch_elements(results * chunks, ReduceColumnsBody<T>{c, partial, chunks, length});
  if (chunks > 1) launch_elements(results, ReduceChunksBody<T>{c, partial, chunks});
}

void reduce(const ReduceCall& c) {
  if (c.type == DType::F32) reduce_to<float>(c);
  else reduce_to<int64_t>(c);
}

}  // namespace

void fill_arrays(Kernels& k) {
  k.elementwise = elementwise;
  k.reduce = reduce;
}

}  // namespace tenon::cuda
