// What this machine's processor can do at most on one thread, measured.
#pragma once

#include "tenon/core/kernels.h"

namespace tenon::bench {

struct Peak {
  double f32 = 0, bf16 = 0;  // GFLOP/s in chains of multiply-adds; 0 where the processor has no such instruction
  double read = 0;           // GB/s from memory
  double cache = 0;          // GB/s of a copy within the first-level cache, bytes read and written
};

/// With the instructions of a table.
Peak measure_peak(const Kernels& table);

/// The best of several runs of `seconds` altogether, in seconds a call.
template <class Body>
double best_time(Body&& body, double seconds = 0.15);

double now();

template <class Body>
double best_time(Body&& body, double seconds) {
  body();
  double best = 1e30, one = 1e30;
  long repeat = 1;
  for (const double stop = now() + seconds; now() < stop;) {
    const double start = now();
    for (long i = 0; i < repeat; ++i) body();
    one = (now() - start) / static_cast<double>(repeat);
    if (one * static_cast<double>(repeat) < 1e-4) {
      repeat *= 2;  // too short for the clock
      continue;
    }
    if (one < best) best = one;
  }
  return best < 1e30 ? best : one;
}

}  // namespace tenon::bench
