// Philox 4x32-10 over 64-bit lanes, a block in each, and dropout by its numbers. Included inside the unnamed namespace of a file compiled
// for one instruction set, after its vec.h and wide.h.

constexpr int64_t kDrawn = 8 * kWideLanes;  // numbers that are drawn at once

/// The numbers of blocks [first, first + kWideLanes). Words are lower halves of lanes: what stands above them is never read.
inline void draw_blocks(uint16_t* numbers, const Dropout& d, uint64_t first) {
  vw a = wide_from(first), b = wide_high(a), c = wide1(d.stream), e = wide1(d.stream >> 32);
  const vw m0 = wide1(0xD2511F53u), m1 = wide1(0xCD9E8D57u);
  uint32_t k0 = static_cast<uint32_t>(d.seed), k1 = static_cast<uint32_t>(d.seed >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    const vw x = wide_mul(a, m0), y = wide_mul(c, m1);
    a = wide_xor(wide_high(y), b, wide1(k0));
    b = y;
    c = wide_xor(wide_high(x), e, wide1(k1));
    e = x;
  }
  store_words(numbers, a, b, c, e);
}

constexpr int64_t kRoomBeside = kDrawn + 16;

/// The numbers of elements [begin, begin + n) of a dropout, in room for n + kRoomBeside of them. Returns where the first lies.
inline const uint16_t* draw(uint16_t* numbers, const Dropout& d, uint64_t begin, int64_t n) {
  const auto skip = static_cast<int64_t>(begin % 8);
  for (int64_t i = 0; i < n + skip; i += kDrawn) draw_blocks(numbers + i, d, d.first + begin / 8 + static_cast<uint64_t>(i / 8));
  return numbers + skip;
}

inline void dropout(void* y, const void* x, const Dropout& d, int64_t begin, int64_t n, DType type) {
  constexpr int64_t kChunk = 4 * kDrawn;
  const vf scale = set1(d.scale);
  with_activation_type(type, [&](auto* tag) {
    using E = pointee<decltype(tag)>;
    E* to = static_cast<E*>(y);
    const E* from = static_cast<const E*>(x);
    uint16_t room[kChunk + kRoomBeside];
    for (int64_t first = 0; first < n; first += kChunk) {
      const int64_t count = n - first < kChunk ? n - first : kChunk;
      const uint16_t* numbers = draw(room, d, static_cast<uint64_t>(begin + first), count);
      for_lanes(count, [&](int64_t i, auto part) {
        store(to + first + i, select(below(numbers + i, d.below), zero(), load(from + first + i, part) * scale), part);
      });
    }
  });
}
