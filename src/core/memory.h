// Where tensors' memory comes from: the heap, aligned, in huge pages where a block is large enough to fill some.
#pragma once

#include <cstddef>
#include <cstdlib>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace tenon::detail {

/// At least `bytes`, aligned to 64, for std::free; nullptr if there is no memory.
inline void* allocate_aligned(size_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t padded = bytes ? (bytes + 63) / 64 * 64 : 64;
#ifdef __linux__
  if (padded >= kHugePage) {
    void* p = std::aligned_alloc(kHugePage, (padded + kHugePage - 1) / kHugePage * kHugePage);
    // Only whole pages of 2 MB: the rest of the block stays in small ones and costs no memory before it is touched.
    if (p) madvise(p, padded / kHugePage * kHugePage, MADV_HUGEPAGE);
    return p;
  }
#endif
  return std::aligned_alloc(64, padded);
}

}  // namespace tenon::detail
