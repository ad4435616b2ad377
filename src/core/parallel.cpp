// The thread count and the OpenMP loop behind parallel_for.
#include "tenon/core/parallel.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif
#include <thread>

#include "tenon/core/error.h"

namespace tenon {
namespace {

std::atomic<int> g_threads{0};

int affinity_threads() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

/// The CPU quota of a container, rounded up; 0 if there is none. cgroup v2 writes "quota period" or "max period" in one file.
int cgroup_threads() {
  double quota = 0, period = 0;
  std::string first;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> first >> period) {
    if (first == "max" || period <= 0) return 0;
    quota = std::atof(first.c_str());
  } else {
    std::ifstream q("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), p("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (!(q >> quota) || !(p >> period)) return 0;
  }
  if (quota <= 0 || period <= 0) return 0;
  return std::max(1, static_cast<int>((quota + period - 1) / period));
}

}  // namespace

int available_threads() {
  static const int n = [] {
    int threads = affinity_threads();
    if (const int quota = cgroup_threads()) threads = std::min(threads, quota);
    if (const char* env = std::getenv("OMP_NUM_THREADS"))
      if (const int wish = std::atoi(env); wish > 0) threads = std::min(threads, wish);
    return threads;
  }();
  return n;
}

void set_num_threads(int n) {
  check(n >= 0, ErrorCode::Limit, "set_num_threads", "expected 0 or more, got ", n);
  g_threads = n;
}

int get_num_threads() {
  const int n = g_threads;
  return n > 0 ? n : available_threads();
}

namespace detail {

void parallel_for(int threads, int64_t n, int64_t grain, RangeBody body, void* state) {
#ifdef _OPENMP
  const int parts = static_cast<int>(std::min<int64_t>(threads, n / std::max<int64_t>(1, grain)));
  if (parts > 1 && !omp_in_parallel()) {
    std::exception_ptr error;
    std::mutex error_mutex;
#pragma omp parallel num_threads(parts)
    {
      const int64_t team = omp_get_num_threads(), me = omp_get_thread_num();
      const int64_t begin = n * me / team, end = n * (me + 1) / team;
      try {
        if (begin < end) body(state, begin, end);
      } catch (...) {
        std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
    return;
  }
#else
  (void)threads, (void)grain;
#endif
  body(state, 0, n);
}

}  // namespace detail
}  // namespace tenon
