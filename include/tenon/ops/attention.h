// Softmax attention over packed sequences: forward, backward, and the probabilities on request.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>

#include "tenon/ops/dropout.h"
#include "tenon/ops/embedding.h"
#include "tenon/ops/matmul.h"

namespace tenon::ops {

struct AttentionOptions {
  int64_t heads = 1, kv_heads = 0;            // 0 = as many as heads
  float scale = 0;                            // 0 = 1 / sqrt(D)
  bool causal = false;                        // the last query sees the last key
  int64_t window = 0;                         // with causal: how many keys a query sees, itself among them; 0 = all
  float softcap = 0;                          // scores become softcap * tanh(score / softcap)
  std::span<const int64_t> q_start, k_start;  // (B+1): where each sequence's rows begin; the last is their number
  const float* key_bias = nullptr;            // (Nk) added to every score of a key
  Tensor distance_bias = {};                  // (H, distances) float32: added by how far key s lies from the query's own place t among
  int64_t distance_zero = 0;                  // the keys, at [s - t + distance_zero]
  float dropout = 0;                          // of the probabilities, if ctx.training().dropout
};

/// Keys and values in the pages of a cache.
struct PagedKeys {
  std::span<const void* const> pages;     // of all sequences, one after another
  std::span<const int64_t> page_start;    // (B+1)
  int64_t page_rows = 0;                  // keys in a page, a power of two, 16 or more
  int64_t k_offset = 0, v_offset = 0;     // bytes from a page's beginning
  int64_t ld_k = 0, ld_v = 0;             // elements between rows
  int64_t key_width = 0, value_width = 0;  // of one head
  DType dtype = DType::F32;                // of the queries and, without codes, of the cache
  Device device = {};                      // where the pages lie
  CacheCodes codes = CacheCodes::None;     // of the rows; their scales as in AttentionCall
  int64_t k_scale_offset = 0, v_scale_offset = 0;
};

namespace detail {

/// Queries per task: long sequences are shared among threads, short ones are one task, since each task packs its keys again.
constexpr int64_t kQueryBlock = 512;

inline void check_starts(std::span<const int64_t> start, int64_t rows, std::string_view what) {
  check(!start.empty() && start.front() == 0 && start.back() == rows && std::is_sorted(start.begin(), start.end()), ErrorCode::Shape,
        "attention", what, ": expected rising row numbers from 0 to ", rows);
}

inline void set_distance_bias(AttentionCall& c, const AttentionOptions& o) {
  const Tensor& bias = o.distance_bias;
  check(bias.rank() == 2 && bias.size(0) == c.H && bias.dtype() == DType::F32, ErrorCode::Shape, "attention",
        "distance_bias: expected float32 (", c.H, ", distances), got ", bias.describe());
  for (int64_t b = 0; b < c.B; ++b) {
    const int64_t T = o.q_start[b + 1] - o.q_start[b], S = o.k_start[b + 1] - o.k_start[b];
    if (T == 0 || S == 0) continue;
    check(o.distance_zero >= S - 1 && S - 1 - (S - T) + o.distance_zero < bias.size(1), ErrorCode::Limit, "attention",
          "distance_bias: expected distances from ", 1 - S, " to ", T - 1, ", got ", -o.distance_zero, " to ",
          bias.size(1) - 1 - o.distance_zero);
  }
  c.distance_bias = bias.ptr<float>();
  c.ld_distance = bias.size(1), c.distance_zero = o.distance_zero;
}

inline AttentionCall attention_call(const AttentionOptions& o, int64_t Nq, int64_t Nk, int64_t D, int64_t Dv, DType type) {
  check_starts(o.q_start, Nq, "q_start");
  check_starts(o.k_start, Nk, "k_start");
  check(o.q_start.size() == o.k_start.size(), ErrorCode::Shape, "attention", "q_start and k_start: expected one length, got ",
        o.q_start.size(), " and ", o.k_start.size());
  AttentionCall c;
  c.key_bias = o.key_bias;
  c.q_start = o.q_start.data(), c.k_start = o.k_start.data();
  c.type = type;
  c.B = static_cast<int64_t>(o.q_start.size()) - 1;
  c.H = o.heads, c.Hkv = o.kv_heads ? o.kv_heads : o.heads;
  c.D = D, c.Dv = Dv, c.Nq = Nq;
  c.scale = o.scale != 0 ? o.scale : 1.0f / std::sqrt(static_cast<float>(D));
  c.causal = o.causal;
  check(o.window >= 0 && (o.window == 0 || o.causal), ErrorCode::Limit, "attention", "window: expected 0 or more, and causal, got ", o.window);
  check(o.softcap >= 0, ErrorCode::Limit, "attention", "softcap: expected 0 or more, got ", o.softcap);
  c.window = o.window, c.softcap = o.softcap;
  if (o.distance_bias.defined()) set_distance_bias(c, o);
  return c;
}

/// Draws the numbers that drop probabilities. Errors: Error(Limit) unless the dropout is in [0, 1].
inline void set_dropout(Context& ctx, AttentionCall& c, const AttentionOptions& o) {
  if (!ctx.training().dropout || o.dropout == 0) return;
  int64_t longest = 0;
  for (int64_t b = 0; b < c.B; ++b) longest = std::max(longest, c.k_start[b + 1] - c.k_start[b]);
  c.ld_dropout = (longest + 7) / 8 * 8;
  c.dropout = draw_dropout(ctx, o.dropout, c.H * c.Nq * c.ld_dropout, "attention");
}

inline int64_t head_width(const AttentionOptions& o, int64_t width) {
  check(o.heads > 0 && width > 0 && width % o.heads == 0 && (o.kv_heads == 0 || (o.kv_heads > 0 && o.heads % o.kv_heads == 0)),
        ErrorCode::Shape, "attention", "heads: expected to divide a width of ", width, " and to be a multiple of the key heads, got ",
        o.heads, " and ", o.kv_heads);
  return width / o.heads;
}

/// Calls task(i, scratch) for each i in [0, n) on all threads, each taking the next one when it is done with the last.
template <class Task>
void share_tasks(Context& ctx, int64_t n, size_t scratch_bytes, Task&& task) {
  const int64_t workers = std::min<int64_t>(ctx.threads(), n);
  if (workers <= 0) return;
  const auto each = static_cast<int64_t>((scratch_bytes + 63) / 64 * 64);
  Tensor scratch = ctx.empty({workers, each}, DType::U8);
  auto* memory = static_cast<char*>(scratch.raw());
  std::atomic<int64_t> next{0};
  parallel_for(static_cast<int>(workers), workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker)
      for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) task(i, memory + worker * each);
  });
}

/// Sequences with the most work first, so that the last tasks are small.
inline std::vector<int64_t> by_size(const AttentionCall& c) {
  std::vector<int64_t> order(static_cast<size_t>(c.B));
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto work = [&](int64_t b) { return (c.q_start[b + 1] - c.q_start[b]) * (c.k_start[b + 1] - c.k_start[b]); };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return work(a) > work(b); });
  return order;
}

inline size_t scratch_for_all(const Kernels& k, const AttentionCall& c) {
  size_t most = 0;
  for (int64_t b = 0; b < c.B; ++b)
    most = std::max(most, k.attention_scratch(c, c.q_start[b + 1] - c.q_start[b], c.k_start[b + 1] - c.k_start[b]));
  return most;
}

/// How many heads that share a key head a task takes, so that keys are read once for all of them: as many as fit a block of queries and
/// leave work for all threads. Long sequences have work enough in one head.
inline int64_t heads_per_task(const AttentionCall& c, int threads) {
  constexpr int64_t kMostRows = 48, kShort = 32;
  int64_t longest = 1, busy = 0;
  for (int64_t b = 0; b < c.B; ++b) {
    longest = std::max(longest, c.q_start[b + 1] - c.q_start[b]);
    busy += c.q_start[b + 1] > c.q_start[b];
  }
  const int64_t group = c.H / c.Hkv;
  if (longest > kShort) return 1;
  const auto fits = [&](int64_t heads) { return heads * std::min<int64_t>(longest, 3) <= kMostRows && busy * (c.H / heads) >= threads; };
  for (int64_t heads = group; heads > 1; --heads)
    if (group % heads == 0 && fits(heads)) return heads;
  return 1;
}

/// What a call points to, on the Context's device.
class CallOnDevice {
 public:
  /// Nk: of key_bias.
  CallOnDevice(Context& ctx, AttentionCall& c, int64_t pages, int64_t Nk)
      : q_start_(ctx, {c.q_start, static_cast<size_t>(c.B) + 1}),
        k_start_(ctx, {c.k_start, static_cast<size_t>(c.B) + 1}),
        page_start_(ctx, {c.page_start, c.page_start ? static_cast<size_t>(c.B) + 1 : 0}),
        key_bias_(ctx, {c.key_bias, c.key_bias ? static_cast<size_t>(Nk) : 0}),
        pages_(ctx, {c.pages, static_cast<size_t>(pages)}) {
    for (int64_t b = 0; b < c.B; ++b) longest_ = std::max(longest_, c.q_start[b + 1] - c.q_start[b]);
    c.q_start = q_start_.data(), c.k_start = k_start_.data();
    c.page_start = page_start_.data(), c.pages = pages_.data();
    c.key_bias = key_bias_.data();
  }
  int64_t longest() const { return longest_; }

 private:
  Numbers q_start_, k_start_, page_start_;
  OnDevice<float> key_bias_;
  OnDevice<const void*> pages_;
  int64_t longest_ = 0;
};

/// pages: how many there are, if any.
inline void run_attention(Context& ctx, AttentionCall c, int64_t pages = 0) {
  if (!ctx.device().is_cpu()) {
    if (c.Nq == 0) return;
    const CallOnDevice call(ctx, c, pages, c.k_start[c.B]);
    return ctx.kernels().attention(c, kAllSequences, 0, 0, call.longest(), nullptr);
  }
  struct Task {
    int64_t b, h, begin, end;
  };
  c.group = heads_per_task(c, ctx.threads());
  std::vector<Task> tasks;
  for (const int64_t b : by_size(c)) {
    const int64_t T = c.q_start[b + 1] - c.q_start[b];
    for (int64_t h = 0; h < c.H; h += c.group)
      for (int64_t t = 0; t < T; t += kQueryBlock) tasks.push_back({b, h, t, std::min(T, t + kQueryBlock)});
  }
  share_tasks(ctx, static_cast<int64_t>(tasks.size()), scratch_for_all(ctx.kernels(), c),
              [&](int64_t i, void* scratch) { ctx.kernels().attention(c, tasks[i].b, tasks[i].h, tasks[i].begin, tasks[i].end, scratch); });
}

/// What a device computes attention of x in: where training multiplies float32 in 16 bits or float8, in 16 bits, on tensor cores. The CPU's
/// kernels for 16 bits have no gradient.
inline DType attention_type(const Context& ctx, const Tensor& x) {
  if (ctx.device().is_cpu()) return x.dtype();
  const DType type = product_type(ctx, x);
  return type == DType::F8E4M3 ? DType::BF16 : type;
}

/// The gradients, with that of the distance bias summed over the sequences' shares.
inline std::vector<Tensor> backward_results(Context& ctx, const AttentionCall& c, const Tensor& dq, const Tensor& dk, const Tensor& dv,
                                            const Tensor& shares) {
  if (!c.distance_bias) return {dq, dk, dv};
  Tensor d_distance = ctx.zeros({c.H, c.ld_distance}, DType::F32);
  ctx.kernels().sum_rows(d_distance.ptr<float>(), shares.ptr<float>(), c.B, c.H * c.ld_distance);
  return {dq, dk, dv, d_distance};
}

inline std::vector<Tensor> attention_backward(Context& ctx, AttentionCall c, const Tensor& q, const Tensor& k, const Tensor& v,
                                              const Tensor& out, const Tensor& lse, const Tensor& dy) {
  check_here(ctx, "attention", q, dy);
  Tensor dq = ctx.zeros(q.shape(), DType::F32), dk = ctx.zeros(k.shape(), DType::F32), dv = ctx.zeros(v.shape(), DType::F32);
  c.q = q.address(), c.k = k.address(), c.v = v.address();
  c.out = const_cast<void*>(out.address());  // read only from here on
  c.lse = const_cast<float*>(lse.ptr<float>());
  Tensor shares;
  AttentionGrad g{.d_out = dy.ptr<float>(), .dq = dq.ptr<float>(), .dk = dk.ptr<float>(), .dv = dv.ptr<float>()};
  if (c.distance_bias) {
    shares = ctx.zeros({c.B, c.H, c.ld_distance}, DType::F32);
    g.d_distance = shares.ptr<float>();
  }
  if (!ctx.device().is_cpu()) {
    const CallOnDevice call(ctx, c, 0, k.size(0));
    if (c.Nq > 0) ctx.kernels().attention_backward(c, g, kAllSequences, call.longest(), nullptr);
    return backward_results(ctx, c, dq, dk, dv, shares);
  }
  const std::vector<int64_t> order = by_size(c);
  share_tasks(ctx, c.B * c.Hkv, scratch_for_all(ctx.kernels(), c),
              [&](int64_t i, void* scratch) { ctx.kernels().attention_backward(c, g, order[i / c.Hkv], i % c.Hkv, scratch); });
  return backward_results(ctx, c, dq, dk, dv, shares);
}

}  // namespace detail

/// out = dropout(softmax(scale * q k^T + key_bias + distance_bias)) v, sequence by sequence and head by head, without ever holding T x S
/// scores.
/// On a device whose training multiplies in less than float32, float32 q, k and v are rounded once to bfloat16 or float16; the sums, the result
/// and the gradients are float32.
/// Shapes: q (Nq, H*D), k (Nk, Hkv*D), v (Nk, Hkv*Dv) f32|bf16 of one dtype -> (Nq, H*Dv). A sequence without keys gives zeros.
/// Errors: Error(Shape) if widths, heads or starts do not fit; Error(Type); Error(Limit) for a dropout outside [0, 1].
/// Source: Dao 2023, "FlashAttention-2"; torch.nn.functional.scaled_dot_product_attention.
inline Tensor attention(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options) {
  for (const Tensor* t : {&q, &k, &v}) {
    detail::check_f32_or_bf16(*t, "attention", "q, k, v");
    check(t->rank() == 2 && t->dtype() == q.dtype(), ErrorCode::Shape, "attention", "q, k, v: expected matrices of ", name_of(q.dtype()),
          ", got ", t->describe());
  }
  const int64_t D = detail::head_width(options, q.size(1));
  const int64_t Hkv = options.kv_heads ? options.kv_heads : options.heads;
  check(k.size(0) == v.size(0) && k.size(1) == Hkv * D && v.size(1) > 0 && v.size(1) % Hkv == 0, ErrorCode::Shape, "attention",
        "k and v: expected (", k.size(0), ", ", Hkv * D, ") and as many rows of a multiple of ", Hkv, ", got ", k.shape(), " and ", v.shape());
  const DType type = detail::attention_type(ctx, q);
  AttentionCall c = detail::attention_call(options, q.size(0), k.size(0), D, v.size(1) / Hkv, type);
  detail::set_dropout(ctx, c, options);
  detail::check_here(ctx, "attention", q, k, v, options.distance_bias);
  const Tensor rq = detail::converted(ctx, q, type), rk = detail::converted(ctx, k, type), rv = detail::converted(ctx, v, type);
  Tensor out = ctx.empty({q.size(0), c.H * c.Dv}, type), lse;
  const Tensor& distance = options.distance_bias;
  const bool record = recording(ctx, "attention", q, k, v) || (distance.defined() && recording(ctx, "attention", distance));
  if (record) {
    check(c.softcap == 0, ErrorCode::Type, "attention", "gradient: there is none with softcap");
    lse = ctx.empty({c.H, c.Nq}, DType::F32);
    c.lse = lse.ptr<float>();
  }
  c.out = out.address(), c.q = rq.address(), c.k = rk.address(), c.v = rv.address();
  c.ld_q = q.size(1), c.ld_out = out.size(1), c.ld_k = k.size(1), c.ld_v = v.size(1);
  detail::run_attention(ctx, c);
  const Tensor y = detail::converted(ctx, out, q.dtype());
  if (record) {
    std::vector<int64_t> q_start(options.q_start.begin(), options.q_start.end()), k_start(options.k_start.begin(), options.k_start.end());
    std::vector<float> bias;
    if (options.key_bias) bias.assign(options.key_bias, options.key_bias + k.size(0));
    std::vector<Tensor> inputs = {q, k, v};
    if (distance.defined()) inputs.push_back(distance);
    ctx.recorder()->record("attention", {y}, inputs,
                           [=, q_start = std::move(q_start), k_start = std::move(k_start), bias = std::move(bias)](
                               Context& own, std::span<const Tensor> dy) -> std::vector<Tensor> {
                             AttentionCall call = c;
                             call.q_start = q_start.data(), call.k_start = k_start.data();
                             call.key_bias = bias.empty() ? nullptr : bias.data();
                             call.distance_bias = distance.defined() ? distance.ptr<float>() : nullptr;
                             return detail::attention_backward(own, call, rq, rk, rv, out, lse, dy[0]);
                           });
  }
  return y;
}

/// The same with q, k and v side by side in one matrix, read where they lie. Inference only. `queries`, if not empty, are the rows whose
/// queries are wanted; options.q_start then counts these.
/// Shapes: qkv (N, (H + 2 Hkv) * D) f32|bf16 -> (N, H*D) or (queries, H*D).
/// Errors: as attention; Error(Type) if a gradient is wanted; Error(Limit) for a query outside [0, N).
inline Tensor attention_qkv(Context& ctx, const Tensor& qkv, const AttentionOptions& options, std::span<const int64_t> queries = {}) {
  detail::check_f32_or_bf16(qkv, "attention", "qkv");
  no_gradient(ctx, "attention_qkv", qkv);
  const int64_t Hkv = options.kv_heads ? options.kv_heads : options.heads, parts = options.heads + 2 * Hkv;
  check(qkv.rank() == 2 && parts > 0 && qkv.size(1) % parts == 0, ErrorCode::Shape, "attention", "qkv: expected (N, ", parts, " * D), got ",
        qkv.shape());
  const int64_t D = qkv.size(1) / parts;
  detail::head_width(options, options.heads * D);
  detail::check_index(queries, qkv.size(0), "attention", "query");
  const int64_t Nq = queries.empty() ? qkv.size(0) : static_cast<int64_t>(queries.size());
  AttentionCall c = detail::attention_call(options, Nq, qkv.size(0), D, D, qkv.dtype());
  detail::set_dropout(ctx, c, options);
  detail::check_here(ctx, "attention", qkv, options.distance_bias);
  Tensor out = ctx.empty({Nq, options.heads * D}, qkv.dtype());
  const auto* base = static_cast<const char*>(qkv.address());
  const auto item = static_cast<int64_t>(size_of(qkv.dtype()));
  c.out = out.address();
  c.q = base, c.k = base + options.heads * D * item, c.v = base + (options.heads + Hkv) * D * item;
  c.ld_q = c.ld_k = c.ld_v = qkv.size(1), c.ld_out = options.heads * D;
  Tensor chosen;
  if (!queries.empty()) {
    chosen = detail::picked(ctx, qkv, queries, qkv.dtype());
    c.q = std::as_const(chosen).address();
  }
  detail::run_attention(ctx, c);
  return out;
}

/// The same over keys and values in a cache. Inference only.
/// Shapes: q (Nq, H*D) of kv.dtype -> (Nq, H*Dv). options.k_start counts the keys of each sequence.
/// Errors: as attention; Error(Limit) if a sequence has fewer pages than its keys need.
inline Tensor attention_paged(Context& ctx, const Tensor& q, const PagedKeys& kv, const AttentionOptions& options) {
  detail::check_f32_or_bf16(q, "attention", "q");
  no_gradient(ctx, "attention_paged", q);
  check(ctx.device() == kv.device, ErrorCode::Device, "attention", "the cache lies on ", kv.device, "; it cannot be read on ", ctx.device());
  check(q.rank() == 2 && q.dtype() == kv.dtype && q.size(1) == options.heads * kv.key_width, ErrorCode::Shape, "attention", "q: expected (N, ",
        options.heads * kv.key_width, ") ", name_of(kv.dtype), ", got ", q.describe());
  check(kv.page_rows >= 16 && (kv.page_rows & (kv.page_rows - 1)) == 0, ErrorCode::Shape, "attention",
        "page_rows: expected a power of two from 16 on, got ", kv.page_rows);
  check(options.k_start.size() == kv.page_start.size() && !options.k_start.empty(), ErrorCode::Shape, "attention", "page_start: expected ",
        options.k_start.size(), " entries, got ", kv.page_start.size());
  AttentionCall c = detail::attention_call(options, q.size(0), options.k_start.back(), kv.key_width, kv.value_width, q.dtype());
  for (int64_t b = 0; b < c.B; ++b)
    check((options.k_start[b + 1] - options.k_start[b] + kv.page_rows - 1) / kv.page_rows <= kv.page_start[b + 1] - kv.page_start[b] &&
              kv.page_start[b + 1] <= static_cast<int64_t>(kv.pages.size()),
          ErrorCode::Limit, "attention", "pages of sequence ", b, ": too few for its ", options.k_start[b + 1] - options.k_start[b], " keys");
  detail::check_here(ctx, "attention", q, options.distance_bias);
  Tensor out = ctx.empty({q.size(0), c.H * c.Dv}, q.dtype());
  c.out = out.address(), c.q = q.address();
  c.pages = kv.pages.data(), c.page_start = kv.page_start.data(), c.page_rows = kv.page_rows;
  c.k_offset = kv.k_offset, c.v_offset = kv.v_offset;
  c.codes = kv.codes, c.k_scale_offset = kv.k_scale_offset, c.v_scale_offset = kv.v_scale_offset;
  c.ld_q = q.size(1), c.ld_out = out.size(1), c.ld_k = kv.ld_k, c.ld_v = kv.ld_v;
  detail::run_attention(ctx, c, static_cast<int64_t>(kv.pages.size()));
  return out;
}

/// Where attention_probs puts what it computes: row n of q is position query[n] of (B*T), row n of k position key[n] of S.
struct AttentionPlaces {
  std::span<const int64_t> query, key;
  int64_t B = 0, T = 0, S = 0;
};

/// The probabilities that attention weighs v with, for output_attentions.
/// Shapes: q (Nq, H*D), k (Nk, Hkv*D) -> (B,H,T,S) float32, zero where there is no row.
/// Errors: as attention; Error(Limit) for a place outside (B*T) or S.
inline Tensor attention_probs(Context& ctx, const Tensor& q, const Tensor& k, const AttentionOptions& options, const AttentionPlaces& places) {
  no_gradient(ctx, "attention_probs", q, k);
  detail::check_f32_or_bf16(q, "attention", "q");
  detail::check_f32_or_bf16(k, "attention", "k");
  check(q.rank() == 2 && k.rank() == 2 && q.dtype() == k.dtype(), ErrorCode::Shape, "attention", "q, k: expected matrices of one type, got ",
        q.describe(), " and ", k.describe());
  const int64_t D = detail::head_width(options, q.size(1));
  AttentionCall c = detail::attention_call(options, q.size(0), k.size(0), D, D, q.dtype());
  check(k.size(1) == c.Hkv * D, ErrorCode::Shape, "attention", "k: expected (Nk, ", c.Hkv * D, "), got ", k.shape());
  detail::check_here(ctx, "attention_probs", q, k, options.distance_bias);
  check(static_cast<int64_t>(places.query.size()) == q.size(0) && static_cast<int64_t>(places.key.size()) == k.size(0), ErrorCode::Shape,
        "attention", "places: expected ", q.size(0), " of queries and ", k.size(0), " of keys, got ", places.query.size(), " and ",
        places.key.size());
  detail::check_index(places.query, places.B * places.T, "attention", "place of a query");
  detail::check_index(places.key, places.S, "attention", "place of a key");
  Tensor probs = ctx.zeros({places.B, c.H, places.T, places.S}, DType::F32);
  c.q = q.address(), c.k = k.address(), c.ld_q = q.size(1), c.ld_k = k.size(1);
  float* to = probs.ptr<float>();
  const detail::Numbers query(ctx, places.query), key(ctx, places.key);
  const auto run = [&](const AttentionCall& call, int64_t b, int64_t h) {
    ctx.kernels().attention_probs(to, call, query.data(), key.data(), places.T, places.S, b, h);
  };
  if (!ctx.device().is_cpu()) {
    const detail::CallOnDevice call(ctx, c, 0, k.size(0));
    run(c, kAllSequences, 0);
  } else {
    ctx.over_rows(c.B * c.H, places.T * places.S * D, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) run(c, i / c.H, i % c.H);
    });
  }
  return probs;
}

}  // namespace tenon::ops
