// Int4 weights times rows rounded to int8 in each group: integers within a group, float32 between groups. Included after
// panel_grouped.inl.h and an Integers, which says how a register of four products a lane is made:
//   Register, zero(), load(codes), low(r) and high(r), the halves of every byte;
//   dot<MR, NR>(sums, x, stride, w, units): adds the products of MR rows and NR registers over `units` units of bytes, a multiple of 8;
//   dot_codes<MR, NR>(sums, x, stride, w, pairs): the same from codes, two units in each register;
//   to_float(r).

template <class Integers>
struct Int8Rows {
  using Base = Float32;
  using Register = typename Integers::Register;
  static constexpr int64_t kRows = Integers::kRows, kChunkRows = kDeepRows / kRows * kRows;
  static constexpr int64_t kRoomBytes = kMostGroup * kPanel, kValueBytes = 1, kFew = 2, kBeyond = 0;
  using State = NoState;
  static constexpr bool kScaledRows = true;
  static constexpr int kRegisterBytes = kLanes * 4;
  static constexpr int64_t kAhead = 4096;     // bytes
  static constexpr float kSmallest = 1e-36f;  // of max |x|: below it 127 / max would overflow, and the group counts as zero

  static bool reads(DType) { return false; }
  template <class Job>
  static void prepare(const Job& job, int64_t m) {
    const LinearCall& c = job.call;
    const GroupLayout& l = job.layout;
    int8_t* to = reinterpret_cast<int8_t*>(job.x.data + m * job.x.stride);
    for (int64_t g = 0; g < l.groups; ++g) {
      vf most = zero(), strange = zero();  // 0 or, if there is an infinity or a NaN, NaN
      for (int64_t k = g * l.group; k < (g + 1) * l.group; k += kLanes) {
        const vf v = load_as(c.x, c.type, m * c.K + k, c.K - k);
        most = max(most, abs(v));
        strange = fma(v, zero(), strange);
      }
      const float largest = reduce_max(most), step = (largest < kSmallest ? 0 : largest / 127) + reduce_add(strange);
      const vf inverse = set1(largest < kSmallest || step != step ? 0 : 127 / largest);
      vf sum = zero();
      for (int64_t k = g * l.group; k < (g + 1) * l.group; k += kLanes) {
        const vf v = round_even(inverse * load_as(c.x, c.type, m * c.K + k, c.K - k));
        sum = sum + v;
        store(to + k, v, Full{});
      }
      job.x.scale[m * l.groups + g] = step;
      job.x.sum[m * l.groups + g] = reduce_add(sum);
    }
  }

  template <int MR, int NR>
  static void clear(Register (&r)[MR][NR]) {
#pragma GCC unroll 8
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 3
      for (int j = 0; j < NR; ++j) r[i][j] = Integers::zero();
  }

  /// Adds what a group contributes: scale * step * (dot - zero * sum of x).
  template <int MR, int NR>
  static void add_group(vf (&sums)[MR][NR], const Register (&dots)[MR][NR], const char* scales, int64_t width, const float* step,
                        const float* x_sum, int64_t groups) {
    vf scale[NR], zeros[NR];
#pragma GCC unroll 3
    for (int j = 0; j < NR; ++j) {
      scale[j] = load(reinterpret_cast<const float16*>(scales) + j * kLanes, Full{});
      zeros[j] = load(reinterpret_cast<const int8_t*>(scales) + 2 * width + j * kLanes, Full{});
    }
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r) {
      const vf s = set1(step[r * groups]), total = set1(x_sum[r * groups]);
#pragma GCC unroll 3
      for (int j = 0; j < NR; ++j) sums[r][j] = fma(fnma(zeros[j], total, Integers::to_float(dots[r][j])), scale[j] * s, sums[r][j]);
    }
  }

  template <int MR, int NR>
  static void tile(float* sums, const char* x, int64_t stride, const char* w, int64_t group, const char* scales, int64_t width,
                   const float* step, const float* x_sum, int64_t groups, bool add) {
    Register dots[MR][NR];
    clear(dots);
    Integers::template dot<MR, NR>(dots, x, stride, w, group / 4);
    vf before[MR][NR];
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 3
      for (int j = 0; j < NR; ++j) before[r][j] = add ? load(sums + r * kPanel + j * kLanes, Full{}) : zero();
    add_group<MR, NR>(before, dots, scales, width, step, x_sum, groups);
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 3
      for (int j = 0; j < NR; ++j) store(sums + r * kPanel + j * kLanes, before[r][j], Full{});
  }
  using Tile = void (*)(float*, const char*, int64_t, const char*, int64_t, const char*, int64_t, const float*, const float*, int64_t,
                        bool);
  template <int MR = kRows, int NR = kRegisters>
  static Tile tile_for(int64_t rows, int64_t registers) {
    if constexpr (NR > 1)
      if (registers < NR) return tile_for<MR, NR - 1>(rows, registers);
    if constexpr (MR > 1)
      if (rows < MR) return tile_for<MR - 1, NR>(rows, registers);
    return tile<MR, NR>;
  }

  static void expand(char* room, const char* codes, const char*, int width, int64_t group) {
    const int64_t pair = width * 4;
    prefetch_next(codes, group / 8 * pair);
    for (int64_t k = 0; k < group; k += 8, codes += pair, room += 2 * pair)
      for (int64_t i = 0; i < pair; i += kRegisterBytes) {
        const Register r = Integers::load(codes + i);
        Integers::store(room + i, Integers::low(r));
        Integers::store(room + pair + i, Integers::high(r));
      }
  }
  static void multiply(const GroupedJob<Int8Rows>& job, float* sums, int64_t m, int64_t rows, int64_t g, const char* room,
                       const char* scales, int width) {
    const GroupLayout& l = job.layout;
    tile_for(rows, width / kLanes)(sums, job.x.data + m * job.x.stride + g * l.group, job.x.stride, room, l.group, scales, width,
                                   job.x.scale + m * l.groups + g, job.x.sum + m * l.groups + g, l.groups, g > 0);
  }

  /// One or two rows: straight from the codes, which are read once, at the speed of memory. The same sums as a tile's.
  template <int MR, int NR>
  static void stream(float* sums, const char* x, int64_t stride, const char* codes, const char* scales, const GroupLayout& l,
                     const float* step, const float* x_sum) {
    constexpr int64_t width = NR * kLanes;
    vf total[MR][NR];
#pragma GCC unroll 2
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 3
      for (int j = 0; j < NR; ++j) total[r][j] = zero();
    for (int64_t g = 0; g < l.groups; ++g) {
      for (int64_t i = 0; i < l.group / 2 * width; i += 64) __builtin_prefetch(codes + kAhead + i, 0, 2);
      Register dots[MR][NR];
      clear(dots);
      Integers::template dot_codes<MR, NR>(dots, x, stride, codes, l.group / 8);
      add_group<MR, NR>(total, dots, scales, width, step + g, x_sum + g, l.groups);
      x += l.group, codes += l.group / 2 * width, scales += 3 * width;
    }
#pragma GCC unroll 2
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 3
      for (int j = 0; j < NR; ++j) store(sums + r * kPanel + j * kLanes, total[r][j], Full{});
  }
  using Stream = void (*)(float*, const char*, int64_t, const char*, const char*, const GroupLayout&, const float*, const float*);
  template <int MR, int NR = kRegisters>
  static Stream stream_for(int64_t registers) {
    if constexpr (NR > 1)
      if (registers < NR) return stream_for<MR, NR - 1>(registers);
    return stream<MR, NR>;
  }
  template <class Job>
  static void few(const Job& job, const char* packed, int64_t p, int64_t begin, int64_t end, float* sums) {
    const GroupLayout& l = job.layout;
    const int64_t registers = l.width(p) / kLanes;
    const Stream run = end - begin == 1 ? stream_for<1>(registers) : stream_for<2>(registers);
    run(sums, job.x.data + begin * job.x.stride, job.x.stride, packed + l.codes(p, 0), packed + l.scales(p, 0), l,
        job.x.scale + begin * l.groups, job.x.sum + begin * l.groups);
  }
};
