// The dense matmul entries over oneDNN: float32 and bf16; what it cannot do fast goes to the entries that the table had before.
//
// A plan costs 0.1 to 0.5 ms and 100 KB per number of rows, and packed batches have any number of rows. Rows are therefore done in
// pieces of a few sizes: 512, 256, ..., 32, and a last one of less than 32 exactly. The pieces cost nothing that can be measured
// (856 rows of 3072 x 768 in bf16: 8.9 ms in four pieces, 9.1 ms in one), because a piece of 32 rows already computes for longer than
// the weights take to stream.
#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "cpu/cpuid.h"
#include "cpu/fillers.h"
#include "cpu/onednn_plan.h"
#include "tenon/core/parallel.h"

namespace tenon {
namespace {

using onednn::PlanArgs;
using onednn::PlanKey;
using onednn::Residual;

constexpr int64_t kLargestPiece = 512;
constexpr int64_t kExactRows = 32;        // fewer rows than this get a plan of their own: decoding and short sentences
constexpr int64_t kSerialWork = 1 << 17;  // multiplications that one thread does in the time of waking a second
constexpr int64_t kDepthPiece = 1024;     // of the rows that a weight gradient sums over
constexpr int64_t kDepthStep = 64;

Kernels below;                                 // what the table held before
bool faster_f32 = false, faster_bf16 = false;  // whether its linear over such weights is the faster one

/// Whether a matmul is too small for oneDNN: its call costs 1 to 2 us, in which a plain product does this many multiplications.
bool is_small(const MatmulCall& c) { return c.M * c.N * c.K <= 4096; }

int64_t piece_of(int64_t rows) {
  if (rows < kExactRows) return rows;
  return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(std::min(rows, kLargestPiece))));
}

/// Calls body(first, rows) on the pieces of `rows` rows.
template <class Body>
void in_pieces(int64_t rows, Body&& body) {
  for (int64_t first = 0, piece; first < rows; first += piece) body(first, piece = piece_of(rows - first));
}

int threads_for(int64_t work, int threads) {
#ifdef _OPENMP
  if (omp_in_parallel()) return 1;
#endif
  return work < kSerialWork ? 1 : std::max(1, threads);
}

const void* at(const void* p, DType type, int64_t elements) {
  return static_cast<const char*>(p) + elements * static_cast<int64_t>(size_of(type));
}
void* at(void* p, DType type, int64_t elements) { return static_cast<char*>(p) + elements * static_cast<int64_t>(size_of(type)); }

DType type_of(WeightFormat format) { return format == WeightFormat::BF16 ? DType::BF16 : DType::F32; }

/// Bytes that oneDNN packs a weight into; 0 where the weight belongs to the entries below: int8, a format that they do faster, and bf16
/// on a processor without it.
size_t own_bytes(WeightFormat format, int64_t N, int64_t K) {
  if (format == WeightFormat::Int8 || (format == WeightFormat::F32 ? faster_f32 : faster_bf16)) return 0;
  return onednn::packed_bytes(type_of(format), N, K);
}

size_t linear_packed_bytes(WeightFormat format, int64_t N, int64_t K) {
  const size_t own = own_bytes(format, N, K);
  return own ? own : below.linear_packed_bytes(format, N, K);
}

void linear_pack(void* packed, float* scale, const void* w, DType w_type, WeightFormat format, int64_t N, int64_t K, int threads) {
  if (!own_bytes(format, N, K)) return below.linear_pack(packed, scale, w, w_type, format, N, K, threads);
  const DType type = type_of(format);
  std::vector<char> converted(w_type == type ? 0 : static_cast<size_t>(std::min(N, onednn::kPackRows) * K) * size_of(type));
  for (int64_t first = 0; first < N; first += onednn::kPackRows) {
    const int64_t rows = std::min(onednn::kPackRows, N - first);
    const void* from = at(w, w_type, first * K);
    if (w_type != type) {
      parallel_for(threads, rows, 16, [&](int64_t begin, int64_t end) {
        cpu_kernels().cast(at(converted.data(), type, begin * K), type, at(from, w_type, begin * K), w_type, (end - begin) * K);
      });
      from = converted.data();
    }
    onednn::pack_rows(packed, from, type, N, K, first, rows, threads);
  }
}

void linear_unpack(float* w, const void* packed, const float* scale, WeightFormat format, int64_t N, int64_t K) {
  if (!own_bytes(format, N, K)) return below.linear_unpack(w, packed, scale, format, N, K);
  onednn::unpack(w, DType::F32, packed, type_of(format), N, K, 1);
}

// --- linear ------------------------------------------------------------------------------------------------------------------------

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

/// Where activations and weights differ in type, copies of x, and of y for float32 weights with bf16 activations, lie in scratch.
size_t linear_scratch(const LinearCall& c) {
  if (!own_bytes(c.format, c.N, c.K)) return below.linear_scratch(c);
  const DType type = type_of(c.format);
  if (type == c.type) return 0;
  const size_t x = aligned(static_cast<size_t>(c.M * c.K) * size_of(type));
  return type == DType::F32 ? x + static_cast<size_t>(c.M * c.N) * sizeof(float) : x;
}

void cast(void* y, DType y_type, const void* x, DType x_type, int64_t n, int threads) {
  parallel_for(threads, n, 1 << 14, [&](int64_t begin, int64_t end) {
    cpu_kernels().cast(at(y, y_type, begin), y_type, at(x, x_type, begin), x_type, end - begin);
  });
}

/// Never met so far: a packed layout that has a fast kernel for some epilogues or numbers of rows only. Right, not fast.
void linear_plain(const PlanKey& key, const PlanArgs& args) {
  std::vector<float> w(static_cast<size_t>(key.N * key.K)), x(static_cast<size_t>(key.M * key.K)), y(static_cast<size_t>(key.M * key.N));
  onednn::unpack(w.data(), DType::F32, args.weights, key.type, key.N, key.K, key.threads);
  cast(x.data(), DType::F32, args.src, key.type, key.M * key.K, key.threads);
  if (args.residual) cast(y.data(), DType::F32, args.residual, key.dst_type, key.M * key.N, key.threads);
  LinearCall plain;
  plain.y = y.data();
  plain.x = x.data();
  plain.w = w.data();
  plain.bias = args.bias;
  plain.residual = args.residual ? y.data() : nullptr;
  plain.act = key.act;
  plain.M = key.M;
  plain.N = key.N;
  plain.K = key.K;
  plain.threads = key.threads;
  std::vector<char> scratch(below.linear_scratch(plain) + 64);
  plain.scratch = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64);
  below.linear(plain);
  cast(args.dst, key.dst_type, y.data(), DType::F32, key.M * key.N, key.threads);
}

/// x and w of one type; y and the residual of y_type.
void linear_same(const LinearCall& c, const void* x, void* y, const void* residual, DType y_type) {
  PlanKey key;
  key.N = c.N;
  key.K = c.K;
  key.type = type_of(c.format);
  key.dst_type = y_type;
  key.act = c.act;
  key.residual = !residual ? Residual::None : residual == y ? Residual::InPlace : Residual::Separate;
  key.bias = c.bias != nullptr;
  key.packed = true;
  in_pieces(c.M, [&](int64_t first, int64_t rows) {
    key.M = rows;
    key.threads = threads_for(rows * c.N * c.K, c.threads);
    PlanArgs args;
    args.src = at(x, key.type, first * c.K);
    args.weights = c.w;
    args.dst = at(y, y_type, first * c.N);
    args.bias = c.bias;
    if (residual) args.residual = at(residual, y_type, first * c.N);
    if (!onednn::run(key, args)) linear_plain(key, args);
  });
}

void linear(const LinearCall& c) {
  if (c.M <= 0 || c.N <= 0) return;
  if (!own_bytes(c.format, c.N, c.K)) return below.linear(c);
  const DType type = type_of(c.format);
  if (type == c.type) return linear_same(c, c.x, c.y, c.residual, c.type);
  cast(c.scratch, type, c.x, c.type, c.M * c.K, c.threads);
  if (type == DType::BF16) return linear_same(c, c.scratch, c.y, c.residual, c.type);
  // float32 weights with bf16 activations: everything in float32, rounded once at the end
  auto* y = reinterpret_cast<float*>(static_cast<char*>(c.scratch) + aligned(static_cast<size_t>(c.M * c.K) * sizeof(float)));
  if (c.residual) cast(y, DType::F32, c.residual, c.type, c.M * c.N, c.threads);
  linear_same(c, c.scratch, y, c.residual ? y : nullptr, DType::F32);
  cast(c.y, c.type, y, DType::F32, c.M * c.N, c.threads);
}

// --- matmul ------------------------------------------------------------------------------------------------------------------------

PlanKey key_of(const MatmulCall& c) {
  PlanKey key;
  key.M = c.M;
  key.N = c.N;
  key.K = c.K;
  key.type = c.type;
  key.dst_type = c.c_type;
  key.residual = c.accumulate ? Residual::InPlace : Residual::None;
  key.trans_a = c.trans_a;
  key.trans_b = c.trans_b;
  key.threads = threads_for(c.M * c.N * c.K, c.threads);
  return key;
}

void run_whole(const MatmulCall& c) {
  PlanArgs args;
  args.src = c.a;
  args.weights = c.b;
  args.dst = c.c;
  if (!onednn::run(key_of(c), args)) below.matmul(c);
}

/// a as it is, (M,K): pieces of rows.
void run_rows(const MatmulCall& c) {
  MatmulCall part = c;
  in_pieces(c.M, [&](int64_t first, int64_t rows) {
    part.M = rows;
    part.a = at(c.a, c.type, first * c.K);
    part.c = at(c.c, c.c_type, first * c.N);
    run_whole(part);
  });
}

/// The last rows of the sum, fewer than kDepthStep, copied and followed by zeros up to a number that has a plan.
void run_depth_tail(const MatmulCall& c, int64_t first, bool accumulate) {
  const int64_t rows = c.K - first, padded = std::max<int64_t>(8, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(rows))));
  const size_t size = size_of(c.type), a_row = static_cast<size_t>(c.M) * size, b_row = static_cast<size_t>(c.N) * size;
  std::vector<char> copy(static_cast<size_t>(padded) * (a_row + b_row));
  char* b = copy.data() + static_cast<size_t>(padded) * a_row;
  std::memcpy(copy.data(), at(c.a, c.type, first * c.M), static_cast<size_t>(rows) * a_row);
  std::memcpy(b, at(c.b, c.type, first * c.N), static_cast<size_t>(rows) * b_row);
  MatmulCall part = c;
  part.K = padded;
  part.a = copy.data();
  part.b = b;
  part.accumulate = accumulate;
  run_whole(part);
}

/// a (K,M) and b (K,N), a weight gradient: K is the number of rows of the batch, and is summed over in pieces.
void run_depth(const MatmulCall& c) {
  MatmulCall part = c;
  for (int64_t first = 0; first < c.K; first += part.K) {
    const int64_t left = c.K - first;
    if (left < kDepthStep) return run_depth_tail(c, first, part.accumulate);
    part.K = std::min(kDepthPiece, left / kDepthStep * kDepthStep);
    part.a = at(c.a, c.type, first * c.M);
    part.b = at(c.b, c.type, first * c.N);
    run_whole(part);
    part.accumulate = true;
  }
}

void matmul(const MatmulCall& c) {
  if (c.M <= 0 || c.N <= 0) return;
  if (c.K <= 0 || is_small(c)) return below.matmul(c);
  if (!c.trans_a) return run_rows(c);
  // Sums in bf16 are not split: each piece would round.
  c.trans_b || c.c_type != DType::F32 ? run_whole(c) : run_depth(c);
}

}  // namespace

void fill_onednn(Kernels& k, Isa isa) {
  if (isa == Isa::Ref || isa == Isa::Portable) return;  // these exist to compare with
  if (isa == Isa::Avx2) onednn::cap_at_avx2();
  below = k;
  faster_f32 = isa == Isa::Avx512 && cpu_features().avx512_vnni;
  faster_bf16 = isa == Isa::Avx512 && cpu_features().avx512_bf16;
  k.linear_packed_bytes = linear_packed_bytes;
  k.linear_pack = linear_pack;
  k.linear_unpack = linear_unpack;
  k.linear_scratch = linear_scratch;
  k.linear = linear;
  k.matmul = matmul;
}

}  // namespace tenon
