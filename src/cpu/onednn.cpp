// The matmul of training over oneDNN: plain factors, float32 or bf16; what it cannot do fast goes to the entry that the table had before.
//
// A plan costs 0.1 to 0.5 ms and 100 KB per number of rows, and packed batches have any number of rows. Rows are therefore done in
// pieces of up to 512 rows, multiples of 32, and a last one of 8, 16 or 24: 19 plans at most. Few pieces, because each reorders the weights anew: 240
// rows of 1024 x 512 in bf16 take 0.72 ms as one of 224 and one of 16, 0.85 as 128, 64, 32 and 16.
#include <algorithm>
#include <cstring>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "cpu/fillers.h"
#include "cpu/onednn_plan.h"

namespace tenon {
namespace {

constexpr int64_t kLargestPiece = 512;
constexpr int64_t kRowStep = 32;          // fewer rows than this in all get a plan of their own
constexpr int64_t kSerialWork = 1 << 17;  // multiplications that one thread does in the time of waking a second
constexpr int64_t kDepthPiece = 1024;     // of the rows that a weight gradient sums over
constexpr int64_t kDepthStep = 32;

Kernels below;  // what the table held before

/// Whether a matmul is too small for oneDNN: its call costs 1 to 2 us, in which a plain product does this many multiplications.
bool is_small(const MatmulCall& c) { return c.M * c.N * c.K <= 4096; }

/// The next piece of the rows left: equal ones, of whole steps, as few as there can be.
int64_t piece_of(int64_t rows) {
  if (rows < kRowStep) return rows;
  const int64_t pieces = (rows + kLargestPiece - 1) / kLargestPiece;
  return std::min(rows / kRowStep * kRowStep, (rows / pieces + kRowStep - 1) / kRowStep * kRowStep);
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

void run_whole(const MatmulCall& c) {
  onednn::PlanKey key;
  key.M = c.M;
  key.N = c.N;
  key.K = c.K;
  key.type = c.type;
  key.c_type = c.c_type;
  key.trans_a = c.trans_a;
  key.trans_b = c.trans_b;
  key.accumulate = c.accumulate;
  key.threads = threads_for(c.M * c.N * c.K, c.threads);
  if (!onednn::run(key, c.c, c.a, c.b)) below.matmul(c);
}

/// The last rows, fewer than kRowStep: copied and followed by zeros up to a number that has a plan.
void run_row_tail(const MatmulCall& c) {
  const int64_t padded = (c.M + 7) / 8 * 8;
  if (padded == c.M) return run_whole(c);
  const size_t a_row = static_cast<size_t>(c.K) * size_of(c.type), c_row = static_cast<size_t>(c.N) * size_of(c.c_type);
  const auto rows = static_cast<size_t>(c.M);
  std::vector<char> copy(static_cast<size_t>(padded) * (a_row + c_row));
  char* result = copy.data() + static_cast<size_t>(padded) * a_row;
  std::memcpy(copy.data(), c.a, rows * a_row);
  if (c.accumulate) std::memcpy(result, c.c, rows * c_row);
  MatmulCall part = c;
  part.M = padded;
  part.a = copy.data();
  part.c = result;
  run_whole(part);
  std::memcpy(c.c, result, rows * c_row);
}

/// a as it is, (M,K): pieces of rows.
void run_rows(const MatmulCall& c) {
  if (c.M < kRowStep) return run_whole(c);
  MatmulCall part = c;
  in_pieces(c.M, [&](int64_t first, int64_t rows) {
    part.M = rows;
    part.a = at(c.a, c.type, first * c.K);
    part.c = at(c.c, c.c_type, first * c.N);
    rows < kRowStep ? run_row_tail(part) : run_whole(part);
  });
}

/// The last rows of the sum, fewer than kDepthStep, copied and followed by zeros up to a number that has a plan.
void run_depth_tail(const MatmulCall& c, int64_t first, bool accumulate) {
  const int64_t rows = c.K - first, padded = (rows + 7) / 8 * 8;
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
  if (isa == Isa::Avx512) onednn::cap_at_avx512();
  below = k;
  k.matmul = matmul;
}

}  // namespace tenon
