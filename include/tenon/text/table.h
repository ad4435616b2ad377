// Large tables: vectors that lie in huge pages where the system has them, so that looking something up at random finds its address too.
#pragma once

#include <cstddef>
#include <limits>
#include <new>
#include <vector>

namespace tenon::text {

namespace detail {

/// Memory for a table, aligned to 64. Errors: std::bad_alloc.
void* allocate_table(size_t bytes);
void free_table(void* table) noexcept;

}  // namespace detail

template <class T>
struct TableAllocator {
  using value_type = T;
  TableAllocator() = default;
  template <class U>
  TableAllocator(const TableAllocator<U>&) {}
  T* allocate(size_t n) {
    if (n > std::numeric_limits<size_t>::max() / 2 / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(detail::allocate_table(n * sizeof(T)));
  }
  void deallocate(T* table, size_t) noexcept { detail::free_table(table); }
  bool operator==(const TableAllocator&) const { return true; }
};

template <class T>
using Table = std::vector<T, TableAllocator<T>>;

}  // namespace tenon::text
