// The tile registers of AMX. Included inside the unnamed namespace of a file in this folder, after vec.h.
//
// A tile holds 16 rows of 64 bytes. One instruction multiplies a tile of rows (16 rows of 16 units of four bytes) by a tile of weights (the
// same 16 units of 16 columns, side by side as every panel in cpu/generic holds them) and adds to a tile of 16 x 16 sums. Written as
// assembly, because the intrinsics take register numbers as tokens, which no template can give them.

constexpr int kTile = 16;  // rows, units and columns of a tile

/// What a thread must do before and after it touches tiles. A released state costs nothing at a context switch.
struct TileState {
  struct alignas(64) Shape {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };
  TileState() {
    Shape shape;
    for (int i = 0; i < 8; ++i) shape.row_bytes[i] = 64, shape.rows[i] = kTile;
    __asm__ volatile("ldtilecfg %0" ::"m"(shape));
  }
  ~TileState() { __asm__ volatile("tilerelease" ::: "memory"); }
  TileState(const TileState&) = delete;
  TileState& operator=(const TileState&) = delete;
};

template <int T>
inline void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(T));
}
/// Rows lie `stride` bytes apart.
template <int T>
inline void tile_load(const void* p, int64_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(T) : "memory");
}
template <int T>
inline void tile_store(void* p, int64_t stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(T) : "memory");
}

/// Pairs of bf16, summed in float32.
struct PairsOfBf16 {
  template <int Sum, int Rows, int Weights>
  static void multiply_add() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sum), "i"(Rows), "i"(Weights));
  }
};
/// Four signed bytes of a row times four unsigned ones of a column, summed in int32.
struct SignedByUnsigned {
  template <int Sum, int Rows, int Weights>
  static void multiply_add() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sum), "i"(Rows), "i"(Weights));
  }
};
struct SignedBySigned {
  template <int Sum, int Rows, int Weights>
  static void multiply_add() {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sum), "i"(Rows), "i"(Weights));
  }
};

template <int n>
struct Number {
  static constexpr int value = n;
};
/// Calls body(Number) for 0 .. n - 1.
template <int n, class Body>
inline void unrolled(Body&& body) {
  if constexpr (n > 0) {
    unrolled<n - 1>(body);
    body(Number<n - 1>{});
  }
}

/// Sums of MR x NR tiles in the registers 0 .. MR NR - 1.
template <int MR, int NR>
struct TileSums {
  static_assert(MR * NR <= 6);
  static void clear() {
    unrolled<MR * NR>([](auto i) { tile_zero<i.value>(); });
  }
  /// A row of tiles begins `apart` bytes after the one before.
  static void load(const char* p, int64_t stride, int64_t apart) {
    unrolled<MR * NR>([&](auto i) { tile_load<i.value>(p + i.value / NR * apart + i.value % NR * 64, stride); });
  }
  static void store(char* p, int64_t stride, int64_t apart) {
    unrolled<MR * NR>([&](auto i) { tile_store<i.value>(p + i.value / NR * apart + i.value % NR * 64, stride); });
  }
  /// Adds the products of 16 units: rows[m] are those of tile row m, w those of the first tile of columns.
  template <class Product>
  static void add(const char* const (&rows)[MR], int64_t stride, const char* w, int64_t w_stride) {
    if constexpr (MR * NR + MR + NR <= 8) {  // a register for each operand
      constexpr int kColumn = MR * NR, kRow = MR * NR + NR;
      unrolled<MR>([&](auto m) { tile_load<kRow + m.value>(rows[m.value], stride); });
      unrolled<NR>([&](auto n) {
        tile_load<kColumn + n.value>(w + n.value * 64, w_stride);
        unrolled<MR>([&](auto m) { Product::template multiply_add<m.value * NR + n.value, kRow + m.value, kColumn + n.value>(); });
      });
    } else {  // one for rows and one for columns; the second row of tiles goes backwards and finds its first columns loaded
      unrolled<MR>([&](auto m) {
        tile_load<6>(rows[m.value], stride);
        unrolled<NR>([&](auto i) {
          constexpr int n = m.value % 2 ? NR - 1 - i.value : i.value;
          if constexpr (m.value == 0 || i.value > 0) tile_load<7>(w + n * 64, w_stride);
          Product::template multiply_add<m.value * NR + n, 6, 7>();
        });
      });
    }
  }
};
