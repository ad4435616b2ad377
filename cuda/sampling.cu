// Launches of the kernels that choose tokens.
#include "bodies/sampling.h"
#include "fillers.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

void argmax_rows(int64_t* index, const float* x, int64_t N, int64_t C) { launch(N, 1, threads_for(C, kMostThreads), 0, ArgmaxBody{index, x, C}); }

void sample_rows(const SampleCall& c) {
  const int threads = threads_for(c.V, kMostThreads);
  launch(c.N, 1, threads, SampleBody::shared_bytes(threads), SampleBody{c});
}

}  // namespace

void fill_sampling(Kernels& k) {
  k.argmax_rows = argmax_rows;
  k.sample_rows = sample_rows;
}

}  // namespace tenon::cuda
