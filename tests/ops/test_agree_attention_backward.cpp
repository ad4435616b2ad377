// Gradients of attention of every kernel table against ref: head widths, lengths, masks, grouped heads, strides, biases of distance.
#include "agree.h"

using namespace tenon;
using namespace tenon::agree;

namespace {

struct Case {
  std::vector<int64_t> q_start, k_start;
  int64_t H = 2, Hkv = 2, D = 64;
  bool causal = false, bias = false;
  int64_t Dv = 0, window = 0;  // Dv 0: D
  bool distance = false;
  float dropout = 0;
};

struct Gradients {
  std::vector<float> dq, dk, dv, d_distance;
};

/// Forward and backward of one table.
Gradients gradients(const Kernels& kernels, const Case& c) {
  AttentionCall call;
  const int64_t Nq = c.q_start.back(), Nk = c.k_start.back();
  call.B = static_cast<int64_t>(c.q_start.size()) - 1, call.H = c.H, call.Hkv = c.Hkv, call.D = c.D, call.Dv = c.Dv ? c.Dv : c.D, call.Nq = Nq;
  call.ld_q = c.H * c.D + 3, call.ld_k = c.Hkv * c.D + 1, call.ld_v = c.Hkv * call.Dv + 5, call.ld_out = c.H * call.Dv + 2;
  call.scale = 1 / std::sqrt(static_cast<float>(c.D)), call.causal = c.causal, call.window = c.window;
  call.ld_dropout = (Nk + 7) / 8 * 8;
  const auto below = static_cast<uint32_t>(c.dropout * 65536);
  call.dropout = {.seed = 3, .stream = 1, .first = 5, .below = below, .scale = 1 / (1 - c.dropout)};
  const auto q = normal(static_cast<size_t>(Nq * call.ld_q), 1), k = normal(static_cast<size_t>(Nk * call.ld_k), 2),
             v = normal(static_cast<size_t>(Nk * call.ld_v), 3), d_out = normal(static_cast<size_t>(Nq * call.ld_out), 4);
  std::vector<float> bias = normal(static_cast<size_t>(Nk), 5), out(d_out.size()), lse(static_cast<size_t>(c.H * Nq));
  for (size_t i = 0; i < bias.size(); i += 4) bias[i] = i % 8 ? -std::numeric_limits<float>::infinity() : -3.4028235e38f;
  call.q = q.data(), call.k = k.data(), call.v = v.data(), call.out = out.data(), call.lse = lse.data();
  call.q_start = c.q_start.data(), call.k_start = c.k_start.data(), call.key_bias = c.bias ? bias.data() : nullptr;
  Gradients r{std::vector<float>(q.size()), std::vector<float>(k.size()), std::vector<float>(v.size()), {}};
  std::vector<float> table;
  if (c.distance) {
    call.distance_zero = Nk, call.ld_distance = Nk + Nq;
    table = normal(static_cast<size_t>(c.H * call.ld_distance), 6);
    call.distance_bias = table.data();
    r.d_distance.resize(static_cast<size_t>(call.B) * table.size());
  }
  const AttentionGrad grad{d_out.data(), r.dq.data(), r.dk.data(), r.dv.data(), c.distance ? r.d_distance.data() : nullptr};
  for (int64_t b = 0; b < call.B; ++b) {
    const auto at = static_cast<size_t>(b);
    const int64_t T = c.q_start[at + 1] - c.q_start[at], S = c.k_start[at + 1] - c.k_start[at];
    Scratch scratch(kernels.attention_scratch(call, T, S));
    for (int64_t h = 0; h < c.H && T > 0; ++h) kernels.attention(call, b, h, 0, T, scratch.data());
    scratch.fill();
    for (int64_t h = 0; h < c.Hkv; ++h) kernels.attention_backward(call, grad, b, h, scratch.data());
    CHECK(scratch.intact());
  }
  return r;
}

void compare(const Case& c) {
  INFO("D ", c.D, " T ", c.q_start.back(), " S ", c.k_start.back(), " causal ", c.causal, " bias ", c.bias);
  const Gradients expected = gradients(ref(), c);
  for_tables([&](const Kernels& kernels) {
    const Gradients got = gradients(kernels, c);
    CHECK(distance(got.dq, expected.dq) <= 5e-6 * (1 + largest(expected.dq)));
    CHECK(distance(got.dk, expected.dk) <= 5e-6 * (1 + largest(expected.dk)));
    CHECK(distance(got.dv, expected.dv) <= 5e-6 * (1 + largest(expected.dv)));
    if (c.distance) CHECK(distance(got.d_distance, expected.d_distance) <= 5e-6 * (1 + largest(expected.d_distance)));
  });
}

}  // namespace

TEST_CASE("attention gradients agree for every head width") {
  for (int64_t D : {1, 3, 8, 15, 16, 17, 32, 33, 64, 65, 80, 96, 128, 130}) compare({{0, 37}, {0, 37}, 2, 2, D});
}

TEST_CASE("attention gradients agree for every length") {
  for (int64_t n : {1, 2, 3, 5, 6, 7, 13, 16, 17, 47, 48, 49, 64, 65, 97, 130}) {
    compare({{0, n}, {0, n}, 1, 1, 32});
    compare({{0, n}, {0, n}, 1, 1, 24, true});
  }
}

TEST_CASE("attention gradients agree where queries and keys differ in number, with masks and grouped heads") {
  for (auto [T, S] : std::vector<std::pair<int64_t, int64_t>>{{1, 70}, {20, 7}, {50, 3}, {60, 1030}, {7, 1}})
    for (bool causal : {false, true})
      for (bool bias : {false, true}) compare({{0, T}, {0, S}, 4, 2, 16, causal, bias && S > 8});
}

TEST_CASE("attention gradients agree with a window, and where values are narrower or wider than keys") {
  for (int64_t window : {1, 6, 64, 200})
    for (int64_t n : {40, 130, 600}) compare({{0, n}, {0, n + 3}, 2, 1, 16, true, false, 0, window});
  for (auto [D, Dv] : std::vector<std::pair<int64_t, int64_t>>{{12, 8}, {24, 16}, {16, 40}}) compare({{0, 33}, {0, 33}, 4, 2, D, true, false, Dv});
}

TEST_CASE("attention gradients agree with biases of distance") {
  for (auto [T, S] : std::vector<std::pair<int64_t, int64_t>>{{1, 70}, {20, 7}, {33, 33}, {60, 1030}})
    for (bool causal : {false, true})
      compare({.q_start = {0, T, T + 2}, .k_start = {0, S, S + 5}, .H = 4, .D = 16, .causal = causal, .bias = S > 8, .distance = true});
  compare({.q_start = {0, 70}, .k_start = {0, 130}, .Hkv = 1, .D = 8, .causal = true, .window = 9, .distance = true});
}

TEST_CASE("attention gradients agree with dropout") {
  for (auto [T, S] : std::vector<std::pair<int64_t, int64_t>>{{1, 70}, {20, 7}, {33, 33}, {60, 1030}})
    for (bool causal : {false, true})
      compare({.q_start = {0, T, T + 2}, .k_start = {0, S, S + 5}, .H = 4, .Hkv = 2, .D = 16, .causal = causal, .window = causal ? 40 : 0,
               .dropout = 0.3f});
}

TEST_CASE("attention gradients agree for packed sequences, also empty ones") {
  for (bool causal : {false, true}) compare({{0, 0, 5, 6, 6, 46}, {0, 3, 8, 13, 13, 54}, 4, 2, 40, causal});
}
