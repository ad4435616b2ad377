// Launches of sorts and scans.
#include <algorithm>

#include "bodies/orders.h"
#include "fillers.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

template <class T>
void sort_rows_of(const SortCall& c) {
  using Tiles = SortTilesBody<T>;
  using Key = SortKey<T>;
  const int64_t n = c.N * c.C, tiles = (c.C + Tiles::kTile - 1) / Tiles::kTile;
  int passes = 0;
  for (int64_t length = Tiles::kTile; length < c.C; length *= 2) ++passes;
  const auto bytes = static_cast<size_t>(n);
  const Scratch keys(2 * bytes * sizeof(Key)), places((c.index ? 1 : 2) * bytes * sizeof(int64_t));
  int64_t* const spare = places.as<int64_t>();
  const Sorted<Key> buffers[2] = {{keys.as<Key>(), c.index ? c.index : spare + n}, {keys.as<Key>() + n, spare}};
  int at = passes % 2;  // the last pass writes to the first
  launch(c.N * tiles, 1, Tiles::kTile, Tiles::kShared, Tiles{static_cast<const T*>(c.x), buffers[at], c.C, tiles, c.descending});
  for (int64_t length = Tiles::kTile; length < c.C; length *= 2, at = 1 - at)
    launch_elements(n, MergeRunsBody<Key>{buffers[at], buffers[1 - at], c.C, length});
  if (c.y) launch_elements(n, PickSortedBody<T>{static_cast<T*>(c.y), static_cast<const T*>(c.x), buffers[0].index, c.C});
}

void sort_rows(const SortCall& c) {
  if (c.N == 0 || c.C == 0) return;
  if (c.type == DType::F32) sort_rows_of<float>(c);
  else sort_rows_of<int64_t>(c);
}

/// The sums of chunks are scanned in the same way, until there is one chunk.
template <class T>
void scan_chunks(T* y, const T* x, const ScanChunks& c) {
  using Sum = ScanSum<T>;
  if (c.chunks() <= 1) return launch_elements(c.items(), ScanBody<T>{c, y, x, nullptr});
  const Scratch scratch(static_cast<size_t>(c.items()) * sizeof(Sum));
  auto* const sums = scratch.as<Sum>();
  launch_elements(c.items(), ScanSumsBody<T>{c, sums, x});
  scan_chunks<Sum>(sums, sums, {c.outer, c.chunks(), c.inner, c.product});
  launch_elements(c.items(), ScanBody<T>{c, y, x, sums});
}

void scan(const ScanCall& c) {
  if (c.outer == 0 || c.n == 0 || c.inner == 0) return;
  const ScanChunks chunks{c.outer, c.n, c.inner, c.product};
  if (c.type == DType::F32) scan_chunks(static_cast<float*>(c.y), static_cast<const float*>(c.x), chunks);
  else scan_chunks(static_cast<int64_t*>(c.y), static_cast<const int64_t*>(c.x), chunks);
}

}  // namespace

void fill_orders(Kernels& k) {
  k.sort_rows = sort_rows;
  k.scan = scan;
}

}  // namespace tenon::cuda
