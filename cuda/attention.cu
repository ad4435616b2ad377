// Launches of attention, forward and backward.
#include <type_traits>

#include "bodies/attention_backward.h"
#include "fillers.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

using scalar::with_float;

constexpr size_t kMostShared = 227 * 1024;  // of a block on the devices with the most

void check_call(int64_t b, size_t shared, const AttentionCall& c) {
  check(b == kAllSequences, ErrorCode::Device, "attention", "expected a call for all sequences on a device");
  check(shared <= kMostShared, ErrorCode::Device, "attention", "heads of width ", c.D, " and ", c.Dv, " need ", shared,
        " bytes of shared memory; a block has at most ", kMostShared);
}

size_t attention_scratch(const AttentionCall&, int64_t, int64_t) { return 0; }

void attention(const AttentionCall& c, int64_t b, int64_t, int64_t, int64_t longest, void*) {
  const size_t shared = AttentionBody<float>::shared_bytes(c.D, c.Dv);
  check_call(b, shared, c);
  const int64_t tiles = (longest + kQueries - 1) / kQueries;
  with_float(c.type, [&](auto* tag) {
    launch(c.B * c.H * tiles, 1, kAttentionThreads, shared, AttentionBody<std::remove_pointer_t<decltype(tag)>>{c, tiles});
  });
}

/// How many keys there are is known on the device alone: as many blocks as self-attention needs walk over however many there are.
void attention_backward(const AttentionCall& c, const AttentionGrad& g, int64_t b, int64_t longest, void*) {
  const size_t of_queries = AttentionQueryGradBody::shared_bytes(c.D, c.Dv), of_keys = AttentionKeyGradBody::shared_bytes(c.D, c.Dv);
  check_call(b, of_queries > of_keys ? of_queries : of_keys, c);
  check(!g.d_distance, ErrorCode::Device, "attention", "there is no kernel for cuda yet for the gradient of a distance bias");
  const int64_t tiles = (longest + kQueries - 1) / kQueries;
  launch(c.B * c.H * tiles, 1, kAttentionThreads, of_queries, AttentionQueryGradBody{c, g, tiles});
  const int64_t key_tiles = (longest + kKeys - 1) / kKeys;
  launch(c.B * c.Hkv * key_tiles, 1, kAttentionThreads, of_keys, AttentionKeyGradBody{c, g, key_tiles});
}

}  // namespace

void fill_attention(Kernels& k) {
  k.attention_scratch = attention_scratch;
  k.attention = attention;
  k.attention_backward = attention_backward;
}

}  // namespace tenon::cuda
