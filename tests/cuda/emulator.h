// What tests may set and count in the emulated CUDA library.
#pragma once

#include <cstddef>
#include <map>

namespace tenon::cuda {

struct EmulatorSettings {
  size_t total_bytes = size_t{256} << 20;
  bool no_pinned = false;         // pinned memory cannot be had
  bool lost = false;              // every call fails as after an illegal access
  int capability[2] = {90, 80};   // of the two devices, as kernels' launchers see it
  bool wgmma_is_wrong = false;    // products of warpgroups have wrong sums
  bool streams_are_slow = false;  // events are not reached until somebody waits for them
};

struct EmulatorCounts {
  int allocations = 0, releases = 0, copies = 0, to_host = 0, launches = 0, graph_launches = 0;
  int wgmma = 0;  // launches of bodies that use it
  size_t bytes_to_host = 0;
  std::map<void*, size_t> bytes;
};

}  // namespace tenon::cuda
