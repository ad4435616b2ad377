// What one thread streams through memory and cache.
#include "peak.h"

#include <cstddef>
#include <cstring>
#include <ctime>
#include <vector>

#include "cli/peak.h"

namespace tenon::bench {

// The thread's own time: what other processes do on a shared machine is not counted.
double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

Peak measure_peak(const Kernels& table) {
  Peak p;
  p.f32 = cli::arithmetic_peak(cli::Arithmetic::F32, table, 1);
  p.bf16 = cli::arithmetic_peak(cli::Arithmetic::BF16, table, 1);
  const size_t bytes = size_t{256} << 20;
  std::vector<char> large(bytes, 1), small(8192), copy(8192);
  p.read = static_cast<double>(bytes) /
           best_time(
               [&] {
                 const void* found = std::memchr(large.data(), 0, bytes);
                 asm volatile("" ::"r"(found) : "memory");
               },
               0.5) /
           1e9;
  p.cache = 2.0 * 8192 / best_time([&] {
              std::memcpy(copy.data(), small.data(), 8192);
              asm volatile("" ::: "memory");
            }) /
            1e9;
  return p;
}

}  // namespace tenon::bench
