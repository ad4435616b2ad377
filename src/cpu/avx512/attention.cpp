// AVX-512: attention in float32 arithmetic, and dropout.
#include <immintrin.h>

#include "cpu/fillers.h"

namespace tenon::cpu::avx512 {
namespace {

// Each builds on the ones before.
// clang-format off
#include "cpu/avx512/vec.h"
#include "cpu/generic/lanes.inl.h"
#include "cpu/generic/math.inl.h"
#include "cpu/generic/tile.inl.h"
#include "cpu/avx512/wide.h"
#include "cpu/generic/dropout.inl.h"
#include "cpu/generic/attention.inl.h"
#include "cpu/generic/attention_few.inl.h"
#include "cpu/generic/attention_backward.inl.h"
// clang-format on

}  // namespace

void fill_attention(Kernels&);
size_t attention_scratch(const AttentionCall& c, int64_t T, int64_t S);
void attention(const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch);

// Not in the unnamed namespace: the bf16 filler hands its float calls on.
size_t attention_scratch(const AttentionCall& c, int64_t, int64_t S) {
  // Only a pass that keeps lse has a backward, which needs more.
  const size_t forward = scratch_bytes<FloatOperands<float>>(c, S), backward = c.lse ? BackwardWorkspace(nullptr, c.D, c.Dv, S).bytes : 0;
  return forward > backward ? forward : backward;
}

void attention(const AttentionCall& c, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch) {
  if (c.type == DType::BF16)
    attend<FloatOperands<bfloat16>>(c, b, h, begin, end, scratch);
  else
    attend<FloatOperands<float>>(c, b, h, begin, end, scratch);
}

void fill_attention(Kernels& k) {
  k.attention_scratch = attention_scratch;
  k.attention = attention;
  k.attention_backward = attention_backward;
  k.dropout = dropout;
}

}  // namespace tenon::cpu::avx512
