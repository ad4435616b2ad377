// Launches of attention, forward and backward: which kernel a call gets.
#include <algorithm>
#include <optional>
#include <type_traits>

#include "attention_launch.h"
#include "bodies/attention_backward.h"
#include "bodies/attention_backward_mma.h"
#include "bodies/attention_mma.h"
#include "fillers.h"
#include "hopper.h"
#include "launch.h"

namespace tenon::cuda {
namespace {

using scalar::with_float;

constexpr int64_t kMostSplits = 64;
constexpr size_t kMostShared = 227 * 1024;  // of a block on the devices with the most

void check_call(int64_t b, size_t shared, const AttentionCall& c) {
  check(b == kAllSequences, ErrorCode::Device, "attention", "expected a call for all sequences on a device");
  check(shared <= kMostShared, ErrorCode::Device, "attention", "heads of width ", c.D, " and ", c.Dv, " need ", shared,
        " bytes of shared memory; a block has at most ", kMostShared);
}

size_t attention_scratch(const AttentionCall&, int64_t, int64_t) { return 0; }

template <class E, int kD, int kDv, int kKeysOfTile>
void on_tensor_cores(const AttentionCall& c, int64_t longest) {
  using Body = AttentionMmaBody<E, kD, kDv, kKeysOfTile>;
  const int64_t tiles = (longest * (c.H / c.Hkv) + kMmaQueries - 1) / kMmaQueries, blocks = c.B * c.Hkv * tiles, slices = (c.Dv + kDv - 1) / kDv;
  AttentionParts parts;
  // Decoding: as many blocks as fill the device. How many keys there are is known on the device alone.
  if (tiles == 1 && blocks > 0) parts.splits = std::clamp<int64_t>(2 * multiprocessors() / (blocks * slices), 1, kMostSplits);
  std::optional<Scratch> memory;
  if (parts.splits > 1) {
    const int64_t rows = parts.splits * c.Nq * c.H;
    memory.emplace(static_cast<size_t>(rows * (c.Dv + 2)) * sizeof(float));
    parts.sums = memory->as<float>(), parts.largest = parts.sums + rows * c.Dv, parts.weight = parts.largest + rows;
  }
  launch(blocks * parts.splits, slices, Body::kThreads, Body::kShared, Body{c, tiles, parts});
  if (parts.splits > 1) launch(c.Nq * c.H, 1, threads_for(c.Dv, 128), 0, JoinPartsBody<E>{c, parts});
}

template <class E>
bool on_tensor_cores(const AttentionCall& c, int64_t longest) {
  if constexpr (sizeof(E) == 2) {
    if (c.D <= 64 && c.Dv <= 64) return on_tensor_cores<E, 64, 64, 64>(c, longest), true;
    if (c.D <= 128) return on_tensor_cores<E, 128, 128, 64>(c, longest), true;
    if (c.D <= 192) return on_tensor_cores<E, 192, 128, 64>(c, longest), true;
    if (c.D <= 256) return on_tensor_cores<E, 256, 128, 64>(c, longest), true;
    if (c.D <= 576) return on_tensor_cores<E, 576, 128, 32>(c, longest), true;
  }
  return false;
}

void attention(const AttentionCall& c, int64_t b, int64_t, int64_t, int64_t longest, void*) {
  check_call(b, 0, c);
  const size_t shared = AttentionBody<float>::shared_bytes(c.D, c.Dv);
  const int64_t tiles = (longest + kQueries - 1) / kQueries;
  with_float(c.type, [&](auto* tag) {
    using E = std::remove_pointer_t<decltype(tag)>;
    if (sizeof(E) == 2 && uses_wgmma(WgmmaUse::Attention) && attention_by_wgmma(c, longest)) return;
    if (on_tensor_cores<E>(c, longest)) return;
    check_call(b, shared, c);
    launch(c.B * c.H * tiles, 1, kAttentionThreads, shared, AttentionBody<E>{c, tiles});
  });
}

template <class E, int kD, int kDv, int kOfQueries, int kOfKeys>
void gradients_on_tensor_cores(const AttentionCall& c, const AttentionGrad& g, int64_t longest) {
  using Queries = AttentionMmaQueryGradBody<E, kD, kDv, kOfQueries>;
  using Keys = AttentionMmaKeyGradBody<E, kD, kDv, kOfKeys>;
  using Delta = AttentionDeltaBody<E>;
  const int64_t rows = c.Nq * c.H, tiles = (longest + Queries::kRows - 1) / Queries::kRows;
  const Scratch d_out(static_cast<size_t>(rows * c.Dv) * sizeof(E)), delta(static_cast<size_t>(rows) * sizeof(float));
  launch((rows + Delta::kWarps - 1) / Delta::kWarps, 1, Delta::kThreads, 0, Delta{c, g, d_out.as<E>(), delta.as<float>()});
  launch(c.B * c.H * tiles, 1, Queries::kThreads, Queries::kShared, Queries({c, g, d_out.as<E>(), delta.as<float>(), tiles}));
  launch(c.B * c.Hkv * tiles, 1, Keys::kThreads, Keys::kShared, Keys({c, g, d_out.as<E>(), delta.as<float>(), tiles}));
}

/// The tiles of columns are what registers allow beside the sums: kD, and for keys kD + kDv, numbers for every 32 rows and columns.
template <class E>
bool gradients_on_tensor_cores(const AttentionCall& c, const AttentionGrad& g, int64_t longest) {
  if constexpr (sizeof(E) == 2) {
    if (c.D <= 64 && c.Dv <= 64) return gradients_on_tensor_cores<E, 64, 64, 64, 32>(c, g, longest), true;
    if (c.D <= 128 && c.Dv <= 128) return gradients_on_tensor_cores<E, 128, 128, 64, 32>(c, g, longest), true;
    if (c.D <= 192 && c.Dv <= 128) return gradients_on_tensor_cores<E, 192, 128, 32, 16>(c, g, longest), true;
  }
  return false;
}

/// How many keys there are is known on the device alone: as many blocks as self-attention needs walk over however many there are.
void attention_backward(const AttentionCall& c, const AttentionGrad& g, int64_t b, int64_t longest, void*) {
  const size_t of_queries = AttentionQueryGradBody::shared_bytes(c.D, c.Dv), of_keys = AttentionKeyGradBody::shared_bytes(c.D, c.Dv);
  check_call(b, 0, c);
  const bool done = (c.type != DType::F32 && uses_wgmma(WgmmaUse::AttentionBackward) && attention_backward_by_wgmma(c, g, longest)) ||
                    attention_backward_by_mma(c, g, longest);
  if (!done) {
    check_call(b, of_queries > of_keys ? of_queries : of_keys, c);
    const int64_t tiles = (longest + kQueries - 1) / kQueries, key_tiles = (longest + kKeys - 1) / kKeys;
    launch(c.B * c.H * tiles, 1, kAttentionThreads, of_queries, AttentionQueryGradBody{c, g, tiles});
    launch(c.B * c.Hkv * key_tiles, 1, kAttentionThreads, of_keys, AttentionKeyGradBody{c, g, key_tiles});
  }
  if (g.d_distance)
    launch(c.B * c.H, 1, kAttentionThreads, AttentionDistanceGradBody::shared_bytes(c.D, c.Dv), AttentionDistanceGradBody{c, g});
}

}  // namespace

bool attention_by_mma(const AttentionCall& c, int64_t longest) {
  return with_float(c.type, [&](auto* tag) { return on_tensor_cores<std::remove_pointer_t<decltype(tag)>>(c, longest); });
}

bool attention_backward_by_mma(const AttentionCall& c, const AttentionGrad& g, int64_t longest) {
  return with_float(c.type, [&](auto* tag) { return gradients_on_tensor_cores<std::remove_pointer_t<decltype(tag)>>(c, g, longest); });
}

void fill_attention(Kernels& k) {
  k.attention_scratch = attention_scratch;
  k.attention = attention;
  k.attention_backward = attention_backward;
}

}  // namespace tenon::cuda
