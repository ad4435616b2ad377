// The linear over weights in few bits with a scale for each group of k (Int4, Fp8), written once for all register widths. Included after
// panel.inl.h and panel_float.inl.h, whose panels, tiles, epilogues and threads it shares.
//
// Packed bytes: a header of 64 bytes (a float that all scales are multiplied by, for scales beyond half precision), the scales of all
// panels, their codes. For one panel of `width` columns the scales of group 0 stand side by side (Int4: half precision), then its zeros (a
// byte each, Int4), then group 1. The codes of a panel follow k: of Int4 eight at a time,
//
//     k = 8i .. 8i+7 of column 0 | of column 1 | ...      in byte j of a column's four: k = 8i + j in the low half, k = 8i + 4 + j in the
//     high
//
// so that one load masked is a unit of 8-bit weights of the first four k, shifted and masked of the other four. Of Fp8 two at a time.
//
// A Way says how a panel is multiplied: Dequantised, which turns a group into the panel of a float format in the first cache and goes on
// with that, or a way of its own (quantized_int8.inl.h).

/// Where the parts of a packed weight are.
struct GroupLayout {
  bool int4 = false;
  int64_t columns = 0, groups = 0, group = 0;  // columns: padded to registers

  GroupLayout(WeightFormat format, int64_t N, int64_t K, int64_t group_)
      : int4(format == WeightFormat::Int4), columns(round_up(N, kLanes)), groups(div_up(K, group_)), group(group_) {}
  int64_t scale_bytes() const { return int4 ? 3 : 4; }  // of a column and group
  int64_t code_bytes() const { return int4 ? group / 2 : group; }
  int64_t codes_at() const { return 64 + round_up(columns * groups * scale_bytes(), 64); }
  int64_t bytes() const { return codes_at() + columns * groups * code_bytes(); }
  int64_t width(int64_t panel) const { return min_of(columns - panel * kPanel, kPanel); }
  /// Of a panel's group; the scales first, then the zeros.
  int64_t scales(int64_t panel, int64_t g) const { return 64 + (panel * kPanel * groups + g * width(panel)) * scale_bytes(); }
  int64_t codes(int64_t panel, int64_t g) const { return codes_at() + (panel * kPanel * groups + g * width(panel)) * code_bytes(); }
};

inline float header_factor(const void* packed) {
  float factor;
  __builtin_memcpy(&factor, packed, 4);
  return factor;
}

inline size_t quantized_bytes(WeightFormat format, int64_t N, int64_t K, int64_t group) {
  return static_cast<size_t>(GroupLayout(format, N, K, group).bytes());
}

/// A power of two that brings the largest scale into half precision; 1 if that is not needed to keep every scale as it is.
inline float factor_of(const QuantizedRows& w, int64_t groups) {
  float most = 0;
  bool exact = true;
  for (int64_t i = 0; i < w.N * groups; ++i) {
    const float a = __builtin_fabsf(w.scale[i]);
    most = a > most ? a : most;
    exact &= static_cast<float>(float16::from(a)) == a;
  }
  if (exact || most == 0 || !(most < __builtin_inff())) return 1;
  return __builtin_ldexpf(1, __builtin_ilogbf(most) - 14);
}

struct QuantizedJob {
  const QuantizedRows& w;
  GroupLayout layout;
  char* packed;
  float inverse;  // of the factor
};

inline uint8_t int4_code(const QuantizedRows& w, int64_t n, int64_t k) {
  const uint8_t byte = w.q[n * ((w.K + 1) / 2) + k / 2];
  return k % 2 ? byte >> 4 : byte & 15;
}

/// The eight codes from k on as the word that is packed.
inline uint32_t int4_word(const QuantizedRows& w, int64_t n, int64_t k, uint8_t zero) {
  uint32_t from, word = 0;
  if (k + 8 <= w.K && w.K % 2 == 0) {
    __builtin_memcpy(&from, w.q + n * (w.K / 2) + k / 2, 4);
  } else {
    from = 0;
    for (int i = 0; i < 8; ++i) from |= static_cast<uint32_t>(k + i < w.K ? int4_code(w, n, k + i) : zero) << 4 * i;  // beyond K: nothing
  }
  for (int j = 0; j < 4; ++j) word |= (from >> 4 * j & 15) << 8 * j | (from >> (16 + 4 * j) & 15) << (8 * j + 4);
  return word;
}

inline void pack_quantized_panels(void* state, int64_t begin, int64_t end) {
  const QuantizedJob& job = *static_cast<const QuantizedJob*>(state);
  const QuantizedRows& w = job.w;
  const GroupLayout& l = job.layout;
  for (int64_t p = begin; p < end; ++p) {
    const int64_t width = l.width(p);
    for (int64_t g = 0; g < l.groups; ++g) {
      char *scales = job.packed + l.scales(p, g), *codes = job.packed + l.codes(p, g);
      for (int64_t i = 0; i < width; ++i) {
        const int64_t n = p * kPanel + i;
        const float scale = n < w.N ? w.scale[n * l.groups + g] : 0;
        if (!l.int4) {
          __builtin_memcpy(scales + 4 * i, &scale, 4);
          for (int64_t k = 0; k < l.group; ++k) {
            const int64_t at = g * l.group + k;
            codes[(k / 2 * width + i) * 2 + k % 2] = static_cast<char>(n < w.N && at < w.K ? w.q[n * w.K + at] : 0);
          }
          continue;
        }
        const float16 half = float16::from(scale * job.inverse);
        const uint8_t zero = n < w.N ? w.zero[n * l.groups + g] : 0;
        __builtin_memcpy(scales + 2 * i, &half, 2);
        scales[2 * width + i] = static_cast<char>(zero);
        for (int64_t k = 0; k < l.group; k += 8) {
          const uint32_t word = n < w.N ? int4_word(w, n, g * l.group + k, zero) : 0;
          __builtin_memcpy(codes + (k / 8 * width + i) * 4, &word, 4);
        }
      }
    }
  }
}

inline void pack_quantized(void* packed, const QuantizedRows& w, int threads) {
  const GroupLayout layout(w.format, w.N, w.K, w.group);
  const float factor = layout.int4 ? factor_of(w, layout.groups) : 1;
  __builtin_memset(packed, 0, 64);
  __builtin_memcpy(packed, &factor, 4);
  QuantizedJob job{w, layout, static_cast<char*>(packed), 1 / factor};
  detail::parallel_for(threads, div_up(w.N, kPanel), 1, pack_quantized_panels, &job);
}

inline void unpack_quantized(float* w, const void* packed, WeightFormat format, int64_t N, int64_t K, int64_t group) {
  const GroupLayout l(format, N, K, group);
  const char* from = static_cast<const char*>(packed);
  for (int64_t n = 0; n < N; ++n) {
    const int64_t p = n / kPanel, i = n % kPanel, width = l.width(p);
    for (int64_t k = 0; k < K; ++k) {
      const char *scales = from + l.scales(p, k / group), *codes = from + l.codes(p, k / group);
      const int64_t at = k % group;
      if (!l.int4) {
        float scale;
        __builtin_memcpy(&scale, scales + 4 * i, 4);
        w[n * K + k] = f8e4m3_to_float(static_cast<uint8_t>(codes[(at / 2 * width + i) * 2 + at % 2])) * scale;
        continue;
      }
      float16 scale;
      __builtin_memcpy(&scale, scales + 2 * i, 2);
      const auto byte = static_cast<uint8_t>(codes[(at / 8 * width + i) * 4 + at % 4]);
      const int code = at % 8 < 4 ? byte & 15 : byte >> 4;
      w[n * K + k] =
          static_cast<float>(code - static_cast<uint8_t>(scales[2 * width + i])) * (static_cast<float>(scale) * header_factor(packed));
    }
  }
}

constexpr int64_t kStreamPanels = 8;
constexpr int64_t kPassBytes = 2 * kChunkBytes;  // of rows that all strips meet, one after the other

// --- multiplying ---------------------------------------------------------------------------------------------------------------------

/// The rows of a call as they are multiplied: with K padded to whole groups.
struct GroupedRows {
  char* data = nullptr;  // (M, stride bytes), zero beyond K
  int64_t stride = 0;
  float *scale = nullptr, *sum = nullptr;  // (M, groups), int8: a row's step and the sum of its integers in each group
};

template <class Way>
struct GroupedJob {
  const LinearCall& call;
  GroupLayout layout;
  GroupedRows x;
  Finish finish = nullptr;
  int64_t panels = 0, wide = 1, strips = 0;  // a strip is `wide` panels
  int64_t chunk = 0, chunks = 0;             // chunks, or blocks of the call
  int64_t pass = 1;                          // chunks that stay in the second cache while the strips of weights go by
  alignas(64) int64_t next = 0;

  struct Piece {
    int64_t strip, chunk;
  };
  /// All chunks of a pass meet a strip before the next strip is read.
  Piece piece(int64_t i) const {
    const int64_t first = i / (strips * pass) * pass, rest = i % (strips * pass), width = min_of(pass, chunks - first);
    return {rest / width, first + rest % width};
  }
  LinearBlock block(int64_t i) const {
    return call.blocks ? call.blocks[i] : LinearBlock{i * chunk, min_of((i + 1) * chunk, call.M), call.w, nullptr};
  }
};

/// The sums of some rows and a strip of panels become y.
template <class Way>
void finish_groups(const GroupedJob<Way>& job, const char* packed, float* sums, int64_t p, int64_t begin, int64_t end) {
  const RowsView none;
  const float factor = job.layout.int4 ? header_factor(packed) : 1;
  if (factor != 1)
    for (int64_t i = 0; i < (end - begin) * kPanel; i += kLanes) store(sums + i, load(sums + i, Full{}) * set1(factor), Full{});
  for (int64_t m = begin; m < end; m += kRowBlock)
    job.finish(job.call, none, nullptr, reinterpret_cast<const char*>(sums + (m - begin) * kPanel), m,
               static_cast<int>(min_of(kRowBlock, end - m)), p * kPanel, static_cast<int>(job.layout.width(p)));
}

/// A panel times the rows [begin, end) of a block, group after group: what a group needs of rows and of weights stays in the first cache.
template <class Way>
void multiply_panel(const GroupedJob<Way>& job, const char* packed, int64_t p, int64_t begin, int64_t end) {
  alignas(64) float sums[Way::kChunkRows * kPanel];
  alignas(64) char room[Way::kRoomBytes];
  const GroupLayout& l = job.layout;
  const int width = static_cast<int>(l.width(p));
  for (int64_t g = 0; g < l.groups; ++g) {
    const char* scales = packed + l.scales(p, g);
    Way::expand(room, packed + l.codes(p, g), scales, width, l.group);
    for (int64_t m = begin; m < end; m += Way::kRows)
      Way::multiply(job, sums + (m - begin) * kPanel, m, min_of(Way::kRows, end - m), g, room, scales, width);
  }
  finish_groups(job, packed, sums, p, begin, end);
}

template <class Way>
void multiply_groups(const GroupedJob<Way>& job, const LinearBlock& block, int64_t strip, int64_t begin, int64_t end) {
  const char* packed = static_cast<const char*>(block.w);
  const int64_t first = strip * job.wide, last = min_of(first + job.wide, job.panels);
  if (end - begin <= Way::kFew) {
    alignas(64) float sums[(Way::kFew ? Way::kFew : 1) * kPanel];
    for (int64_t p = first; p < last; ++p) {
      Way::few(job, packed, p, begin, end, sums);
      finish_groups(job, packed, sums, p, begin, end);
    }
    return;
  }
  for (int64_t p = first; p < last; ++p) multiply_panel(job, packed, p, begin, end);
}

template <class Way>
void work_groups(void* state, int64_t, int64_t) {
  GroupedJob<Way>& job = *static_cast<GroupedJob<Way>*>(state);
  const int64_t pieces = job.strips * job.chunks;
  [[maybe_unused]] const typename Way::State held;
  for (int64_t i; (i = __atomic_fetch_add(&job.next, 1, __ATOMIC_RELAXED)) < pieces;) {
    const auto [strip, chunk] = job.piece(i);
    const LinearBlock block = job.block(chunk);
    for (int64_t begin = block.begin; begin < block.end; begin += job.chunk)
      multiply_groups<Way>(job, block, strip, begin, min_of(begin + job.chunk, block.end));
  }
}

template <class Way>
void prepare_groups(void* state, int64_t begin, int64_t end) {
  const GroupedJob<Way>& job = *static_cast<const GroupedJob<Way>*>(state);
  for (int64_t m = begin; m < end; ++m) Way::prepare(job, m);
}

template <class Way>
GroupedRows grouped_rows(const LinearCall& call, const GroupLayout& l, size_t* bytes) {
  GroupedRows x;
  const int64_t padded = l.groups * l.group;
  if (Way::reads(call.type) && padded == call.K && Way::kBeyond == 0) {
    x.data = static_cast<char*>(const_cast<void*>(call.x));
    x.stride = call.K * Way::kValueBytes;
    *bytes = 0;
    return x;
  }
  x.data = static_cast<char*>(call.scratch);
  x.stride = (div_up(padded * Way::kValueBytes, 64) | 1) * 64;  // an odd number of cache lines, as row_stride
  const int64_t rows = call.M + Way::kBeyond;
  x.scale = reinterpret_cast<float*>(x.data + rows * x.stride);
  x.sum = x.scale + call.M * l.groups;
  *bytes = static_cast<size_t>(rows * x.stride + (Way::kScaledRows ? call.M * l.groups * 8 : 0));
  return x;
}

template <class Way>
size_t grouped_scratch(const LinearCall& call) {
  size_t bytes;
  grouped_rows<Way>(call, GroupLayout(call.format, call.N, call.K, call.group), &bytes);
  return bytes;
}

template <class Way>
void grouped_linear(const LinearCall& call) {
  if (call.M <= 0 || call.N <= 0) return;
  const int threads = call.threads < 1 || call.M * call.N * call.K < kSerialWork ? 1 : call.threads;
  const GroupLayout layout(call.format, call.N, call.K, call.group);
  size_t bytes;
  GroupedJob<Way> job{call, layout, grouped_rows<Way>(call, layout, &bytes)};
  job.finish = finish_of<typename Way::Base>(call.act);
  job.panels = div_up(call.N, kPanel);
  // Few rows stream through long strips.
  if (call.M <= Way::kFew * (call.blocks ? call.num_blocks : 1)) job.wide = min_of(kStreamPanels, div_up(job.panels, 4 * threads));
  job.strips = div_up(job.panels, job.wide);
  const int64_t rows = call.blocks ? Way::kChunkRows : min_of(Way::kChunkRows, div_up(call.M, div_up(4 * threads, job.strips)));
  job.chunk = round_up(rows, Way::kRows);
  job.chunks = call.blocks ? call.num_blocks : div_up(call.M, job.chunk);
  if (!call.blocks) job.pass = round_up(kPassBytes / job.x.stride, job.chunk) / job.chunk;
  if (bytes) detail::parallel_for(call.M * call.K < kSerialPrepare ? 1 : threads, call.M, 1, prepare_groups<Way>, &job);
  detail::parallel_for(threads, threads, 1, work_groups<Way>, &job);
}

/// Dequantises a group into a panel of Base, which holds float32 or bf16, and multiplies by its tiles.
template <class BaseFormat, class Source>
struct Dequantised {
  using Base = BaseFormat;
  static constexpr int64_t kRows = kRowBlock, kChunkRows = kDeepRows / kRows * kRows;
  static constexpr int64_t kRoomBytes = kMostGroup / Base::kPerUnit * kPanel * Base::kWeightBytes;
  static constexpr int64_t kValueBytes = 4 / Base::kPerUnit, kBeyond = kOverread<Base>;
  using State = typename StateOf<Base>::Type;
  static constexpr bool kScaledRows = false;
  static constexpr int64_t kFew = 0;

  static bool reads(DType type) { return Base::reads(type); }
  static void prepare(const GroupedJob<Dequantised>& job, int64_t m) {
    RowsView rows;
    rows.data = job.x.data, rows.stride = job.x.stride;
    Base::prepare_row(rows, m, job.call.x, job.call.type, job.call.K);
  }
  static void few(const GroupedJob<Dequantised>&, const char*, int64_t, int64_t, int64_t, float*) {}
  static void expand(char* room, const char* codes, const char* scales, int width, int64_t group) {
    Source::template expand<Base>(room, codes, scales, width, group);
  }
  static void multiply(const GroupedJob<Dequantised>& job, float* sums, int64_t m, int64_t rows, int64_t g, const char* room, const char*,
                       int width) {
    Ahead none;
    const int64_t depth = job.layout.group / Base::kPerUnit;
    if constexpr (Tiled<Base>) {
      RowsView x;
      x.data = job.x.data, x.stride = job.x.stride;
      Base::product(reinterpret_cast<char*>(sums), x, m, static_cast<int>(rows), g * depth, room, width / kLanes, depth, g > 0, none);
    } else {
      tile_of<Base>(rows, width / kLanes)(reinterpret_cast<char*>(sums), job.x.data + m * job.x.stride + g * depth * 4, job.x.stride, room,
                                          depth, g > 0, none);
    }
  }
};

/// Asks for the codes of the panel's next group, which follow those that are expanded now.
inline void prefetch_next(const char* codes, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(codes + bytes + i, 0, 2);
}

/// Where a unit of Base is put, of one value or of two.
template <class Base>
void put(char* room, int64_t unit, int64_t width, int64_t column, vf even, vf odd) {
  if constexpr (Base::kPerUnit == 1) {
    float* to = reinterpret_cast<float*>(room) + 2 * unit * width + column;
    store(to, even, Full{});
    store(to + width, odd, Full{});
  } else {
    Base::store_units(room + (unit * width + column) * 4, Base::two(even, odd));
  }
}

/// (code - zero) * scale. Ops::nibble(words, shift) gives four bits of each lane's word as float32.
template <class Ops>
struct Int4Codes {
  template <class Base>
  static void expand(char* room, const char* codes, const char* scales, int width, int64_t group) {
    prefetch_next(codes, group / 2 * width);
    for (int i = 0; i < width; i += kLanes) {
      const vf scale = load(reinterpret_cast<const float16*>(scales) + i, Full{});
      const vf zeros = load(reinterpret_cast<const int8_t*>(scales) + 2 * width + i, Full{});
      for (int64_t k = 0; k < group; k += 8) {
        const auto words = Ops::load(codes + (k / 8 * width + i) * 4);
        const auto value = [&](int shift) { return scale * (Ops::nibble(words, shift) - zeros); };
        put<Base>(room, k / 2, width, i, value(0), value(8));
        put<Base>(room, k / 2 + 1, width, i, value(16), value(24));
        put<Base>(room, k / 2 + 2, width, i, value(4), value(12));
        put<Base>(room, k / 2 + 3, width, i, value(20), value(28));
      }
    }
  }
};

/// Ops::fp8_pair gives the two e4m3 of each lane divided by 256: their bits moved into half floats, which holds for subnormals too.
template <class Ops>
struct Fp8Codes {
  template <class Base>
  static void expand(char* room, const char* codes, const char* scales, int width, int64_t group) {
    prefetch_next(codes, group * width);
    for (int i = 0; i < width; i += kLanes) {
      const vf scale = load(reinterpret_cast<const float*>(scales) + i, Full{}) * set1(256);
      for (int64_t k = 0; k < group; k += 2) {
        vf even, odd;
        Ops::fp8_pair(codes + (k / 2 * width + i) * 2, even, odd);
        put<Base>(room, k / 2, width, i, even * scale, odd * scale);
      }
    }
  }
};

/// The entries of Int4 and Fp8 over those that the table had before. Exact<Base, Source> for float32 rows and where there is nothing
/// better for bf16 rows.
struct QuantizedEntries {
  static Kernels below;
  using Function = void (*)(const LinearCall&);
  using Bytes = size_t (*)(const LinearCall&);
  struct Ways {
    Function run;
    Bytes scratch;
    int64_t step;  // a group is a multiple of it, or the entries below are asked
  };
  template <class Way>
  static Ways ways(int64_t step = 1) {
    return {grouped_linear<Way>, grouped_scratch<Way>, step};
  }
  /// By format (Int4, Fp8), rows of bf16, and int8_rows; empty = as below.
  static inline Ways table[2][2][2];

  static const Ways* own(const LinearCall& c) {
    if (c.format != WeightFormat::Int4 && c.format != WeightFormat::Fp8) return nullptr;
    const Ways& w = table[c.format == WeightFormat::Fp8][c.type == DType::BF16][c.int8_rows && c.format == WeightFormat::Int4];
    return w.run && c.group % w.step == 0 ? &w : nullptr;
  }
  static void linear(const LinearCall& c) {
    const Ways* w = own(c);
    w ? w->run(c) : below.linear(c);
  }
  static size_t scratch(const LinearCall& c) {
    const Ways* w = own(c);
    return w ? w->scratch(c) : below.linear_scratch(c);
  }
  /// A filler whose registers lie over those of another of the same width keeps that one's packing.
  static void fill(Kernels& k) {
    below = k;
    k.quantized_packed_bytes = quantized_bytes;
    k.quantized_pack = pack_quantized;
    k.quantized_unpack = unpack_quantized;
    k.linear_scratch = scratch;
    k.linear = linear;
  }
};
Kernels QuantizedEntries::below;
