// Threads: how many there are and how loops are spread over them. The only runtime is OpenMP's (libgomp, shared with oneDNN).
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace tenon {

/// Threads that may be used: the least of OMP_NUM_THREADS, the processors this process may run on (affinity) and the cgroup's
/// CPU quota, at least 1. Starts no thread.
int available_threads();

/// Sets the number of threads that Contexts made from now on use; 0 means available_threads().
/// Errors: Error(Limit) if n is negative.
void set_num_threads(int n);
int get_num_threads();

namespace detail {
using RangeBody = void (*)(void* state, int64_t begin, int64_t end);
void parallel_for(int threads, int64_t n, int64_t grain, RangeBody body, void* state);
}  // namespace detail

/// Calls body(begin, end) on disjoint ranges that cover [0, n), each at least `grain` long but the last, on up to `threads`
/// threads; the caller's is one. An exception thrown by the body is rethrown here. A nested call runs on its caller alone.
template <class Body>
void parallel_for(int threads, int64_t n, int64_t grain, Body&& body) {
  if (n <= 0) return;
  if (threads <= 1 || n <= grain) return body(int64_t{0}, n);
  using B = std::remove_reference_t<Body>;
  detail::parallel_for(
      threads, n, grain, [](void* state, int64_t begin, int64_t end) { (*static_cast<B*>(state))(begin, end); },
      const_cast<void*>(static_cast<const void*>(std::addressof(body))));
}

}  // namespace tenon
