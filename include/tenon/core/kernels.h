// THE seam: every kernel there is, as one struct of function pointers over pointers, sizes and scalars.
//
// `ref` (src/cpu/ref*.cpp) fills every entry in plain scalar code and is their specification. An instruction set copies that table
// and overwrites what it makes faster; oneDNN is a filler like the others. Kernels are noexcept in effect: their callers, the ops,
// have checked everything. "type" is F32 or BF16 and is the element type of the activations; statistics, biases, norm weights and
// sums are float32. Unless a line says "threads", a kernel runs on its caller's thread and the op splits the rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tenon/core/dtype.h"

namespace tenon {

enum class Activation : uint8_t { None, Gelu, GeluTanh, QuickGelu, Relu, Tanh, Silu, Sigmoid };

/// How a Linear's weight is stored once packed. The bytes are the filler's own business.
enum class WeightFormat : uint8_t {
  F32,
  BF16,
  Int8,  // symmetric per output channel; activations are quantised per row (token) as they come
  Int4,  // 0 to 15 less a zero point, times a scale, both of each output channel and group of k
  Fp8,   // e4m3, times a scale of each output channel and group of k
};

/// A weight (N,K) of Int4 or Fp8 before it is packed. A scale covers `group` columns, the last one what is left of K.
struct QuantizedRows {
  WeightFormat format = WeightFormat::Int4;
  int64_t N = 0, K = 0, group = 0;  // group: a multiple of 32, at most kMostGroup
  const uint8_t* q = nullptr;       // Int4: (N, ceil(K/2)), column 2i in the low half of byte i; Fp8: (N,K) e4m3
  const float* scale = nullptr;     // (N, ceil(K/group)), finite
  const uint8_t* zero = nullptr;    // (N, ceil(K/group)), 0 to 15; Int4 only
};
constexpr int64_t kMostGroup = 128;

/// Rows [begin, end) of a grouped linear and the weight that they meet.
struct LinearBlock {
  int64_t begin = 0, end = 0;
  const void* w = nullptr;
  const float* w_scale = nullptr;
};

/// y (M,N) = act(x (M,K) w^T + bias) + residual. With blocks, rows of different blocks meet different weights (the experts of a mixture);
/// blocks follow each other without gaps from row 0 to M, and bias is nullptr.
struct LinearCall {
  void* y = nullptr;
  const void* x = nullptr;
  const void* w = nullptr;         // what linear_pack or quantized_pack wrote
  const float* w_scale = nullptr;  // (N), Int8 only
  const float* bias = nullptr;     // (N) or nullptr
  const void* residual = nullptr;  // (M,N) of y's type or nullptr; added after the activation; may be y itself
  DType type = DType::F32;         // of x, y and residual
  WeightFormat format = WeightFormat::F32;
  Activation act = Activation::None;
  int64_t M = 0, N = 0, K = 0;
  int64_t group = 0;       // Int4, Fp8: as packed
  bool int8_rows = false;  // Int4: x is rounded to int8 per row and group of k, scale = max |x| / 127; else products are exact
  bool fp8_rows = false;   // Fp8: x is rounded to e4m3 per row and 128 of k, scale = max |x| / 448 (as quantize_blocks_fp8); else exact
  void* scratch = nullptr;  // linear_scratch bytes, aligned to 64
  int threads = 1;
  const LinearBlock* blocks = nullptr;  // num_blocks of them instead of w and w_scale
  int64_t num_blocks = 0;
};

/// c (M,N) = a b, or c += a b, over float32 or bf16 factors into float32 or bf16 (c_type).
/// a is (M,K), or (K,M) if trans_a; b is (K,N), or (N,K) if trans_b; all contiguous.
struct MatmulCall {
  void* c = nullptr;
  const void* a = nullptr;
  const void* b = nullptr;
  DType type = DType::F32, c_type = DType::F32;
  bool trans_a = false, trans_b = false, accumulate = false;
  int64_t M = 0, N = 0, K = 0;
  int threads = 1;
};

/// c (M,N) = a b^T, or c += a b^T, over e4m3 factors (M,K) and (N,K) as quantize_blocks_fp8 writes them: sums in float32 within each `block` of
/// k, which are multiplied by both scales and added up. Source: DeepSeek-V3 technical report, section 3.3.
struct Fp8MatmulCall {
  void* c = nullptr;
  const float8 *a = nullptr, *b = nullptr;
  const float *a_scale = nullptr, *b_scale = nullptr;  // (ceil(M / a_rows), ceil(K / block)), (ceil(N / b_rows), ceil(K / block))
  DType c_type = DType::F32;                           // or BF16
  bool accumulate = false;
  int64_t M = 0, N = 0, K = 0;
  int64_t a_rows = 1, b_rows = 128, block = 128;  // rows and k that share a scale; block: a multiple of 128, or at least K
  int threads = 1;
};

/// Which elements a dropout keeps: element i is dropped where the i-th 16-bit number of a Philox stream lies below `below`, the others
/// are multiplied by `scale`. Number i is half i % 2 (0 = the lower) of word i / 2 % 4 of block first + i / 8; see core/random.h.
struct Dropout {
  uint64_t seed = 0, stream = 0, first = 0;
  uint32_t below = 0;  // p * 65536; 0 drops nothing
  float scale = 1;     // 65536 / (65536 - below), 0 if all are dropped
};

/// What the pages of a cache hold: elements of the computation's type, or bytes with a scale for each row and head.
enum class CacheCodes : uint8_t { None, Int8, Fp8 };

/// Softmax attention over packed sequences: rows of sequence b are q_start[b] .. q_start[b+1] of q and out, and k_start[b] ..
/// k_start[b+1] of k and v. Head h reads k and v of head h / (H / Hkv). Row r of a head starts at r * ld + head * D (v and out: * Dv).
///
/// With pages, k and v lie in a cache instead: key s of sequence b is row s % page_rows of the page pages[page_start[b] + s / page_rows];
/// in a page, k begins at byte k_offset and v at byte v_offset. k_start then only counts the keys. With codes, they are bytes
/// instead, and head g of row r is to be multiplied by float r * Hkv + g of those that begin at byte k_scale_offset (v: v_scale_offset).
struct AttentionCall {
  void* out = nullptr;  // (Nq, H*Dv)
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  float* lse = nullptr;             // (H, Nq) log-sum-exp of the scaled scores, for backward; or nullptr
  const float* key_bias = nullptr;  // (Nk) added to every score of that key, or nullptr
  const int64_t *q_start = nullptr, *k_start = nullptr;
  DType type = DType::F32;
  int64_t ld_q = 0, ld_k = 0, ld_v = 0, ld_out = 0;  // row strides in elements
  int64_t B = 0, H = 0, Hkv = 0, D = 0, Dv = 0, Nq = 0;  // D of q and k, Dv of v and out
  float scale = 1;
  bool causal = false;  // key s is seen by query t if s <= t + (S - T): the last query sees the last key
  int64_t window = 0;   // with causal: and only if s > t + (S - T) - window; 0 = no window
  float softcap = 0;    // scores become softcap * tanh(score / softcap); 0 = they stay
  const float* distance_bias = nullptr;  // (H, ld_distance), or nullptr: of a score [s - (t + S - T) + distance_zero] is added
  int64_t ld_distance = 0, distance_zero = 0;
  const void* const* pages = nullptr;
  const int64_t* page_start = nullptr;  // (B+1)
  int64_t page_rows = 0;                // a power of two, 16 or more
  int64_t k_offset = 0, v_offset = 0;
  CacheCodes codes = CacheCodes::None;
  int64_t k_scale_offset = 0, v_scale_offset = 0;
  int64_t group = 1;  // attention() does the heads h .. h + group, which share a key head
  /// Of the probabilities: that of head h, row n of q and key s (counted in its sequence) is element (h * Nq + n) * ld_dropout + s.
  /// ld_dropout is a multiple of 8. Only with lse.
  Dropout dropout;
  int64_t ld_dropout = 0;
};

/// Gradients of AttentionCall: dq, dk, dv (float32) have the row strides of q, k, v. All must be zeroed before. Not with softcap or
/// pages. On the CPU the call is of float32.
struct AttentionGrad {
  const float* d_out = nullptr;  // (Nq, H*Dv), row stride ld_out
  float *dq = nullptr, *dk = nullptr, *dv = nullptr;
  float* d_distance = nullptr;  // (B, H, ld_distance) of the distance_bias, each sequence's share apart; or nullptr
};

/// The router of a mixture: from logits (N,E) to K experts for each row and their weights; the lower index of equal ones, NaN last.
struct RouterCall {
  int64_t* expert = nullptr;      // (N,K)
  float* weight = nullptr;        // (N,K): the chosen's scores; of the last `newcomers` places times newcomer_weight; divided by their sum
                                  // + 1e-20 if normalize; times scale
  float* score = nullptr;         // (N,E) the softmax or sigmoid of the logits
  const float* logits = nullptr;  // (N,E)
  const float* bias = nullptr;    // (E) added to the scores for the choice alone, or nullptr
  int64_t N = 0, E = 0, K = 0;
  bool sigmoid = false;
  int64_t groups = 1, top_groups = 1;  // only experts of the top_groups best groups of E / groups are chosen from
  bool group_by_top2 = false;          // a group's score is the sum of its two best, else its best
  bool normalize = false;
  float scale = 1;
  int64_t newcomers = 0;
  float newcomer_weight = 1;
};

/// Rows that meet the weights of their group, groups behind one another: rows start[g] .. start[g+1] of x meet w[g]. All that the call
/// points to lies where it is computed: on a device nobody else needs to know where groups begin. Rows from start[groups] on are left alone.
/// y = x w^T; or x w if transposed (F32, BF16, not gated); then act(). Gated: w[g] (2N,K) has the gates above the ups, y = act(gate) * up.
struct GroupedLinearCall {
  void* y = nullptr;                      // (M,N) of y_type
  const void* x = nullptr;                // (M,K)
  const void* const* w = nullptr;         // (groups), packed
  const float* const* w_scale = nullptr;  // (groups), Int8 only
  const int64_t* start = nullptr;         // (groups + 1), start[0] is 0
  DType type = DType::F32, y_type = DType::F32;
  WeightFormat format = WeightFormat::F32;  // BF16: of 16 bits, float16 if x is
  Activation act = Activation::None;
  bool gated = false, transposed = false, accumulate = false;  // accumulate: y += the product, without act and gate
  int64_t M = 0, N = 0, K = 0, groups = 0;                     // M: the most rows that there may be
  int64_t group = 0;                                           // Int4, Fp8: as packed
  bool fp8_rows = false;                                       // as in LinearCall
  int threads = 1;
};

/// The gradients of the groups' weights: dw[g] (N,K) = a^T b over the rows of the group, (+ dw[g] if accumulate); zeros without rows.
struct GroupedGradCall {
  float* const* dw = nullptr;                // (groups)
  const void *a = nullptr, *b = nullptr;     // (M,N), (M,K)
  const int64_t* start = nullptr;            // (groups + 1)
  DType type = DType::F32;
  bool accumulate = false;
  int64_t N = 0, K = 0, groups = 0;
  int threads = 1;
};

/// y (M,K) = x with the columns of each group's rows in the group's order: y[i][k] = x[i][order[g][k]]. A group whose order is nullptr keeps its
/// columns as they are; rows behind the last group are left alone.
struct ReorderCall {
  void* y = nullptr;
  const void* x = nullptr;
  const int64_t* const* order = nullptr;  // (groups)
  const int64_t* start = nullptr;         // (groups + 1), start[0] is 0
  DType type = DType::F32;                // F32, BF16 or F16
  int64_t M = 0, K = 0, groups = 0;       // M: the most rows that there may be
};

/// Draws a token of each row from softmax(scores / temperature), of what top_k and top_p leave.
struct SampleCall {
  int64_t* token = nullptr;       // (N); -1 where no score is a number above -inf
  const float* scores = nullptr;  // (N,V)
  int64_t N = 0, V = 0;
  float temperature = 1;
  int64_t top_k = 0;  // scores below the k-th largest are left out; 0 = none
  float top_p = 1;    // the least likely (the lower index of equal ones first) are left out while their sum stays within 1 - p; one stays
  uint64_t seed = 0;
  const int64_t *row = nullptr, *step = nullptr;  // (N): row n is drawn with block step[n] of the Philox stream row[n]; core/random.h
};

/// Steps of optimisers over n parameters p with gradients g, which are multiplied by grad_scale first. Shapes are of no account.
/// AdamW: m = b1 m + (1-b1) g, v = b2 v + (1-b2) g^2, p -= lr * (weight_decay * p + (m / correction1) / (sqrt(v / correction2) + eps)).
struct AdamWCall {
  float *p = nullptr, *m = nullptr, *v = nullptr;
  const float* g = nullptr;
  int64_t n = 0;
  float lr = 0, beta1 = 0, beta2 = 0, eps = 0, weight_decay = 0, grad_scale = 1;
  float correction1 = 1, correction2 = 1;  // 1 - beta^step
  bool decay_gradient = false;             // Adam: weight_decay * p is added to g instead
  float* vmax = nullptr;                   // amsgrad: vmax = max(vmax, v) is read in v's place
};
/// AdamW with m and v in 8 bits: blocks of 256 elements, each code a number of its book times the block's largest magnitude. Blocks are read,
/// stepped, and rounded again to the nearest number, the lower of two equally near; what is no 0 of v does not become one.
struct AdamW8Call {
  AdamWCall step;  // its m, v and vmax are not read
  uint8_t *m = nullptr, *v = nullptr;
  float *m_largest = nullptr, *v_largest = nullptr;         // (ceil(n / 256))
  const float *m_numbers = nullptr, *v_numbers = nullptr;   // (256) the books, rising
};
/// Adafactor of one parameter, `count` matrices (rows, columns); see train/optim.h. With rows == 0 it is a vector of `columns`.
struct AdafactorCall {
  float* p = nullptr;
  const float* g = nullptr;
  float *row = nullptr, *column = nullptr;  // (count, rows), (count, columns): means of g^2 + eps1; of a vector column alone, v
  float* average = nullptr;                 // of the steps, with beta1; or nullptr
  int64_t count = 1, rows = 0, columns = 0;
  float lr = 0, keep = 0, eps1 = 0, clip_threshold = 1, beta1 = 0, weight_decay = 0, grad_scale = 1;  // keep: of the second moments
  float least_size = 0;                     // above 0: lr is multiplied by max(least_size, root mean square of p)
};
/// SGD: g += weight_decay * p, m = first ? g : momentum * m + (1 - dampening) * g, p -= lr * (nesterov ? g + momentum * m : m). m may be
/// nullptr without momentum: then p -= lr * g.
struct SgdCall {
  float *p = nullptr, *m = nullptr;
  const float* g = nullptr;
  int64_t n = 0;
  float lr = 0, momentum = 0, dampening = 0, weight_decay = 0, grad_scale = 1;
  bool nesterov = false, first = false;
};
/// Lion: p -= lr * (sign(b1 m + (1-b1) g) + weight_decay * p), m = b2 m + (1-b2) g.
struct LionCall {
  float *p = nullptr, *m = nullptr;
  const float* g = nullptr;
  int64_t n = 0;
  float lr = 0, beta1 = 0, beta2 = 0, weight_decay = 0, grad_scale = 1;
};

/// Parts of rows moved: element i < width of part p of row n goes from x + n * x_row + p * x_part + i to y + n * y_row + p * y_part + i, all
/// in elements. What is read and what is written do not overlap.
struct PartsCall {
  void* y = nullptr;
  const void* x = nullptr;
  int64_t y_row = 0, y_part = 0, x_row = 0, x_part = 0;
  int64_t N = 0, parts = 1, width = 0;
  DType type = DType::F32;
  bool add = false;  // y += x instead; F32 and BF16
};

/// What is computed of each element: of x[0], of x[0] and x[1], or for Where x[0] ? x[1] : x[2]. NumPy's names and rules, also for what is no
/// number. Of I64: Copy, Negative, Absolute, Sign, Add, Subtract, Multiply, FloorDivide, Remainder, Power (with a negative exponent what is left
/// of the fraction: 0, or 1 and -1 of their own), Maximum, Minimum, And, Or, Xor of their bits, truths, Where; of Bool: Copy, Not, And, Or, Xor,
/// Maximum, Minimum, truths, Where.
enum class Elementwise : uint8_t {
  Copy, Negative, Absolute, Sign, Square, Reciprocal, Sqrt, Rsqrt, Exp, Exp2, Expm1, Log, Log2, Log10, Log1p, Sin, Cos, Tan, Arcsin, Arccos,
  Arctan, Sinh, Cosh, Tanh, Sigmoid, Erf, Floor, Ceil, Trunc, Rint, IsNan, IsInf, Not,
  Add, Subtract, Multiply, Divide, FloorDivide, Remainder, Fmod, Power, Maximum, Minimum, Arctan2, Logaddexp,
  Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual, And, Or, Xor,
  Where,
};
constexpr int kMostDims = 8;
/// y (size[0], ..., size[rank - 1]), contiguous, from operands that are walked with strides, in elements: 0 where one is broadcast, negative
/// where it is read backwards. Truths (IsNan to Not, Equal to GreaterEqual) give Bool.
struct ElementwiseCall {
  void* y = nullptr;
  const void* x[3] = {};
  Elementwise op = Elementwise::Copy;
  DType type = DType::F32;    // of the operands: F32, I64 or Bool; Where's first is Bool
  DType y_type = DType::F32;  // of y where it is no truth: `type`, or for Copy any of the three
  int rank = 0;
  int64_t size[kMostDims] = {}, stride[3][kMostDims] = {};
};

/// y (outer, inner) from x (outer, n, inner) of F32 or I64, n > 0 but for Sum and Prod. The first of equal ones, and the first NaN, is the
/// extreme. Sums of float32 are made in blocks, in a fixed order.
enum class Reduce : uint8_t { Sum, Prod, Max, Min, ArgMax, ArgMin };
struct ReduceCall {
  void* y = nullptr;  // of `type`; indices are I64
  const void* x = nullptr;
  Reduce op = Reduce::Sum;
  DType type = DType::F32;
  int64_t outer = 0, n = 0, inner = 1;
};

/// Each row of x (N,C), F32 or I64, in order: y (N,C) its elements, index (N,C) the places that they had. Equal ones keep their order, either
/// way; NaN counts as larger than all numbers, -0 equals 0. Either of y and index may be nullptr; neither is x.
struct SortCall {
  void* y = nullptr;  // of `type`
  int64_t* index = nullptr;
  const void* x = nullptr;
  DType type = DType::F32;
  bool descending = false;
  int64_t N = 0, C = 0;
};

/// Running sums or products: y (outer, n, inner) of x (outer, n, inner) along n, of F32 or I64. Those of float32 are made in blocks, in a fixed
/// order. y may be x.
struct ScanCall {
  void* y = nullptr;
  const void* x = nullptr;
  bool product = false;
  DType type = DType::F32;
  int64_t outer = 0, n = 0, inner = 1;
};

constexpr int64_t kAllSequences = -1;

struct Kernels {
  const char* name;
  bool fast_bf16 = false;  // the processor multiplies bf16: int8 models then keep bf16 between their layers

  // --- matmul; these take a number of threads ---------------------------------------------------------------------------------
  /// Bytes of a packed (N,K) weight; it does not depend on the number of rows it will meet.
  size_t (*linear_packed_bytes)(WeightFormat format, int64_t N, int64_t K);
  /// Packs w (N,K) of w_type F32, BF16 or F16. Int8 also writes scale (N) = max |row| / 127.
  void (*linear_pack)(void* packed, float* scale, const void* w, DType w_type, WeightFormat format, int64_t N, int64_t K, int threads);
  /// The weight back as float32 (N,K), as the kernel sees it.
  void (*linear_unpack)(float* w, const void* packed, const float* scale, WeightFormat format, int64_t N, int64_t K);
  /// The same for Int4 and Fp8, whose scales lie within the packed bytes.
  size_t (*quantized_packed_bytes)(WeightFormat format, int64_t N, int64_t K, int64_t group);
  void (*quantized_pack)(void* packed, const QuantizedRows& w, int threads);
  void (*quantized_unpack)(float* w, const void* packed, WeightFormat format, int64_t N, int64_t K, int64_t group);
  size_t (*linear_scratch)(const LinearCall&);
  void (*linear)(const LinearCall&);
  void (*matmul)(const MatmulCall&);
  void (*fp8_matmul)(const Fp8MatmulCall&);
  void (*grouped_linear)(const GroupedLinearCall&);
  void (*grouped_gradient)(const GroupedGradCall&);
  void (*reorder_columns)(const ReorderCall&);
  /// A float32, bf16 or f16 weight (N,K) as its elements that are not 0, `count` of them, and their places. Values become float32.
  size_t (*sparse_packed_bytes)(int64_t N, int64_t K, int64_t count);  // N, K and count below 2^31
  void (*sparse_pack)(void* packed, const void* w, DType w_type, int64_t N, int64_t K, int64_t count);
  void (*sparse_unpack)(float* w, const void* packed, int64_t N, int64_t K);
  size_t (*sparse_scratch)(const LinearCall&);
  void (*sparse_linear)(const LinearCall&);  // w is what sparse_pack wrote; w_scale and format are not read, blocks is nullptr

  // --- experts and tokens -------------------------------------------------------------------------------------------------------
  void (*route)(const RouterCall&);
  /// dlogits (N,E) from dweight (N,K), given what route() wrote; places whose expert is negative count nothing.
  void (*route_backward)(float* dlogits, const float* dweight, const RouterCall&);
  /// The places of expert (N,K) by expert, in their order: expert e has rows start[e] .. start[e+1], row i is token[i], place p lies at
  /// row[p]. A negative expert has no row: row -1; the last elements of token are then -1. start (E+1), token and row (N*K).
  void (*sort_by_expert)(int64_t* start, int64_t* token, int64_t* row, const int64_t* expert, int64_t N, int64_t K, int64_t E);
  /// The largest of each row's C >= 1, the lower index of equal ones; NaN counts as the smallest.
  void (*argmax_rows)(int64_t* index, const float* x, int64_t N, int64_t C);
  void (*sample_rows)(const SampleCall&);

  // --- attention: one call does a group of heads of one sequence, queries [begin, end) of it ------------------------------------
  size_t (*attention_scratch)(const AttentionCall&, int64_t T, int64_t S);  // bytes
  /// A device's kernel does all sequences and heads in one call: b is kAllSequences, h and begin are 0, end is the longest sequence's
  /// number of queries, scratch is nullptr, and all that the call points to lies on the device.
  void (*attention)(const AttentionCall&, int64_t b, int64_t h, int64_t begin, int64_t end, void* scratch);
  /// All query heads that share key head hkv of sequence b. Needs out and lse of the forward pass; scratch as above. On a device once,
  /// with b kAllSequences and hkv the longest sequence's number of queries.
  void (*attention_backward)(const AttentionCall&, const AttentionGrad&, int64_t b, int64_t hkv, void* scratch);
  /// The probabilities of head h of sequence b, for those who look into a model; without pages, dropout and out. Row n of q has the place
  /// query[n] among all B*T, key s (counted from the first of all) the place key[s] < S; probs (B,H,T,S) gets what is at these places, the
  /// others are left alone. A query that sees no key gets zeros. On a device once, with b kAllSequences.
  void (*attention_probs)(float* probs, const AttentionCall&, const int64_t* query, const int64_t* key, int64_t T, int64_t S, int64_t b,
                          int64_t h);

  // --- rows: x, y (N,C) ---------------------------------------------------------------------------------------------------------
  /// y = (x - mean) * rstd * w + b, rstd = 1 / sqrt(var + eps); mean and rstd (N) are written unless nullptr.
  void (*layer_norm)(void* y, const void* x, const float* w, const float* b, float* mean, float* rstd, int64_t N, int64_t C, float eps,
                     DType type);
  /// dx (N,C) overwritten; dw, db (C) accumulated. float32.
  void (*layer_norm_backward)(float* dx, float* dw, float* db, const float* dy, const float* x, const float* w, const float* mean,
                              const float* rstd, int64_t N, int64_t C);
  /// y = x * rstd * w, rstd = 1 / sqrt(mean(x^2) + eps); rstd (N) is written unless nullptr. y may be x.
  void (*rms_norm)(void* y, const void* x, const float* w, float* rstd, int64_t N, int64_t C, float eps, DType type);
  /// dx (N,C) overwritten; dw (C) accumulated. float32.
  void (*rms_norm_backward)(float* dx, float* dw, const float* dy, const float* x, const float* w, const float* rstd, int64_t N, int64_t C);
  /// Rotary position embedding: head h of row n is at n * ld + h * stride; its first R elements are turned, no other is touched. Pair i
  /// is (i, i + R/2), or (2i, 2i + 1) if interleaved: (a, b) -> (a cos - b sin, b cos + a sin), cos and sin (N, R/2). y may be x.
  void (*rope)(void* y, const void* x, const float* cos, const float* sin, int64_t N, int64_t H, int64_t ld, int64_t stride, int64_t R,
               bool interleaved, DType type);
  /// y[n] = sum over k of weight[n,k] * x[index[n,k]] (+ y[n] if accumulate); a negative index counts nothing. index, weight (N,K).
  void (*combine_rows)(void* y, const void* x, const int64_t* index, const float* weight, int64_t N, int64_t K, int64_t C, bool accumulate,
                       DType type);
  /// y = exp(x - max) / sum, per row. float32; y may be x.
  void (*softmax)(float* y, const float* x, int64_t N, int64_t C);
  /// dx = y * (dy - sum(dy * y)). dx may be dy.
  void (*softmax_backward)(float* dx, const float* dy, const float* y, int64_t N, int64_t C);
  /// y = x - log(sum of exp(x)), per row. float32; y may be x.
  void (*log_softmax)(float* y, const float* x, int64_t N, int64_t C);
  /// dx = dy - exp(y) * sum(dy). dx may be dy.
  void (*log_softmax_backward)(float* dx, const float* dy, const float* y, int64_t N, int64_t C);
  /// loss (N) = (1-s) * -log p[label] + s * mean_c(-log p[c]) and d (N,C) = its gradient, s = smoothing; both 0 where label == ignore.
  /// d may be nullptr.
  void (*cross_entropy)(float* loss, float* d, const float* logits, const int64_t* labels, int64_t N, int64_t C, int64_t ignore,
                        float smoothing);
  /// y = x / max(|x|, eps) per row; norm (N) is written unless nullptr. float32.
  void (*l2_normalize)(float* y, float* norm, const float* x, int64_t N, int64_t C, float eps);
  /// dx = (dy - y (y . dy)) / norm, and dy / eps where norm <= eps: there the divisor was a constant. dx may be dy.
  void (*l2_normalize_backward)(float* dx, const float* dy, const float* y, const float* norm, int64_t N, int64_t C, float eps);
  /// out[n] = row a_index[n] of a times row b_index[n] of b, 0 where an index is negative; without indices row n. float32.
  void (*dot_rows)(float* out, const float* a, const int64_t* a_index, const float* b, const int64_t* b_index, int64_t N, int64_t C);
  /// y (N,C) of y_type = table[index[i]] (+ y if accumulate); the table is F32, BF16 or F16.
  void (*gather_rows)(void* y, DType y_type, const void* table, DType table_type, const int64_t* index, int64_t N, int64_t C,
                      bool accumulate);
  /// table[index[i]] += dy[i]. float32. Not split over rows: indices may repeat.
  void (*scatter_add_rows)(float* table, const float* dy, const int64_t* index, int64_t N, int64_t C);
  /// sum (C) += sum over rows of x. float32.
  void (*sum_rows)(float* sum, const float* x, int64_t N, int64_t C);
  /// q = round(x / scale), scale (N) = max |row| / 127 (1 for a zero row).
  void (*quantize_rows)(int8_t* q, float* scale, const void* x, int64_t N, int64_t C, DType type);
  /// q = x / scale as e4m3, scale (N) = max |row| / 448 (1 for a zero row).
  void (*quantize_rows_fp8)(float8* q, float* scale, const void* x, int64_t N, int64_t C, DType type);

  /// q = x / scale as e4m3, a scale of max |block| / 448 (1 for zeros) for each block of `rows` rows and `columns` columns, the last ones what is
  /// left: scale (ceil(N / rows), ceil(C / columns)). Transposed: q is (C,N), of x^T, and blocks are those of x^T. type: F32, BF16 or F16.
  void (*quantize_blocks_fp8)(float8* q, float* scale, const void* x, int64_t N, int64_t C, int64_t rows, int64_t columns, bool transposed,
                              DType type);
  /// y = q * scale of its row; codes are int8 or e4m3.
  void (*dequantize_rows)(float* y, const void* q, const float* scale, int64_t N, int64_t C, CacheCodes codes);
  void (*move_parts)(const PartsCall&);
  /// y[n * ld + m] = x[m * N + n], x (M,N). float32.
  void (*transpose)(float* y, const float* x, int64_t M, int64_t N, int64_t ld);
  /// Row i of x goes to page[i] + offset + slot[i] * bytes, the length of a row in bytes; the other way round, row i of y comes from there.
  /// Pages and offset are multiples of the largest power of two up to 16 that divides `bytes`.
  void (*store_rows)(void* const* page, const int64_t* slot, int64_t offset, const void* x, int64_t N, int64_t bytes);
  void (*load_rows)(void* y, const void* const* page, const int64_t* slot, int64_t offset, int64_t N, int64_t bytes);

  // --- elements: n of them; y may be an input -----------------------------------------------------------------------------------
  void (*activation)(void* y, const void* x, int64_t n, Activation act, DType type);
  void (*activation_backward)(float* dx, const float* dy, const float* x, int64_t n, Activation act);
  /// y (N,F) = act(gate) * up, rows of gate and up ld apart.
  void (*gated)(void* y, const void* gate, const void* up, int64_t ld, int64_t N, int64_t F, Activation act, DType type);
  /// Gradients of y = act(gate) * up. float32.
  void (*gated_backward)(float* dgate, float* dup, const float* dy, const float* gate, const float* up, int64_t n, Activation act);
  void (*add)(void* y, const void* a, const void* b, int64_t n, DType type);
  void (*mul)(float* y, const float* a, const float* b, int64_t n);
  /// y = x within [low, high], else the bound.
  void (*clamp)(void* y, const void* x, int64_t n, float low, float high, DType type);
  /// dx = dy where x lies within, else 0. float32; dx may be dy.
  void (*clamp_backward)(float* dx, const float* dy, const float* x, int64_t n, float low, float high);
  /// y = a * x + b * y; b == 0 does not read y. float32.
  void (*axpby)(float* y, const float* x, int64_t n, float a, float b);
  void (*elementwise)(const ElementwiseCall&);
  void (*reduce)(const ReduceCall&);
  void (*sort_rows)(const SortCall&);
  void (*scan)(const ScanCall&);
  /// Between F32, BF16 and F16, rounded to nearest even.
  void (*cast)(void* y, DType y_type, const void* x, DType x_type, int64_t n);

  // --- training -----------------------------------------------------------------------------------------------------------------
  /// y = the kept of x, times scale: elements [begin, begin + n) of the dropout, at y and x. It is its own gradient. y may be x.
  void (*dropout)(void* y, const void* x, const Dropout& d, int64_t begin, int64_t n, DType type);
  void (*adamw)(const AdamWCall&);
  void (*adamw8)(const AdamW8Call&);
  void (*adafactor)(const AdafactorCall&);
  void (*sgd)(const SgdCall&);
  void (*lion)(const LionCall&);
  /// The sum of x^2, in double.
  double (*sum_of_squares)(const float* x, int64_t n);

  // --- images -------------------------------------------------------------------------------------------------------------------
  /// Patches of x (B, channels, height, width) as rows (B * P, channels * p * p) of y_type, the order of a convolution with stride p.
  void (*unfold_patches)(void* y, DType y_type, const float* x, int64_t B, int64_t channels, int64_t height, int64_t width, int64_t p);
};

/// The table chosen for this machine, once: the best instruction set that the processor has, or TENON_ISA=ref|avx2|avx512|amx|neon.
/// Errors: Error(Device) if TENON_ISA names a set that this build or machine lacks.
const Kernels& cpu_kernels();

/// One row per instruction set known to this build, best first.
struct KernelChoice {
  std::string name;
  bool usable = false;
  std::string reason;  // why it is or is not usable, in words
  const Kernels* kernels = nullptr;
};
const std::vector<KernelChoice>& kernel_choices();

}  // namespace tenon
