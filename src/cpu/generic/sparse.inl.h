// The linear over weights that are mostly zero, written once for all register widths. Included inside the unnamed namespace of a file
// compiled for one instruction set, after its vec.h, generic/math.inl.h and kMostVectors: how many registers of rows a tile may have.
//
// Zeros at any place leave nothing to multiply side by side within a weight, so rows of x lie side by side instead: x is laid out as
// tiles of V registers of rows, each register the values of kLanes rows in one column,
//
//     column 0 of rows 0 .. V * kLanes | column 1 of rows 0 .. V * kLanes | ...
//
// and every weight is broadcast and multiplied with V registers. Weights are cut into cells of one output and kDepth columns, whose
// part of a tile stays in the first cache while kBlock outputs pass it:
//
//     block 0: chunk 0 of outputs 0 .. kBlock | chunk 1 of outputs 0 .. kBlock | ...
//     block 1: ...
//
// Within a chunk the outputs of a block come in the order of their numbers of weights, so that the processor foresees where each cell's
// loop ends: with some 16 weights to a cell, each surprise would cost as much as several of them.
//
// A sum over k is always made in the same order, so results depend neither on the other rows nor on the number of threads.

constexpr int64_t kDepth = 128, kBlock = 64;
constexpr int64_t kSerialWork = 1 << 17;  // multiplications that one thread does while a second wakes

constexpr int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t v, int64_t multiple) { return div_up(v, multiple) * multiple; }
constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
/// Where the i-th of `count` nearly equal parts of n begins.
constexpr int64_t part_begin(int64_t n, int64_t count, int64_t i) { return n / count * i + least(i, n % count); }

/// Up to `left` elements from i on as float32, the others 0.
inline vf load_as(const void* x, DType type, int64_t i, int64_t left) {
  const auto from = [&](const auto* p) { return left >= kLanes ? load(p + i, Full{}) : load(p + i, Part(left)); };
  if (type == DType::F32) return from(static_cast<const float*>(x));
  if (type == DType::BF16) return from(static_cast<const bfloat16*>(x));
  return from(static_cast<const float16*>(x));
}
inline void store_as(void* y, DType type, int64_t i, int64_t left, vf v) {
  const auto to = [&](auto* p) { left >= kLanes ? store(p + i, v, Full{}) : store(p + i, v, Part(left)); };
  if (type == DType::F32) return to(static_cast<float*>(y));
  to(static_cast<bfloat16*>(y));
}

/// Cell c holds the elements [start[c], start[c + 1]) of output[c] of its block: value[i] in column place[i] of its chunk.
struct SparseView {
  uint32_t* start;
  uint8_t* output;
  uint16_t* place;
  float* value;
  int64_t chunks;
};

constexpr int64_t cells(int64_t N, int64_t K) { return round_up(N, kBlock) * div_up(K, kDepth); }

inline SparseView sparse_view(void* packed, int64_t N, int64_t K, int64_t count) {
  char* p = static_cast<char*>(packed);
  SparseView v{};
  v.start = reinterpret_cast<uint32_t*>(p);
  p += round_up((cells(N, K) + 1) * 4, 64);
  v.output = reinterpret_cast<uint8_t*>(p);
  p += cells(N, K);
  v.value = reinterpret_cast<float*>(p);
  v.place = reinterpret_cast<uint16_t*>(p + round_up(count * 4, 64));
  v.chunks = div_up(K, kDepth);
  return v;
}
inline SparseView sparse_view(const void* packed, int64_t N, int64_t K) {
  void* p = const_cast<void*>(packed);
  return sparse_view(p, N, K, static_cast<const uint32_t*>(p)[cells(N, K)]);
}

size_t sparse_packed_bytes(int64_t N, int64_t K, int64_t count) {
  return static_cast<size_t>(round_up((cells(N, K) + 1) * 4, 64) + cells(N, K) + round_up(count * 4, 64) + round_up(count * 2, 64));
}

/// body(column of the chunk, value) for the elements of row n of w in columns [begin, end).
template <class Body>
inline void for_nonzeros(const void* w, DType type, int64_t n, int64_t K, int64_t begin, int64_t end, Body&& body) {
  for (int64_t k = begin; k < end; k += kLanes) {
    alignas(64) float lanes[kLanes];
    store(lanes, load_as(w, type, n * K + k, end - k), Full{});
    for (int64_t i = 0; i < kLanes; ++i)
      if (lanes[i] != 0) body(k + i - begin, lanes[i]);
  }
}

void sparse_pack(void* packed, const void* w, DType w_type, int64_t N, int64_t K, int64_t count) {
  const SparseView v = sparse_view(packed, N, K, count);
  uint32_t at = 0;
  int64_t cell = 0;
  for (int64_t block = 0; block < N; block += kBlock)
    for (int64_t begin = 0; begin < K; begin += kDepth) {
      const int64_t end = least(begin + kDepth, K);
      int64_t counts[kBlock] = {}, first[kDepth + 2] = {};  // first[c]: where the outputs with c elements begin
      for (int64_t o = 0; o < least(kBlock, N - block); ++o)
        for_nonzeros(w, w_type, block + o, K, begin, end, [&](int64_t, float) { ++counts[o]; });
      for (const int64_t c : counts) ++first[c + 1];
      for (int64_t c = 0; c <= kDepth; ++c) first[c + 1] += first[c];
      for (int64_t o = 0; o < kBlock; ++o) v.output[cell + first[counts[o]]++] = static_cast<uint8_t>(o);
      for (int64_t i = 0; i < kBlock; ++i, ++cell) {
        v.start[cell] = at;
        const int64_t n = block + v.output[cell];
        if (n >= N) continue;
        for_nonzeros(w, w_type, n, K, begin, end, [&](int64_t k, float value) {
          v.place[at] = static_cast<uint16_t>(k);
          v.value[at++] = value;
        });
      }
    }
  v.start[cell] = at;
}

void sparse_unpack(float* w, const void* packed, int64_t N, int64_t K) {
  const SparseView v = sparse_view(packed, N, K);
  for (int64_t i = 0; i < N * K; ++i) w[i] = 0;
  for (int64_t cell = 0; cell < cells(N, K); ++cell) {
    const int64_t group = cell / kBlock, n = group / v.chunks * kBlock + v.output[cell], k = group % v.chunks * kDepth;
    for (uint32_t i = v.start[cell]; i < v.start[cell + 1]; ++i) w[n * K + k + v.place[i]] = v.value[i];
  }
}

/// Adds the weights of O cells times x to the sums of their outputs, V registers each. Few registers of rows leave each addition waiting
/// for the one before it, so several outputs go on together as long as all have weights: as many as the first.
template <int V, int O>
inline void add_cells(float* sums, const float* x, const SparseView& w, int64_t cell) {
  vf sum[O][V];
  const uint32_t* start = w.start + cell;
  const uint8_t* output = w.output + cell;
  const uint32_t together = O > 1 ? start[1] - start[0] : 0;
#pragma GCC unroll 4
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) sum[o][j] = load(sums + (output[o] * V + j) * kLanes, Full{});
  const auto add = [&](int o, uint32_t i) __attribute__((always_inline)) {
    const vf value = set1(w.value[i]);
    const float* column = x + static_cast<int64_t>(w.place[i]) * (V * kLanes);
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) sum[o][j] = fma(value, load(column + j * kLanes, Full{}), sum[o][j]);
  };
  for (uint32_t i = 0; i < together; ++i)
#pragma GCC unroll 4
    for (int o = 0; o < O; ++o) add(o, start[o] + i);
#pragma GCC unroll 4
  for (int o = 0; o < O; ++o) {
    for (uint32_t i = start[o] + together; i < start[o + 1]; ++i) add(o, i);
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) store(sums + (output[o] * V + j) * kLanes, sum[o][j], Full{});
  }
}

template <int V>
void add_block(float* sums, const float* x, const SparseView& w, int64_t block) {
  constexpr int O = V >= 5 ? 1 : V >= 3 ? 2 : 4;
  for (int64_t i = 0; i < kBlock * V; ++i) store(sums + i * kLanes, zero(), Full{});
  for (int64_t c = 0; c < w.chunks; ++c)
    for (int64_t o = 0; o < kBlock; o += O) add_cells<V, O>(sums, x + c * kDepth * V * kLanes, w, (block * w.chunks + c) * kBlock + o);
}

using AddBlock = void (*)(float*, const float*, const SparseView&, int64_t);

template <int V = kMostVectors>
AddBlock add_block_of(int64_t vectors) {
  if constexpr (V > 1)
    if (vectors < V) return add_block_of<V - 1>(vectors);
  return add_block<V>;
}

inline vf activate(vf x, Activation act) {
  switch (act) {
    case Activation::None:
      return x;
    case Activation::Gelu:
      return gelu(x);
    case Activation::GeluTanh:
      return gelu_tanh(x);
    case Activation::QuickGelu:
      return quick_gelu(x);
    case Activation::Relu:
      return relu(x);
    case Activation::Tanh:
      return tanh(x);
    case Activation::Silu:
      return silu(x);
    case Activation::Sigmoid:
      return sigmoid(x);
  }
  return x;
}

struct SparseJob {
  const LinearCall& call;
  SparseView w;
  float* x;                        // tiles of (K, vectors * kLanes), from row * K on
  int64_t vectors, tiles, blocks;  // registers of rows in all, and into how many tiles they are cut
  int64_t next = 0;

  int64_t first_vector(int64_t tile) const { return part_begin(vectors, tiles, tile); }
};

/// Registers [begin, end) of rows are laid out.
inline void lay_out_rows(void* state, int64_t begin, int64_t end) {
  const SparseJob& job = *static_cast<const SparseJob*>(state);
  const int64_t K = job.call.K;
  int64_t tile = 0;
  for (int64_t v = begin; v < end; ++v) {
    while (job.first_vector(tile + 1) <= v) ++tile;
    const int64_t first = job.first_vector(tile), width = (job.first_vector(tile + 1) - first) * kLanes;
    float* to = job.x + first * kLanes * K + (v - first) * kLanes;
    for (int64_t k = 0; k < K; k += kLanes) {
      vf rows[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const int64_t m = v * kLanes + i;
        rows[i] = m < job.call.M ? load_as(job.call.x, job.call.type, m * K + k, K - k) : zero();
      }
      transpose(rows);
      for (int64_t i = 0; i < least(kLanes, K - k); ++i) store(to + (k + i) * width, rows[i], Full{});
    }
  }
}

/// Rows of y from the sums of a block of outputs: sums (kBlock, vectors * kLanes).
inline void finish_block(const LinearCall& call, const float* sums, int64_t row, int64_t vectors, int64_t column) {
  for (int64_t n = column; n < least(column + kBlock, call.N); n += kLanes) {
    const int64_t left = call.N - n;
    const vf bias = call.bias ? load_as(call.bias, DType::F32, n, left) : zero();
    for (int64_t j = 0; j < vectors; ++j) {
      vf outputs[kLanes];
      for (int i = 0; i < kLanes; ++i) outputs[i] = load(sums + ((n - column + i) * vectors + j) * kLanes, Full{});
      transpose(outputs);
      for (int64_t i = 0; i < least(kLanes, call.M - row - j * kLanes); ++i) {
        vf v = activate(outputs[i] + bias, call.act);
        const int64_t at = (row + j * kLanes + i) * call.N + n;
        if (call.residual) v = v + load_as(call.residual, call.type, at, left);
        store_as(call.y, call.type, at, left, v);
      }
    }
  }
}

inline void sparse_work(void* state, int64_t, int64_t) {
  SparseJob& job = *static_cast<SparseJob*>(state);
  alignas(64) float sums[kBlock * kMostVectors * kLanes];
  for (;;) {
    const int64_t piece = __atomic_fetch_add(&job.next, 1, __ATOMIC_RELAXED);
    if (piece >= job.tiles * job.blocks) return;
    const int64_t tile = piece / job.blocks, block = piece % job.blocks;
    const int64_t first = job.first_vector(tile), vectors = job.first_vector(tile + 1) - first;
    add_block_of(vectors)(sums, job.x + first * kLanes * job.call.K, job.w, block);
    finish_block(job.call, sums, first * kLanes, vectors, block * kBlock);
  }
}

size_t sparse_scratch(const LinearCall& call) { return static_cast<size_t>(round_up(call.M, kLanes) * call.K) * sizeof(float); }

void sparse_linear(const LinearCall& call) {
  if (call.M <= 0 || call.N <= 0) return;
  SparseJob job{call, sparse_view(call.w, call.N, call.K), static_cast<float*>(call.scratch), div_up(call.M, kLanes), 0, 0};
  job.tiles = div_up(job.vectors, kMostVectors);
  job.blocks = div_up(call.N, kBlock);
  const int64_t work = job.vectors * kLanes * job.w.start[cells(call.N, call.K)];
  const int threads = call.threads < 1 || work < kSerialWork ? 1 : call.threads;
  detail::parallel_for(threads, job.vectors, 1, lay_out_rows, &job);
  detail::parallel_for(threads, threads, 1, sparse_work, &job);
}
