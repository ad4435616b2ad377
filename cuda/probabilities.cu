// Launches of the kernel that writes attention's probabilities out.
#include "bodies/probabilities.h"

#include <type_traits>

#include "fillers.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

void attention_probs(float* probs, const AttentionCall& c, const int64_t* query, const int64_t* key, int64_t T, int64_t S, int64_t, int64_t) {
  scalar::with_float(c.type, [&](auto* tag) {
    launch(c.Nq, c.H, threads_for(S), 0, AttentionProbsBody<std::remove_pointer_t<decltype(tag)>>{c, probs, query, key, T, S});
  });
}

}  // namespace

void fill_probabilities(Kernels& k) { k.attention_probs = attention_probs; }

}  // namespace tenon::cuda
