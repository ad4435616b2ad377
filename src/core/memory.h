// Where tensors' memory comes from: the heap, aligned, in huge pages where a block is large enough to fill some.
#pragma once

#include <cstddef>
#include <cstdint>
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

/// A block straight from the system, for free_mapped with the same size: when it goes, its memory does, which a heap would keep.
/// nullptr if there is no memory.
inline void* allocate_mapped(size_t bytes) {
#ifdef __linux__
  constexpr size_t kHugePage = size_t{2} << 20, kPage = 4096;
  const size_t whole = (bytes + kPage - 1) / kPage * kPage;
  void* all = mmap(nullptr, whole + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  auto* begin = static_cast<char*>(all);
  char* p = begin + (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
  if (p > begin) munmap(begin, static_cast<size_t>(p - begin));
  if (const size_t behind = kHugePage - static_cast<size_t>(p - begin)) munmap(p + whole, behind);
  if (bytes >= kHugePage) madvise(p, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return p;
#else
  return allocate_aligned(bytes);
#endif
}
inline void free_mapped(void* p, size_t bytes) {
#ifdef __linux__
  constexpr size_t kPage = 4096;
  munmap(p, (bytes + kPage - 1) / kPage * kPage);
#else
  (void)bytes;
  std::free(p);
#endif
}

/// Lets a part of a mapped block's memory go, whole huge pages of it; the addresses stay and are read as zeros.
inline void discard(void* p, size_t bytes) {
#ifdef __linux__
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(p) + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(p) + bytes) / kHugePage * kHugePage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
#else
  (void)p, (void)bytes;
#endif
}

}  // namespace tenon::detail
