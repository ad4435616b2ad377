// Attention of every kernel table against ref: head widths, lengths, masks, grouped heads, strides, both types.
#include <algorithm>

#include "agree.h"

using namespace tenon;
using namespace tenon::agree;

namespace {

struct Case {
  std::vector<int64_t> q_lengths, k_lengths;
  int64_t H = 2, Hkv = 2, D = 64;
  bool causal = false, bias = false, lse = true;
  float scale = 0;  // 0: 1 / sqrt(D)
  float spread = 1;
  int64_t Dv = 0, window = 0;  // Dv 0: D
  float softcap = 0;
  bool distance = false;
  int64_t page_rows = 0;
  float dropout = 0;
  CacheCodes codes = CacheCodes::None;  // with pages
  int64_t group = 1;
};

std::vector<int64_t> starts(const std::vector<int64_t>& lengths) {
  std::vector<int64_t> s = {0};
  for (int64_t n : lengths) s.push_back(s.back() + n);
  return s;
}

template <class E>
struct Problem {
  AttentionCall call;
  std::vector<int64_t> q_start, k_start;
  std::vector<E> q, k, v, out;
  std::vector<float> lse, bias, distance;
  std::vector<E> cache;
  std::vector<char> bytes;
  std::vector<const void*> pages;
  std::vector<int64_t> page_start;

  explicit Problem(const Case& c) : q_start(starts(c.q_lengths)), k_start(starts(c.k_lengths)) {
    const int64_t Nq = q_start.back(), Nk = k_start.back();
    call.type = type_of<E>();
    call.B = static_cast<int64_t>(c.q_lengths.size());
    call.H = c.H, call.Hkv = c.Hkv, call.D = c.D, call.Dv = c.Dv ? c.Dv : c.D, call.Nq = Nq;
    call.ld_q = c.H * c.D + 3, call.ld_k = c.Hkv * c.D + 1, call.ld_v = c.Hkv * call.Dv + 5, call.ld_out = c.H * call.Dv + 2;
    call.scale = c.scale != 0 ? c.scale : 1 / std::sqrt(static_cast<float>(c.D));
    call.causal = c.causal, call.window = c.window, call.softcap = c.softcap;
    if (c.distance) {
      call.distance_zero = *std::max_element(c.k_lengths.begin(), c.k_lengths.end());
      call.ld_distance = call.distance_zero + *std::max_element(c.q_lengths.begin(), c.q_lengths.end());
      distance = normal(static_cast<size_t>(c.H * call.ld_distance), 5);
      call.distance_bias = distance.data();
    }
    call.ld_dropout = (*std::max_element(c.k_lengths.begin(), c.k_lengths.end()) + 7) / 8 * 8;
    const auto below = static_cast<uint32_t>(c.dropout * 65536);
    call.dropout = {.seed = 3, .stream = 1, .first = 5, .below = below, .scale = 1 / (1 - c.dropout)};
    q = as<E>(normal(static_cast<size_t>(Nq * call.ld_q), 1, c.spread));
    k = as<E>(normal(static_cast<size_t>(Nk * call.ld_k), 2, c.spread));
    v = as<E>(normal(static_cast<size_t>(Nk * call.ld_v), 3));
    if (c.bias) {
      bias = normal(static_cast<size_t>(Nk), 4);
      for (size_t i = 0; i < bias.size(); i += 3) bias[i] = i % 2 ? -std::numeric_limits<float>::infinity() : -3.4028235e38f;
    }
    out.assign(static_cast<size_t>(Nq * call.ld_out), E{});
    lse.assign(static_cast<size_t>(c.H * Nq), 7.0f);
    call.q = q.data(), call.k = k.data(), call.v = v.data(), call.out = out.data();
    call.lse = c.lse ? lse.data() : nullptr, call.key_bias = c.bias ? bias.data() : nullptr;
    call.q_start = q_start.data(), call.k_start = k_start.data();
    call.group = c.group;
    if (c.codes != CacheCodes::None) to_pages_of_codes(c);
    else if (c.page_rows) to_pages(c);
  }

  /// The same in codes: keys, their scales, values, their scales.
  void to_pages_of_codes(const Case& c) {
    page_start = {0};
    for (const int64_t n : c.k_lengths) page_start.push_back(page_start.back() + (n + c.page_rows - 1) / c.page_rows);
    call.ld_k = c.Hkv * call.D, call.ld_v = c.Hkv * call.Dv, call.codes = c.codes;
    const int64_t of_scales = c.page_rows * c.Hkv * static_cast<int64_t>(sizeof(float)), k_bytes = (c.page_rows * call.ld_k + 3) / 4 * 4;
    call.k_offset = 0, call.k_scale_offset = k_bytes, call.v_offset = k_bytes + of_scales;
    call.v_scale_offset = call.v_offset + (c.page_rows * call.ld_v + 3) / 4 * 4;
    const int64_t page = call.v_scale_offset + of_scales;
    bytes.resize(static_cast<size_t>(page * page_start.back()));
    for (int64_t i = 0; i < page_start.back(); ++i) {
      char* const at = bytes.data() + i * page;
      pages.push_back(at);
      for (int64_t r = 0; r < c.page_rows; ++r)
        for (const bool values : {false, true}) {
          const int64_t width = values ? call.ld_v : call.ld_k;
          const std::vector<float> x = normal(static_cast<size_t>(width), 100 + static_cast<uint64_t>(2 * (i * c.page_rows + r) + values));
          char* const to = at + (values ? call.v_offset : 0) + r * width;
          float* const scale = reinterpret_cast<float*>(at + (values ? call.v_scale_offset : call.k_scale_offset)) + r * c.Hkv;
          if (c.codes == CacheCodes::Int8) ref().quantize_rows(reinterpret_cast<int8_t*>(to), scale, x.data(), c.Hkv, width / c.Hkv, DType::F32);
          else ref().quantize_rows_fp8(reinterpret_cast<float8*>(to), scale, x.data(), c.Hkv, width / c.Hkv, DType::F32);
        }
    }
    call.pages = pages.data(), call.page_start = page_start.data(), call.page_rows = c.page_rows;
    call.k = call.v = nullptr;
  }

  /// Moves k and v into pages that lie in the opposite order.
  void to_pages(const Case& c) {
    page_start = {0};
    for (const int64_t n : c.k_lengths) page_start.push_back(page_start.back() + (n + c.page_rows - 1) / c.page_rows);
    const int64_t page = c.page_rows * (call.ld_k + call.ld_v), count = page_start.back();
    cache.assign(static_cast<size_t>(page * count), E{});
    for (int64_t i = 0; i < count; ++i) pages.push_back(cache.data() + (count - 1 - i) * page);
    call.pages = pages.data(), call.page_start = page_start.data(), call.page_rows = c.page_rows;
    call.k_offset = 0, call.v_offset = c.page_rows * call.ld_k * static_cast<int64_t>(sizeof(E));
    for (size_t b = 0; b < c.k_lengths.size(); ++b)
      for (int64_t s = 0; s < c.k_lengths[b]; ++s) {
        E* to = cache.data() + (static_cast<const E*>(pages[static_cast<size_t>(page_start[b] + s / c.page_rows)]) - cache.data());
        const int64_t row = k_start[b] + s, at = s % c.page_rows;
        std::copy_n(&k[static_cast<size_t>(row * call.ld_k)], call.ld_k, to + at * call.ld_k);
        std::copy_n(&v[static_cast<size_t>(row * call.ld_v)], call.ld_v, to + c.page_rows * call.ld_k + at * call.ld_v);
      }
    call.k = call.v = nullptr;
  }

  /// `split` queries a call, 0 for all at once.
  void run(const Kernels& kernels, int64_t split) {
    for (int64_t b = 0; b < call.B; ++b) {
      const int64_t T = q_start[static_cast<size_t>(b) + 1] - q_start[static_cast<size_t>(b)];
      const int64_t S = k_start[static_cast<size_t>(b) + 1] - k_start[static_cast<size_t>(b)];
      Scratch scratch(kernels.attention_scratch(call, T, S));
      for (int64_t h = 0; h < call.H; h += call.group)
        for (int64_t t = 0; t < T; t += split ? split : T)
          kernels.attention(call, b, h, t, std::min(T, t + (split ? split : T)), scratch.data());
      CHECK(scratch.intact());
    }
  }
};

/// A row whose keys all carry the lowest float is uniform, but its lse depends on where log2 e is multiplied in: all such are one.
std::vector<float> comparable(std::vector<float> lse) {
  for (float& x : lse)
    if (x < -1e37f && std::isfinite(x)) x = -1e37f;
  return lse;
}

template <class E>
void compare(const Case& c, double out_bound, double lse_bound, int64_t split = 0) {
  INFO("D ", c.D, " T ", c.q_lengths[0], " S ", c.k_lengths[0], " causal ", c.causal, " bias ", c.bias, " bytes ", sizeof(E), " split ",
       split);
  Problem<E> expected(c);
  expected.run(ref(), 0);
  for_tables([&](const Kernels& kernels) {
    Problem<E> got(c);
    got.run(kernels, split);
    CHECK(distance(got.out, expected.out) <= out_bound);
    CHECK(distance(comparable(got.lse), comparable(expected.lse)) <= lse_bound);
  });
}

/// Both types. bf16: scores carry the rounding of no step but the inputs, weights and the result are rounded to 8 bits each.
void compare(const Case& c, int64_t split = 0) {
  compare<float>(c, 2e-6 * c.spread * c.spread + 2e-6, 1e-5 * c.spread * c.spread, split);
  const bool widened = c.codes != CacheCodes::None && c.q_lengths[0] > 3;  // codes become bf16 where there are many queries: keys are rounded again
  compare<bfloat16>(c, 0.02 / (1 - c.dropout), (widened ? 5e-3 : 1e-4) * c.spread * c.spread, split);
}

}  // namespace

TEST_CASE("attention agrees for every head width") {
  for (int64_t D : {1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 64, 65, 80, 96, 112, 127, 128, 130, 192, 256})
    compare({{37}, {37}, 2, 2, D});
}

TEST_CASE("attention agrees for every length") {
  for (int64_t n : {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 15, 16, 17, 31, 33, 47, 48, 49, 63, 64, 65, 95, 97, 128, 197, 513}) {
    compare({{n}, {n}, 1, 1, 64});
    compare({{n}, {n}, 1, 1, 24, true});
  }
}

TEST_CASE("attention agrees where queries and keys differ in number") {
  for (auto [T, S] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 700}, {2, 33}, {3, 1100}, {4, 600}, {20, 7}, {50, 3}, {60, 1030}, {100, 20}, {7, 1}})
    for (bool causal : {false, true})
      for (bool bias : {false, true}) compare({{T}, {S}, 2, 1, 32, causal, bias});
}

TEST_CASE("attention agrees for packed sequences, also empty ones") {
  for (bool causal : {false, true}) compare({{0, 5, 1, 0, 40}, {3, 5, 0, 0, 41}, 4, 2, 40, causal});
}

TEST_CASE("attention agrees where values are narrower or wider than keys") {
  for (auto [D, Dv] : std::vector<std::pair<int64_t, int64_t>>{{192, 128}, {12, 8}, {576, 512}, {16, 40}, {5, 1}})
    for (int64_t T : {1, 40}) compare({.q_lengths = {T}, .k_lengths = {70}, .H = 4, .Hkv = 2, .D = D, .causal = true, .Dv = Dv});
}

TEST_CASE("attention agrees with a window") {
  for (int64_t window : {1, 2, 6, 63, 64, 65, 300, 2000})
    for (auto [T, S] : std::vector<std::pair<int64_t, int64_t>>{{1, 700}, {3, 90}, {70, 70}, {130, 1200}, {1100, 1100}})
      compare({.q_lengths = {T}, .k_lengths = {S}, .H = 2, .Hkv = 1, .D = 24, .causal = true, .window = window});
}

TEST_CASE("attention agrees with capped scores and biases of distance") {
  for (int64_t T : {1, 2, 33})
    for (bool causal : {false, true})
      for (bool bias : {false, true}) {
        compare({.q_lengths = {T, 5}, .k_lengths = {90, 17}, .D = 16, .causal = causal, .bias = bias, .softcap = 3});
        compare({.q_lengths = {T, 5}, .k_lengths = {90, 17}, .D = 16, .causal = causal, .bias = bias, .distance = true});
        compare({.q_lengths = {T, 5}, .k_lengths = {700, 17}, .D = 16, .causal = causal, .scale = 1, .softcap = 5, .distance = true});
      }
}

TEST_CASE("attention agrees with dropout") {
  for (const float dropout : {0.1f, 0.75f})
    for (auto [T, S] : std::vector<std::pair<int64_t, int64_t>>{{1, 70}, {3, 1100}, {20, 7}, {50, 50}, {70, 1030}})
      for (bool causal : {false, true})
        compare({.q_lengths = {T, 9}, .k_lengths = {S, 13}, .H = 4, .Hkv = 2, .D = 16, .causal = causal, .window = causal ? 100 : 0,
                 .dropout = dropout});
}

TEST_CASE("attention agrees over a cache in pages, which gives the same bits as one piece") {
  for (int64_t page_rows : {16, 64})
    for (int64_t T : {1, 3, 20}) {
      const Case whole{.q_lengths = {T, T}, .k_lengths = {90, 601}, .H = 4, .Hkv = 2, .D = 20, .causal = true, .Dv = 12};
      Case paged = whole;
      paged.page_rows = page_rows;
      compare(paged);
      for_tables([&](const Kernels& kernels) {
        Problem<float> a(whole), b(paged);
        a.run(kernels, 0), b.run(kernels, 0);
        CHECK(std::memcmp(a.out.data(), b.out.data(), a.out.size() * sizeof(float)) == 0);
      });
    }
}

TEST_CASE("attention agrees with a key bias that masks, and for a row that sees nothing") {
  for (int64_t n : {1, 3, 16, 50, 140}) compare({{n}, {n}, 2, 2, 64, false, true});
  Case c{{9}, {20}, 1, 1, 16, false, true};
  Problem<float> p(c);
  for (const float low : {-std::numeric_limits<float>::infinity(), -3.4028235e38f}) {
    std::fill(p.bias.begin(), p.bias.end(), low);
    p.run(ref(), 0);
    const std::vector<float> out = p.out;
    for_tables([&](const Kernels& kernels) {
      for (int64_t split : {0, 1}) {
        std::fill(p.out.begin(), p.out.end(), 0.0f);
        p.run(kernels, split);
        CHECK(distance(p.out, out) <= 1e-6);
      }
    });
  }
}

TEST_CASE("attention agrees for steep scores, odd scales and no lse") {
  compare({{50}, {50}, 2, 2, 64, false, false, true, 0, 6});
  compare({{50}, {50}, 2, 2, 64, true, true, true, 0, 6});
  compare({{30}, {30}, 2, 2, 16, false, false, true, -0.25f});
  compare({{30}, {30}, 2, 2, 16, true, false, true, 1e-30f});
  compare({{30}, {30}, 2, 2, 16, false, false, false});
}

TEST_CASE("heads that share a key head, together; caches of int8 and float8") {
  for (const CacheCodes codes : {CacheCodes::None, CacheCodes::Int8, CacheCodes::Fp8})
    for (const int64_t group : {1, 2, 4}) {
      const auto run = [&](int64_t T, int64_t S, int64_t D, int64_t Dv, int64_t window = 0) {
        Case c{{T, 1}, {S, S / 2 + 1}};
        c.H = 8, c.Hkv = 2, c.D = D, c.Dv = Dv, c.group = group, c.causal = true, c.window = window, c.page_rows = 32, c.codes = codes;
        compare(c);
      };
      run(1, 1, 16, 16), run(1, 40, 64, 64), run(2, 600, 128, 128), run(3, 1100, 24, 40), run(1, 530, 100, 36, 17), run(9, 70, 64, 64);
      run(60, 90, 32, 32);
    }
}

TEST_CASE("a few queries agree where widths and numbers of keys end anywhere") {
  for (const int64_t S : {1, 2, 3, 17, 31, 32, 33, 513, 545})
    for (const auto& [D, Dv] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {16, 33}, {33, 17}, {40, 64}, {72, 100}, {576, 512}})
      for (const int64_t T : {1, 3})
        for (const bool distance : {false, true}) {
          Case c{.q_lengths = {T}, .k_lengths = {S}, .H = 7, .Hkv = 1, .D = D, .causal = true, .Dv = Dv, .distance = distance};
          c.page_rows = 16, c.group = 7, c.window = S > 500 ? 21 : 0;
          compare(c);
        }
}

/// Whether all of out are the same bits.
bool same_bits(const std::vector<bfloat16>& a, const std::vector<bfloat16>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](bfloat16 x, bfloat16 y) { return x.bits == y.bits; });
}

TEST_CASE("heads together give the bits of heads apart") {
  for (const auto& [D, Dv] : std::vector<std::pair<int64_t, int64_t>>{{64, 64}, {72, 36}}) {
    Case c{{2, 1, 20}, {700, 33, 64}};
    c.H = 14, c.Hkv = 2, c.D = D, c.Dv = Dv, c.causal = true, c.page_rows = 32;
    for_tables([&](const Kernels& kernels) {
      Problem<bfloat16> apart(c);
      apart.run(kernels, 0);
      Case grouped = c;
      grouped.group = 7;
      Problem<bfloat16> together(grouped);
      together.run(kernels, 0);
      CHECK(same_bits(apart.out, together.out));
    });
  }
}

TEST_CASE("a few queries give the bits of each alone, in pages and in one piece") {
  for (const int64_t S : {3, 32, 699, 700}) {
    Case c{{3, 2}, {S, S / 3 + 1}};
    c.H = 4, c.Hkv = 2, c.D = 64, c.Dv = 72, c.causal = true, c.group = 2;
    for_tables([&](const Kernels& kernels) {
      Problem<bfloat16> together(c), apart(c);
      together.run(kernels, 0), apart.run(kernels, 1);
      CHECK(same_bits(together.out, apart.out));
      Case in_pages = c;
      in_pages.page_rows = 16;
      Problem<bfloat16> paged(in_pages);
      paged.run(kernels, 0);
      CHECK(same_bits(together.out, paged.out));
    });
  }
}

TEST_CASE("attention gives a row the same bits however the queries are split") {
  for (bool causal : {false, true}) {
    const Case c{{101}, {101}, 2, 1, 48, causal};
    for_tables([&](const Kernels& kernels) {
      Problem<float> whole(c), parts(c);
      whole.run(kernels, 0);
      parts.run(kernels, 13);
      CHECK(std::memcmp(whole.out.data(), parts.out.data(), whole.out.size() * sizeof(float)) == 0);
    });
  }
}

TEST_CASE("bf16 attention errs at most twice as much as a plain bf16 one") {
  for (float spread : {1.0f, 4.0f}) {
    const Case c{{128}, {128}, 2, 2, 64, false, false, true, 0, spread};
    Problem<bfloat16> p(c);
    // Exact: the same rounded inputs, everything after in float32 and better.
    Problem<float> exact(c);
    exact.q = to_float(p.q), exact.k = to_float(p.k), exact.v = to_float(p.v);
    exact.call.q = exact.q.data(), exact.call.k = exact.k.data(), exact.call.v = exact.v.data();
    exact.run(ref(), 0);
    // Plain: scores, probabilities and result each rounded to bf16, as separate operations write them.
    std::vector<float> plain(exact.out.size());
    const AttentionCall& call = exact.call;
    for (int64_t h = 0; h < call.H; ++h)
      for (int64_t t = 0; t < call.Nq; ++t) {
        std::vector<float> s(128);
        for (int64_t key = 0; key < 128; ++key) {
          float sum = 0;
          const float *q = &exact.q[static_cast<size_t>(t * call.ld_q + h * 64)],
                      *k = &exact.k[static_cast<size_t>(key * call.ld_k + h * 64)];
          for (int64_t d = 0; d < 64; ++d) sum += q[d] * k[d];
          s[static_cast<size_t>(key)] = bfloat16::from(bfloat16::from(sum) * call.scale);
        }
        ref().softmax(s.data(), s.data(), 1, 128);
        for (int64_t d = 0; d < 64; ++d) {
          float sum = 0;
          for (int64_t key = 0; key < 128; ++key)
            sum += bfloat16::from(s[static_cast<size_t>(key)]) * exact.v[static_cast<size_t>(key * call.ld_v + h * 64 + d)];
          plain[static_cast<size_t>(t * call.ld_out + h * 64 + d)] = bfloat16::from(sum);
        }
      }
    const double plain_error = distance(plain, exact.out);
    for_tables([&](const Kernels& kernels) {
      Problem<bfloat16> got(c);
      got.run(kernels, 0);
      CHECK(distance(got.out, exact.out) <= 2 * plain_error);
    });
  }
}
