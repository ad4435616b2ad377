// Stable sorting of rows, and running sums. Bound by memory: a sort reads and writes its keys once for each doubling of what is in order.
#pragma once

#include <type_traits>

#include "block.h"

namespace tenon::cuda {

/// Unsigned numbers in the order of floats, NaN above all, and of integers.
TENON_BODY uint32_t sort_key(float v) { return v != v ? 0xffffffffu : ordered(v); }
TENON_BODY uint64_t sort_key(int64_t v) { return static_cast<uint64_t>(v) ^ uint64_t{1} << 63; }

template <class T>
using SortKey = std::conditional_t<std::is_same_v<T, float>, uint32_t, uint64_t>;

/// Keys in some order, and the places in their row that they came from.
template <class Key>
struct Sorted {
  Key* key;
  int64_t* index;
};

/// Sorts tiles of 256: block (row, tile). An element's rank is the number of those before it.
template <class T>
struct SortTilesBody {
  using Key = SortKey<T>;
  static constexpr int kTile = 256;
  static constexpr size_t kShared = kTile * sizeof(Key);
  const T* x;
  Sorted<Key> to;
  int64_t C, tiles;
  bool descending;

  template <class Block>
  TENON_BODY void operator()(Block& block) const {
    Key* const keys = reinterpret_cast<Key*>(block.shared);
    const int64_t row = block.index / tiles * C, begin = block.index % tiles * kTile;
    const int n = C - begin < kTile ? static_cast<int>(C - begin) : kTile;
    block.each([&](int t) {
      if (t >= n) return;
      const Key key = sort_key(x[row + begin + t]);
      keys[t] = descending ? ~key : key;
    });
    block.each([&](int t) {
      if (t >= n) return;
      const Key mine = keys[t];
      int rank = 0;
      for (int i = 0; i < n; ++i) rank += keys[i] < mine || (keys[i] == mine && i < t);
      to.key[row + begin + rank] = mine, to.index[row + begin + rank] = begin + t;
    });
  }
};

/// Item i is an element of two neighbouring runs of `length`, which become one: its place is its own in its run and the number of the
/// other run's elements that come before it.
template <class Key>
struct MergeRunsBody {
  Sorted<Key> from, to;
  int64_t C, length;
  TENON_BODY void operator()(int64_t i) const {
    const int64_t row = i / C * C, place = i - row, run = place / length;
    const bool second = run % 2 == 1;
    const int64_t other = (second ? run - 1 : run + 1) * length, end = other + length < C ? other + length : C;
    const Key mine = from.key[i];
    int64_t low = other < C ? other : C, high = end > low ? end : low;
    const int64_t first = low;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      const Key key = from.key[row + middle];
      if (key < mine || (second && key == mine)) low = middle + 1;
      else high = middle;
    }
    const int64_t at = row + (second ? place - length : place) + (low - first);
    to.key[at] = mine, to.index[at] = from.index[i];
  }
};

/// Item i: element i of the sorted rows, by the place that it had.
template <class T>
struct PickSortedBody {
  T* y;
  const T* x;
  const int64_t* index;
  int64_t C;
  TENON_BODY void operator()(int64_t i) const { y[i] = x[i / C * C + index[i]]; }
};

template <class T>
using ScanSum = std::conditional_t<std::is_integral_v<T>, uint64_t, double>;

/// The chunks of a scan over (outer, n, inner).
struct ScanChunks {
  static constexpr int64_t kLength = 64;
  int64_t outer, n, inner;
  bool product;
  TENON_HOST_BODY int64_t chunks() const { return (n + kLength - 1) / kLength; }
  TENON_HOST_BODY int64_t items() const { return outer * chunks() * inner; }
  /// Calls body with the elements of chunk i in their order; the chunks lie as (outer, chunks, inner).
  template <class Body>
  TENON_BODY void over(int64_t i, Body&& body) const {
    const int64_t in = i % inner, chunk = i / inner % chunks(), out = i / inner / chunks();
    const int64_t begin = chunk * kLength, end = begin + kLength < n ? begin + kLength : n;
    for (int64_t k = begin; k < end; ++k) body((out * n + k) * inner + in);
  }
  template <class S>
  TENON_BODY S joined(S a, S b) const {
    return product ? a * b : a + b;
  }
};

/// Item i: the sum of chunk i.
template <class T>
struct ScanSumsBody {
  using Sum = ScanSum<T>;
  ScanChunks c;
  Sum* sums;
  const T* x;
  TENON_BODY void operator()(int64_t i) const {
    Sum sum = c.product ? Sum(1) : Sum(0);
    c.over(i, [&](int64_t at) { sum = c.joined(sum, static_cast<Sum>(x[at])); });
    sums[i] = sum;
  }
};

/// Item i: the running sums within chunk i, on top of those of the chunks before it.
template <class T>
struct ScanBody {
  using Sum = ScanSum<T>;
  ScanChunks c;
  T* y;
  const T* x;
  const Sum* sums;  // running sums of the chunks' sums, or nullptr: there is one chunk
  TENON_BODY void operator()(int64_t i) const {
    Sum sum = i / c.inner % c.chunks() > 0 ? sums[i - c.inner] : c.product ? Sum(1) : Sum(0);
    c.over(i, [&](int64_t at) {
      sum = c.joined(sum, static_cast<Sum>(x[at]));
      y[at] = static_cast<T>(sum);
    });
  }
};

}  // namespace tenon::cuda
