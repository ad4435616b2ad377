// The dense linear, written once for all weight formats and register widths: packing, register tiles, epilogue, threads. Included inside
// the unnamed namespace of a file compiled for one instruction set, after its vec.h, generic/math.inl.h and these constants:
// kRowBlock and kRegisters, the shape of a register tile, and kChunkBytes, how many bytes of rows are worked through together.
//
// A unit is what one row multiplies at a time: four bytes of the row (one float32, two bf16 or int16, four int8 values of k), against as
// many weights in each lane. A weight (N,K) is cut into panels of kRegisters registers of output columns (the last one narrower, padded
// with zero weights up to a register); in a panel the units of all columns lie side by side:
//
//     unit 0 of column 0 | unit 0 of column 1 | ... | unit 0 of the panel's last column
//     unit 1 of column 0 | ...
//
// Threads take pieces of work, one panel times a chunk of rows, from a counter, so that a core slowed down by others takes fewer. A thread
// knows its next panel while it computes the present one and prefetches it meanwhile: a model's weights come from memory, not from a
// cache, whenever they are used. A sum over k is always made in the same order, so results depend neither on the other rows nor on the
// number of threads.
//
// A Format says: kFormat; kPerUnit values of k in a unit; kWeightBytes of a packed unit; whether it is kScaled; whether it wants the exact
// gelu (kFine) or has a fast one; reads(type), whether rows of that type need no preparation; and the functions used below. A Format that
// is kTiled is multiplied by tile registers (amx/): kRowBlock is then two tiles, and it says product(), which takes the place of tile()
// here, and State, what a thread holds meanwhile.

constexpr int kPanel = kRegisters * kLanes;
constexpr int64_t kDepth = 1024;                        // most units in one go, so that two panels' worth of them stay in the second cache
constexpr int64_t kDeepRows = kRowBlock > 8 ? 96 : 48;  // of a chunk if K takes several goes: their sums wait in a buffer
constexpr int64_t kStreamRows = 2;    // so few rows read their weights as fast as memory gives them, by the processor's own prefetching
constexpr int64_t kStreamLines = 32;  // of the next weights, to get that going
constexpr int64_t kSerialPrepare = 24 << 10;  // elements; fewer are converted faster than a second thread wakes
constexpr int64_t kSerialWork = 1 << 19;      // multiplications that one thread does while a second wakes

template <class Format>
concept Tiled = requires {
  Format::kTiled;
};
template <class Format>
constexpr int kStep = Tiled<Format> ? 16 : 4;  // units; K is padded to a multiple
template <class Format>
constexpr int64_t kOverread = Tiled<Format> ? 15 : 0;  // rows that a tile may read beyond the last one

struct NoState {};
template <class Format>
struct StateOf {
  using Type = NoState;
};
template <Tiled Format>
struct StateOf<Format> {
  using Type = typename Format::State;
};

inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t v, int64_t multiple) { return div_up(v, multiple) * multiple; }

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

/// A unit of a row as an integer; rows of bf16 need not be aligned to it.
inline int32_t unit_at(const char* p) {
  int32_t unit;
  __builtin_memcpy(&unit, p, 4);
  return unit;
}

/// The rows of a call as they are multiplied.
struct RowsView {
  char* data = nullptr;  // (M, stride bytes), zero beyond K
  int64_t stride = 0;
  float* scale = nullptr;     // (M), int8
  int32_t* offset = nullptr;  // (M), int8: 128 * the sum of the row
  // Rows read in tiles where they lie: a copy of the last ones with room behind it, for a tile that begins at `tail_from` or later.
  char* tail = nullptr;
  int64_t tail_from = INT64_MAX, tail_begin = 0;

  /// Row m and, in tiles, 15 more.
  const char* row(int64_t m) const { return m < tail_from ? data + m * stride : tail + (m - tail_begin) * stride; }
};

template <class Format>
int64_t units(int64_t K) {
  return round_up(div_up(K, Format::kPerUnit), kStep<Format>);
}
/// An odd number of cache lines, or eight rows of K = 4096 would share one set of the first cache.
template <class Format>
int64_t row_stride(int64_t K) {
  return (div_up(units<Format>(K), 16) | 1) * 64;
}

// --- packing -----------------------------------------------------------------------------------------------------------------------

struct PackJob {
  char* packed;
  float* scale;
  const void* w;
  DType type;
  int64_t N, K;
};

template <class Format>
void pack_panels(void* state, int64_t begin, int64_t end) {
  const PackJob& job = *static_cast<const PackJob*>(state);
  const int64_t depth = units<Format>(job.K), columns = round_up(job.N, kLanes);
  for (int64_t first = begin * kPanel; first < min_of(end * kPanel, columns); first += kLanes) {
    const int64_t panel = first / kPanel * kPanel, width = min_of(columns - panel, kPanel);
    char* to = job.packed + (panel * depth + first - panel) * Format::kWeightBytes;
    for (int64_t n = first; n < min_of(first + kLanes, job.N); ++n)
      if (job.scale) job.scale[n] = Format::scale_of(job.w, job.type, n * job.K, job.K);
    for (int64_t u = 0; u < depth; u += kLanes) {
      vf block[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        const int64_t n = first + i;
        block[i] = n < job.N ? Format::weight_units(job.w, job.type, n * job.K, u * Format::kPerUnit, job.K, job.scale ? job.scale[n] : 1)
                             : Format::no_weight();
      }
      transpose(block);
      for (int64_t i = 0; i < min_of(kLanes, depth - u); ++i) Format::store_units(to + (u + i) * width * Format::kWeightBytes, block[i]);
    }
  }
}

template <class Format>
size_t packed_bytes(int64_t N, int64_t K) {
  return static_cast<size_t>(round_up(N, kLanes) * units<Format>(K) * Format::kWeightBytes);
}

template <class Format>
void pack(void* packed, float* scale, const void* w, DType w_type, int64_t N, int64_t K, int threads) {
  PackJob job{static_cast<char*>(packed), Format::kScaled ? scale : nullptr, w, w_type, N, K};
  detail::parallel_for(threads, div_up(N, kPanel), 1, pack_panels<Format>, &job);
}

template <class Format>
void unpack(float* w, const void* packed, const float* scale, int64_t N, int64_t K) {
  const int64_t depth = units<Format>(K);
  for (int64_t n = 0; n < N; ++n) {
    const int64_t panel = n / kPanel * kPanel, width = min_of(round_up(N, kLanes) - panel, kPanel);
    const char* from = static_cast<const char*>(packed) + (panel * depth + n - panel) * Format::kWeightBytes;
    for (int64_t k = 0; k < K; ++k)
      w[n * K + k] = Format::weight(from + k / Format::kPerUnit * width * Format::kWeightBytes, k % Format::kPerUnit, scale, n);
  }
}

// --- tiles -------------------------------------------------------------------------------------------------------------------------

/// What to prefetch: `per_step` lines with each step of the present work, until the end.
struct Ahead {
  const char *line = nullptr, *end = nullptr;
  int64_t per_step = 0;
};

/// sums (MR, NR registers) = or += the products of MR rows with NR registers of columns over `depth` units. Rows of sums are kPanel
/// apart. They are added at the end, not loaded first: g++ 12 would then keep them in memory all through the loop.
template <class Format, int MR, int NR>
void tile(char* sums, const char* x, int64_t stride, const char* w, int64_t depth, bool add, Ahead& next) {
  constexpr int kRegisterBytes = kLanes * Format::kWeightBytes;
  typename Format::Sum sum[MR][NR];
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 3
    for (int j = 0; j < NR; ++j) sum[r][j] = Format::zero_sum();
  const char *line = next.line, *end = next.end, *const w_end = w + depth * NR * kRegisterBytes;
  const int64_t ahead = next.per_step * 64;
  for (; w != w_end; x += kStep<Format> * 4, w += kStep<Format> * NR * kRegisterBytes) {
    for (const char* stop = end - line < ahead ? end : line + ahead; line < stop; line += 64) __builtin_prefetch(line, 0, 2);
#pragma GCC unroll 4
    for (int u = 0; u < kStep<Format>; ++u) {
      typename Format::Weights weights[NR];
#pragma GCC unroll 3
      for (int j = 0; j < NR; ++j) weights[j] = Format::load_weights(w + (u * NR + j) * kRegisterBytes);
#pragma GCC unroll 8
      for (int r = 0; r < MR; ++r) {
        const typename Format::Weights row = Format::broadcast(x + r * stride + u * 4);
#pragma GCC unroll 3
        for (int j = 0; j < NR; ++j) sum[r][j] = Format::multiply_add(sum[r][j], weights[j], row);
      }
    }
  }
  next.line = line;
#pragma GCC unroll 8
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 3
    for (int j = 0; j < NR; ++j) {
      char* at = sums + (r * kPanel + j * kLanes) * 4;
      Format::store_sum(at, add ? Format::add(sum[r][j], Format::load_sum(at)) : sum[r][j]);
    }
}

using Tile = void (*)(char*, const char*, int64_t, const char*, int64_t, bool, Ahead&);

template <class Format, int MR = kRowBlock, int NR = kRegisters>
Tile tile_of(int64_t rows, int64_t registers) {
  if constexpr (NR > 1)
    if (registers < NR) return tile_of<Format, MR, NR - 1>(rows, registers);
  if constexpr (MR > 1)
    if (rows < MR) return tile_of<Format, MR - 1, NR>(rows, registers);
  return tile<Format, MR, NR>;
}

template <class Format, Activation act>
vf activate(vf x) {
  if constexpr (act == Activation::Gelu && !Format::kFine) return Format::fast_gelu(x);
  if constexpr (act == Activation::GeluTanh && !Format::kFine) return Format::fast_gelu_tanh(x);
  if constexpr (act == Activation::Gelu) return gelu(x);
  if constexpr (act == Activation::GeluTanh) return gelu_tanh(x);
  if constexpr (act == Activation::QuickGelu) return quick_gelu(x);
  if constexpr (act == Activation::Relu) return relu(x);
  if constexpr (act == Activation::Tanh) return tanh(x);
  if constexpr (act == Activation::Silu) return silu(x);
  if constexpr (act == Activation::Sigmoid) return sigmoid(x);
  return x;
}

/// Rows [row, row + rows) of columns [column, column + width) of y, from their sums.
template <class Format, Activation kAct>
void finish(const LinearCall& call, const RowsView& x, const float* w_scale, const char* sums, int64_t row, int rows, int64_t column,
            int width) {
  for (int j = 0; j < width; j += kLanes) {
    const int64_t left = call.N - column - j;
    const vf bias = call.bias ? load(call.bias + column + j, Part(left)) : zero();
    const vf scale = Format::kScaled ? load(w_scale + column + j, Part(left)) : zero();
    for (int r = 0; r < rows; ++r) {
      vf v = activate<Format, kAct>(Format::value(Format::load_sum(sums + (r * kPanel + j) * 4), scale, bias, x, row + r));
      const int64_t at = (row + r) * call.N + column + j;
      if (call.residual) v = v + load_as(call.residual, call.type, at, left);
      store_as(call.y, call.type, at, left, v);
    }
  }
}

using Finish = void (*)(const LinearCall&, const RowsView&, const float*, const char*, int64_t, int, int64_t, int);

template <class Format>
Finish finish_of(Activation act) {
  switch (act) {
    case Activation::None:
      return finish<Format, Activation::None>;
    case Activation::Gelu:
      return finish<Format, Activation::Gelu>;
    case Activation::GeluTanh:
      return finish<Format, Activation::GeluTanh>;
    case Activation::QuickGelu:
      return finish<Format, Activation::QuickGelu>;
    case Activation::Relu:
      return finish<Format, Activation::Relu>;
    case Activation::Tanh:
      return finish<Format, Activation::Tanh>;
    case Activation::Silu:
      return finish<Format, Activation::Silu>;
    case Activation::Sigmoid:
      return finish<Format, Activation::Sigmoid>;
  }
  return finish<Format, Activation::None>;
}

// --- the whole -----------------------------------------------------------------------------------------------------------------------

template <class Format>
struct Job {
  const LinearCall& call;
  RowsView x;
  Finish finish = nullptr;
  int64_t columns = 0, depth = 0, go = 0;  // padded N; units of K, all and in one go
  int64_t panels = 0, chunk = 0, chunks = 0;
  alignas(64) int64_t next = 0;

  int64_t width(int64_t p) const { return min_of(columns - p * kPanel, kPanel); }
  /// From unit u of panel p on, in the weight of a piece.
  const char* weights(const LinearBlock& block, int64_t p, int64_t u) const {
    return static_cast<const char*>(block.w) + (p * kPanel * depth + u * width(p)) * Format::kWeightBytes;
  }
  /// The rows of a piece. Those of a grouped call may be more than a chunk.
  LinearBlock block(int64_t piece) const {
    const int64_t i = piece / panels;
    return call.blocks ? call.blocks[i] : LinearBlock{i * chunk, min_of((i + 1) * chunk, call.M), call.w, call.w_scale};
  }
};

/// One panel times the rows [begin, end) of a block. While it computes one go it prefetches the next: of this panel, then of the next
/// piece (none if negative).
template <class Format>
void multiply(const Job<Format>& job, const LinearBlock& block, int64_t p, int64_t begin, int64_t end, int64_t next_piece) {
  alignas(64) char sums[kDeepRows * kPanel * 4];
  const int width = static_cast<int>(job.width(p));
  Tile whole = nullptr;
  if constexpr (!Tiled<Format>) whole = tile_of<Format>(kRowBlock, width / kLanes);
  for (int64_t u = 0; u < job.depth; u += job.go) {
    const int64_t depth = min_of(job.go, job.depth - u), next_u = u + depth;
    const bool last = next_u == job.depth;
    Ahead ahead;
    if (!last || next_piece >= 0) {
      const int64_t q = last ? next_piece % job.panels : p;
      ahead.line = job.weights(last ? job.block(next_piece) : block, q, last ? 0 : next_u);
      ahead.end = ahead.line + min_of(job.go, last ? job.depth : job.depth - next_u) * job.width(q) * Format::kWeightBytes;
      if (end - begin <= kStreamRows) ahead.end = ahead.line + min_of(ahead.end - ahead.line, kStreamLines * 64);
      ahead.per_step = div_up(div_up(ahead.end - ahead.line, 64), depth / kStep<Format> * div_up(end - begin, kRowBlock));
    }
    for (int64_t m = begin; m < end; m += kRowBlock) {
      const int rows = static_cast<int>(min_of(kRowBlock, end - m));
      char* at = job.go < job.depth ? sums + (m - begin) * kPanel * 4 : sums;
      if constexpr (Tiled<Format>) {
        Format::product(at, job.x, m, rows, u, job.weights(block, p, u), width / kLanes, depth, u > 0, ahead);
      } else {
        const Tile multiply_rows = rows == kRowBlock ? whole : tile_of<Format>(rows, width / kLanes);
        multiply_rows(at, job.x.data + m * job.x.stride + u * 4, job.x.stride, job.weights(block, p, u), depth, u > 0, ahead);
      }
      if (last) job.finish(job.call, job.x, block.w_scale, at, m, rows, p * kPanel, width);
    }
  }
}

template <class Format>
void work(void* state, int64_t, int64_t) {
  Job<Format>& job = *static_cast<Job<Format>*>(state);
  const int64_t pieces = job.panels * job.chunks;
  [[maybe_unused]] const typename StateOf<Format>::Type held;
  for (int64_t piece = __atomic_fetch_add(&job.next, 1, __ATOMIC_RELAXED); piece < pieces;) {
    const int64_t next = __atomic_fetch_add(&job.next, 1, __ATOMIC_RELAXED);
    const LinearBlock block = job.block(piece);
    for (int64_t begin = block.begin; begin < block.end; begin += job.chunk) {
      const int64_t end = min_of(begin + job.chunk, block.end);
      multiply(job, block, piece % job.panels, begin, end, end == block.end && next < pieces ? next : -1);
    }
    piece = next;
  }
}

template <class Format>
void prepare(void* state, int64_t begin, int64_t end) {
  const Job<Format>& job = *static_cast<const Job<Format>*>(state);
  for (int64_t m = begin; m < end; ++m) Format::prepare_row(job.x, m, job.call.x, job.call.type, job.call.K);
}

/// Whether the rows can be multiplied where they are: of the weight's type, and K a whole number of steps.
template <class Format>
bool in_place(const LinearCall& call) {
  return Format::reads(call.type) && call.K % (Format::kPerUnit * kStep<Format>) == 0;
}

template <class Format>
size_t scratch_bytes(const LinearCall& call) {
  if (in_place<Format>(call)) return static_cast<size_t>(2 * kOverread<Format> * (call.K / Format::kPerUnit * 4));
  return static_cast<size_t>((call.M + kOverread<Format>)*row_stride<Format>(call.K) + (Format::kScaled ? call.M * 8 : 0));
}

/// Whole tiles end with the rows unless there are groups of any size.
template <class Format>
void copy_tail(RowsView& x, const LinearCall& call) {
  const int64_t most = call.M - (kOverread<Format> + 1);
  x.tail = static_cast<char*>(call.scratch);
  x.tail_from = most + 1;
  x.tail_begin = call.blocks ? (x.tail_from > 0 ? x.tail_from : 0) : call.M / (kOverread<Format> + 1) * (kOverread<Format> + 1);
  __builtin_memcpy(x.tail, x.data + x.tail_begin * x.stride, static_cast<size_t>((call.M - x.tail_begin) * x.stride));
}

template <class Format>
RowsView rows_of(const LinearCall& call) {
  RowsView x;
  if (in_place<Format>(call)) {
    x.data = static_cast<char*>(const_cast<void*>(call.x));
    x.stride = call.K / Format::kPerUnit * 4;
    if constexpr (Tiled<Format>) copy_tail<Format>(x, call);
    return x;
  }
  x.data = static_cast<char*>(call.scratch);
  x.stride = row_stride<Format>(call.K);
  x.scale = reinterpret_cast<float*>(x.data + (call.M + kOverread<Format>)*x.stride);
  x.offset = reinterpret_cast<int32_t*>(x.scale + call.M);
  return x;
}

/// As many rows as stay in the second cache, fewer where that leaves too few pieces for the threads.
template <class Format>
int64_t chunk_rows(const Job<Format>& job, int threads) {
  const int64_t most = job.go < job.depth ? kDeepRows : kChunkBytes / job.x.stride;
  if (job.call.blocks) return most < kRowBlock ? kRowBlock : most / kRowBlock * kRowBlock;
  const int64_t chunks = div_up(4 * threads, job.panels);  // for four pieces a thread
  const int64_t rows = min_of(most, div_up(job.call.M, chunks));
  return rows < kRowBlock ? kRowBlock : rows / kRowBlock * kRowBlock;
}

template <class Format>
void linear(const LinearCall& call) {
  if (call.M <= 0 || call.N <= 0) return;
  const int threads = call.threads < 1 || call.M * call.N * call.K < kSerialWork ? 1 : call.threads;
  Job<Format> job{call, rows_of<Format>(call)};
  job.finish = finish_of<Format>(call.act);
  job.columns = round_up(call.N, kLanes);
  job.depth = units<Format>(call.K);
  job.go = round_up(div_up(job.depth, div_up(job.depth, kDepth)), kStep<Format>);
  job.panels = div_up(call.N, kPanel);
  job.chunk = chunk_rows(job, threads);
  job.chunks = call.blocks ? call.num_blocks : div_up(call.M, job.chunk);
  if (!in_place<Format>(call)) detail::parallel_for(call.M * call.K < kSerialPrepare ? 1 : threads, call.M, 1, prepare<Format>, &job);
  detail::parallel_for(threads, threads, 1, work<Format>, &job);
}

/// The entries of one format over those that the table had before, which keep the other formats.
template <class Format>
struct Entries {
  static Kernels below;

  static bool own(WeightFormat format) { return format == Format::kFormat; }
  static size_t linear_packed_bytes(WeightFormat format, int64_t N, int64_t K) {
    return own(format) ? packed_bytes<Format>(N, K) : below.linear_packed_bytes(format, N, K);
  }
  static void linear_pack(void* packed, float* scale, const void* w, DType w_type, WeightFormat format, int64_t N, int64_t K, int threads) {
    own(format) ? pack<Format>(packed, scale, w, w_type, N, K, threads)
                : below.linear_pack(packed, scale, w, w_type, format, N, K, threads);
  }
  static void linear_unpack(float* w, const void* packed, const float* scale, WeightFormat format, int64_t N, int64_t K) {
    own(format) ? unpack<Format>(w, packed, scale, N, K) : below.linear_unpack(w, packed, scale, format, N, K);
  }
  static size_t linear_scratch(const LinearCall& call) {
    return own(call.format) ? scratch_bytes<Format>(call) : below.linear_scratch(call);
  }
  static void linear_any(const LinearCall& call) { own(call.format) ? linear<Format>(call) : below.linear(call); }

  static void fill(Kernels& k) {
    below = k;
    k.linear_packed_bytes = linear_packed_bytes;
    k.linear_pack = linear_pack;
    k.linear_unpack = linear_unpack;
    k.linear_scratch = linear_scratch;
    k.linear = linear_any;
  }
};
template <class Format>
Kernels Entries<Format>::below;
