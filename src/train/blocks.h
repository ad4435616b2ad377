// Loops over the elements of many tensors at once, in blocks that are the same whatever the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "tenon/core/context.h"

namespace tenon::train {

constexpr int64_t kBlock = 4096;  // elements: a page of 16 KB; a multiple of every vector and of the 8-bit optimiser's blocks

/// body(i, begin, end) over elements [begin, end) of tensor i, whole blocks but for its last, until all of `sizes` are covered. Small
/// tensors do not wait for a thread each: the blocks of all of them are spread at once.
template <class Body>
void over_blocks(const Context& ctx, std::span<const int64_t> sizes, Body&& body) {
  std::vector<int64_t> first = {0};  // blocks before each tensor
  for (const int64_t n : sizes) first.push_back(first.back() + (n + kBlock - 1) / kBlock);
  ctx.over_rows(first.back(), kBlock, [&](int64_t begin, int64_t end) {
    auto i = static_cast<size_t>(std::upper_bound(first.begin(), first.end(), begin) - first.begin() - 1);
    for (; begin < end; ++i) {
      const int64_t stop = std::min(end, first[i + 1]);
      if (begin < stop) body(i, (begin - first[i]) * kBlock, std::min(sizes[i], (stop - first[i]) * kBlock));
      begin = std::max(begin, stop);
    }
  });
}

}  // namespace tenon::train
