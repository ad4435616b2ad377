// The int8 linear: quantises the rows, multiplies with vpdpbusd and finishes each register tile while it is hot.
//
// Threads take pieces of work, one panel times a chunk of rows, from a counter: a core that is slowed down by others takes fewer. A
// thread knows its next panel while it computes the present one and prefetches it meanwhile, because the weights of a model come from
// memory, not from a cache, each time they are used.
#include <immintrin.h>

#include "cpu/avx512_vnni/activation.h"
#include "cpu/avx512_vnni/int8.h"
#include "cpu/fillers.h"
#include "tenon/core/parallel.h"

namespace tenon::avx512_vnni {
namespace {

constexpr int64_t kL2Rows = 384 << 10;      // bytes of quantised rows that a chunk holds: with a panel they fit into 1 MB
constexpr int64_t kDepthBlock = 8192;       // of K: a panel's part of the second cache when K is very long
constexpr int64_t kLongChunk = 64;          // rows of a chunk when K is longer than a block: their sums wait in the tile
constexpr int64_t kSerialQuant = 24 << 10;  // elements; fewer are quantised faster than a second thread wakes
constexpr int64_t kSerialWork = 1 << 19;    // multiplications that one thread does in the time of starting a second

/// What to prefetch of the next panel: `per_step` lines with each step of kDepth, until the end.
struct Ahead {
  const uint8_t *line = nullptr, *end = nullptr;
  int64_t per_step = 0;
};

/// c (MR, NR * 16) = or += the products of MR rows with NR registers of columns, over `depth` values of k. Rows of c are kPanel apart.
template <int MR, int NR>
void tile(int32_t* c, const int8_t* a, int64_t stride, const uint8_t* b, int64_t depth, bool add, Ahead& next) {
  __m512i sum[MR][NR];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r)
    for (int j = 0; j < NR; ++j) sum[r][j] = _mm512_setzero_si512();
  const uint8_t *line = next.line, *end = next.end, *const b_end = b + depth * NR * kLanes;
  const int64_t ahead = next.per_step * 64;
  for (; b != b_end; a += kDepth, b += kDepth * NR * kLanes) {
    for (const uint8_t* stop = end - line < ahead ? end : line + ahead; line < stop; line += 64)
      _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T1);
#pragma GCC unroll 4
    for (int s = 0; s < kDepth / 4; ++s) {
      __m512i w[NR];
#pragma GCC unroll 3
      for (int j = 0; j < NR; ++j) w[j] = _mm512_load_si512(b + (s * NR + j) * 64);
#pragma GCC unroll 8
      for (int r = 0; r < MR; ++r) {
        const __m512i x = _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(a + r * stride + s * 4));
#pragma GCC unroll 3
        for (int j = 0; j < NR; ++j) sum[r][j] = _mm512_dpbusd_epi32(sum[r][j], w[j], x);
      }
    }
  }
  next.line = line;
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r)
    for (int j = 0; j < NR; ++j) {
      int32_t* at = c + r * kPanel + j * kLanes;
      _mm512_store_si512(at, add ? _mm512_add_epi32(sum[r][j], _mm512_load_si512(at)) : sum[r][j]);
    }
}

using Tile = void (*)(int32_t*, const int8_t*, int64_t, const uint8_t*, int64_t, bool, Ahead&);
constexpr Tile kTiles[kRowBlock][3] = {{tile<1, 1>, tile<1, 2>, tile<1, 3>}, {tile<2, 1>, tile<2, 2>, tile<2, 3>},
                                       {tile<3, 1>, tile<3, 2>, tile<3, 3>}, {tile<4, 1>, tile<4, 2>, tile<4, 3>},
                                       {tile<5, 1>, tile<5, 2>, tile<5, 3>}, {tile<6, 1>, tile<6, 2>, tile<6, 3>},
                                       {tile<7, 1>, tile<7, 2>, tile<7, 3>}, {tile<8, 1>, tile<8, 2>, tile<8, 3>}};

__m512 load(const void* x, DType type, int64_t i, __mmask16 mask) {
  if (type == DType::F32) return _mm512_maskz_loadu_ps(mask, static_cast<const float*>(x) + i);
  const __m256i half = _mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(x) + i);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/// Rounds to nearest even in integers: processors with VNNI need not have the bf16 instructions.
void store(void* y, DType type, int64_t i, __mmask16 mask, __m512 v) {
  if (type == DType::F32) return _mm512_mask_storeu_ps(static_cast<float*>(y) + i, mask, v);
  const __m512i bits = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  rounded = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
  _mm256_mask_storeu_epi16(static_cast<uint16_t*>(y) + i, mask, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

/// Rows [row, row + rows) of columns [column, column + width) of y, from the sums in c.
template <Activation kAct>
void finish(const LinearCall& call, const QuantRows& x, const int32_t* c, int64_t row, int rows, int64_t column, int width) {
  for (int j = 0; j < width; j += kLanes) {
    const int64_t left = call.N - column - j;
    const __mmask16 mask = left >= kLanes ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
    const __m512 w_scale = _mm512_maskz_loadu_ps(mask, call.w_scale + column + j);
    const __m512 bias = call.bias ? _mm512_maskz_loadu_ps(mask, call.bias + column + j) : _mm512_setzero_ps();
    for (int r = 0; r < rows; ++r) {
      const __m512i sum = _mm512_sub_epi32(_mm512_load_si512(c + r * kPanel + j), _mm512_set1_epi32(x.offset[row + r]));
      const __m512 scale = _mm512_mul_ps(w_scale, _mm512_set1_ps(x.scale[row + r]));
      __m512 v = activate<kAct>(_mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, bias));
      const int64_t at = (row + r) * call.N + column + j;
      if (call.residual) v = _mm512_add_ps(v, load(call.residual, call.type, at, mask));
      store(call.y, call.type, at, mask, v);
    }
  }
}

using Finish = void (*)(const LinearCall&, const QuantRows&, const int32_t*, int64_t, int, int64_t, int);

Finish finish_of(Activation act) {
  switch (act) {
    case Activation::None: return finish<Activation::None>;
    case Activation::Gelu: return finish<Activation::Gelu>;
    case Activation::GeluTanh: return finish<Activation::GeluTanh>;
    case Activation::QuickGelu: return finish<Activation::QuickGelu>;
    case Activation::Relu: return finish<Activation::Relu>;
    case Activation::Tanh: return finish<Activation::Tanh>;
    case Activation::Silu: return finish<Activation::Silu>;
    case Activation::Sigmoid: return finish<Activation::Sigmoid>;
  }
  return finish<Activation::None>;
}

int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }

struct Job {
  const LinearCall& call;
  QuantRows x;
  Finish finish = nullptr;
  int64_t panels = 0, chunk = 0, chunks = 0;
  alignas(64) int64_t next = 0;

  const uint8_t* panel(int64_t p) const { return static_cast<const uint8_t*>(call.w) + p * kPanel * padded_k(call.K); }
  int width(int64_t p) const { return static_cast<int>(min_of(padded_n(call.N) - p * kPanel, kPanel)); }
};

/// One panel times the rows [begin, end). What the present piece can prefetch of the next panel is spread evenly over its steps.
void multiply(const Job& job, int64_t p, int64_t begin, int64_t end, int64_t next_panel) {
  alignas(64) int32_t sums[kLongChunk * kPanel];
  const int64_t K = padded_k(job.call.K), stride = row_stride(job.call.K);
  const int width = job.width(p);
  Ahead ahead;
  if (next_panel >= 0) {
    const int64_t steps = K / kDepth * ((end - begin + kRowBlock - 1) / kRowBlock);
    ahead.line = job.panel(next_panel);
    ahead.end = ahead.line + job.width(next_panel) * K;
    ahead.per_step = (job.width(next_panel) * K / 64 + steps - 1) / steps;
  }
  for (int64_t k = 0; k < K; k += kDepthBlock) {
    const int64_t depth = min_of(kDepthBlock, K - k);
    for (int64_t m = begin; m < end; m += kRowBlock) {
      const int rows = static_cast<int>(min_of(kRowBlock, end - m));
      int32_t* c = K > kDepthBlock ? sums + (m - begin) * kPanel : sums;
      kTiles[rows - 1][width / kLanes - 1](c, job.x.q + m * stride + k, stride, job.panel(p) + k * width, depth, k > 0, ahead);
      if (k + depth == K) job.finish(job.call, job.x, c, m, rows, p * kPanel, width);
    }
  }
}

void work(void* state, int64_t, int64_t) {
  Job& job = *static_cast<Job*>(state);
  const int64_t pieces = job.panels * job.chunks;
  for (int64_t piece = __atomic_fetch_add(&job.next, 1, __ATOMIC_RELAXED); piece < pieces;) {
    const int64_t next = __atomic_fetch_add(&job.next, 1, __ATOMIC_RELAXED);
    const int64_t begin = piece / job.panels * job.chunk;
    multiply(job, piece % job.panels, begin, min_of(begin + job.chunk, job.call.M), next < pieces ? next % job.panels : -1);
    piece = next;
  }
}

void quantize(void* state, int64_t begin, int64_t end) {
  const Job& job = *static_cast<const Job*>(state);
  quantize_rows(job.x, job.call.x, job.call.type, begin, end, job.call.K);
}

/// As many rows as stay in the second cache, fewer where that leaves too few pieces for the threads.
int64_t chunk_rows(const LinearCall& call, int64_t panels, int threads) {
  int64_t rows = kL2Rows / row_stride(call.K);
  if (padded_k(call.K) > kDepthBlock) rows = min_of(rows, kLongChunk);
  const int64_t wanted = (4 * threads + panels - 1) / panels;  // chunks, for four pieces a thread
  rows = min_of(rows, (call.M + wanted - 1) / wanted);
  rows = round_up(rows < 1 ? 1 : rows, kRowBlock);
  return rows;
}

}  // namespace

void linear(const LinearCall& call) {
  if (call.M <= 0 || call.N <= 0) return;
  Job job{call, quant_rows_at(call.scratch, call.M, call.K)};
  const int threads = call.M * call.N * call.K < kSerialWork ? 1 : call.threads;
  job.finish = finish_of(call.act);
  job.panels = (call.N + kPanel - 1) / kPanel;
  job.chunk = chunk_rows(call, job.panels, threads);
  job.chunks = (call.M + job.chunk - 1) / job.chunk;
  detail::parallel_for(call.M * call.K < kSerialQuant ? 1 : threads, call.M, 1, quantize, &job);
  detail::parallel_for(threads, threads, 1, work, &job);
}

namespace {

Kernels below;  // what the table held before: the other formats go there

size_t linear_packed_bytes(WeightFormat format, int64_t N, int64_t K) {
  return format == WeightFormat::Int8 ? packed_bytes(N, K) : below.linear_packed_bytes(format, N, K);
}

void linear_pack(void* packed, float* scale, const void* w, DType w_type, WeightFormat format, int64_t N, int64_t K, int threads) {
  if (format != WeightFormat::Int8) return below.linear_pack(packed, scale, w, w_type, format, N, K, threads);
  pack(packed, scale, w, w_type, N, K, threads);
}

void linear_unpack(float* w, const void* packed, const float* scale, WeightFormat format, int64_t N, int64_t K) {
  if (format != WeightFormat::Int8) return below.linear_unpack(w, packed, scale, format, N, K);
  unpack(w, packed, scale, N, K);
}

size_t linear_scratch(const LinearCall& call) {
  return call.format == WeightFormat::Int8 ? quant_rows_bytes(call.M, call.K) : below.linear_scratch(call);
}

void linear_any(const LinearCall& call) { call.format == WeightFormat::Int8 ? linear(call) : below.linear(call); }

}  // namespace
}  // namespace tenon::avx512_vnni

namespace tenon {

void fill_avx512_vnni(Kernels& k) {
  avx512_vnni::below = k;
  k.linear_packed_bytes = avx512_vnni::linear_packed_bytes;
  k.linear_pack = avx512_vnni::linear_pack;
  k.linear_unpack = avx512_vnni::linear_unpack;
  k.linear_scratch = avx512_vnni::linear_scratch;
  k.linear = avx512_vnni::linear_any;
}

}  // namespace tenon
