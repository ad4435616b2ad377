// Attention, forward and backward: ragged, causal, windowed, grouped heads, paged, with every bias.
#include <cmath>
#include <cstring>

#include "device_agree.h"
#include "grouped_data.h"
#include "tenon/core/tensor_cores.h"

using namespace tenon;
using namespace tenon::agree;
using namespace tenon::device_test;

namespace {

struct Case {
  std::vector<int64_t> q_start, k_start;
  int64_t H = 4, Hkv = 2, D = 8, Dv = 8, window = 0;
  bool causal = false, key_bias = false, distance_bias = false;
  float softcap = 0;
  uint32_t dropped = 0;
  const char* what = "";
};

std::vector<Case> cases() {
  const std::vector<int64_t> ragged = {0, 1, 18, 18, 50, 83}, keys = {0, 1, 18, 18, 50, 83}, more = {0, 40, 63, 70, 102, 166};
  std::vector<Case> list;
  const auto with = [&](const char* what, auto&& change) {
    Case c;
    c.q_start = ragged, c.k_start = keys, c.what = what;
    change(c);
    list.push_back(c);
  };
  with("plain", [](Case&) {});
  with("causal", [](Case& c) { c.causal = true; });
  with("causal, more keys than queries", [&](Case& c) { c.causal = true, c.k_start = more; });
  with("causal, fewer keys than queries", [&](Case& c) { c.causal = true, c.q_start = more; });
  with("window", [](Case& c) { c.causal = true, c.window = 5; });
  with("window beyond a tile", [](Case& c) { c.causal = true, c.window = 33; });
  with("one key head", [](Case& c) { c.Hkv = 1; });
  with("a head for each", [](Case& c) { c.Hkv = 4; });
  with("odd widths", [](Case& c) { c.D = 5, c.Dv = 3; });
  with("wide heads", [](Case& c) { c.H = 2, c.Hkv = 1, c.D = 96, c.Dv = 64; });
  with("heads of 128", [](Case& c) { c.H = 2, c.Hkv = 1, c.D = 128, c.Dv = 128, c.causal = true; });
  with("decoding: one query, keys split over blocks", [](Case& c) {
    c.q_start = {0, 1, 2, 3}, c.k_start = {0, 700, 701, 701 + 130}, c.H = 8, c.Hkv = 1, c.D = c.Dv = 64, c.causal = true;
  });
  with("decoding with a window and some queries", [](Case& c) {
    c.q_start = {0, 3, 3, 7}, c.k_start = {0, 300, 310, 330}, c.Hkv = 1, c.D = 72, c.Dv = 80, c.causal = true, c.window = 150;
  });
  with("expanded latent heads", [](Case& c) { c.H = c.Hkv = 2, c.D = 192, c.Dv = 128, c.causal = true; });
  with("heads of 256", [](Case& c) { c.H = 2, c.Hkv = 1, c.D = c.Dv = 256, c.causal = true; });
  with("decoding over latents", [](Case& c) {
    c.q_start = {0, 1, 2}, c.k_start = {0, 90, 91}, c.H = 20, c.Hkv = 1, c.D = 576, c.Dv = 512, c.causal = true;
  });
  with("values wider than keys", [](Case& c) { c.D = 4, c.Dv = 40; });
  with("key bias", [](Case& c) { c.key_bias = true; });
  with("distance bias", [](Case& c) { c.distance_bias = true, c.causal = true; });
  with("softcap", [](Case& c) { c.softcap = 2; });
  with("dropout", [](Case& c) { c.dropped = 20000; });
  return list;
}

struct Data {
  int64_t Nq, Nk, ld_q, ld_k, ld_v, ld_out, zero = 200;
  std::vector<float> q, k, v, key_bias, distance;
  /// wide: rows begin at multiples of 16 bytes, as the kernels of wgmma want them.
  explicit Data(const Case& c, bool wide = false)
      : Nq(c.q_start.back()), Nk(c.k_start.back()), ld_q(c.H * c.D + (wide ? 8 : 3)), ld_k(c.Hkv * c.D + (wide ? 16 : 1)), ld_v(c.Hkv * c.Dv),
        ld_out(c.H * c.Dv + 2) {
    q = normal(size(Nq * ld_q), 1), k = normal(size(Nk * ld_k), 2), v = normal(size(Nk * ld_v), 3);
    key_bias = normal(size(Nk), 4), distance = normal(size(c.H * 400), 5);
    // the third sequence and a key of another are shut out
    for (int64_t s = c.k_start[1]; s < c.k_start[2]; s += 3) key_bias[size(s)] = -std::numeric_limits<float>::infinity();
    for (int64_t s = c.k_start[0]; s < c.k_start[1]; ++s) key_bias[size(s)] = -std::numeric_limits<float>::infinity();
  }
};

AttentionCall call_of(const Case& c, const Data& d, DType type) {
  AttentionCall call;
  call.type = type;
  call.ld_q = d.ld_q, call.ld_k = d.ld_k, call.ld_v = d.ld_v, call.ld_out = d.ld_out;
  call.B = static_cast<int64_t>(c.q_start.size()) - 1, call.H = c.H, call.Hkv = c.Hkv, call.D = c.D, call.Dv = c.Dv, call.Nq = d.Nq;
  call.scale = c.D > 100 ? 1 / std::sqrt(static_cast<float>(c.D)) : 0.5f, call.causal = c.causal, call.window = c.window, call.softcap = c.softcap;
  call.ld_distance = 400, call.distance_zero = d.zero;
  if (c.dropped) {
    call.dropout = {.seed = 5, .stream = 6, .first = 7, .below = c.dropped, .scale = 65536.0f / static_cast<float>(65536 - c.dropped)};
    call.ld_dropout = 72;
  }
  return call;
}

int64_t longest(const std::vector<int64_t>& starts) {
  int64_t most = 0;
  for (size_t i = 1; i < starts.size(); ++i) most = std::max(most, starts[i] - starts[i - 1]);
  return most;
}

void run_ref(AttentionCall call) {
  std::vector<float> scratch(4096);
  for (int64_t b = 0; b < call.B; ++b)
    for (int64_t h = 0; h < call.H; ++h) ref().attention(call, b, h, 0, call.q_start[b + 1] - call.q_start[b], scratch.data());
}

template <class E>
void check_forward(const Case& c) {
  const Data d(c);
  const std::vector<E> q = as<E>(d.q), k = as<E>(d.k), v = as<E>(d.v);
  std::vector<E> out = as<E>(normal(size(d.Nq * d.ld_out), 9));
  std::vector<float> lse(size(c.H * d.Nq));
  OnDevice<E> gq = q, gk = k, gv = v, gout = out;
  Floats glse = lse, gbias = d.key_bias, gdistance = d.distance;
  Indices gq_start = c.q_start, gk_start = c.k_start;

  AttentionCall call = call_of(c, d, type_of<E>());
  call.out = out.data(), call.q = q.data(), call.k = k.data(), call.v = v.data(), call.lse = lse.data();
  call.q_start = c.q_start.data(), call.k_start = c.k_start.data();
  call.key_bias = c.key_bias ? d.key_bias.data() : nullptr, call.distance_bias = c.distance_bias ? d.distance.data() : nullptr;
  run_ref(call);
  call.out = gout.p(), call.q = gq.p(), call.k = gk.p(), call.v = gv.p(), call.lse = glse.p();
  call.q_start = gq_start.p(), call.k_start = gk_start.p();
  call.key_bias = c.key_bias ? gbias.p() : nullptr, call.distance_bias = c.distance_bias ? gdistance.p() : nullptr;
  kernels().attention(call, kAllSequences, 0, 0, longest(c.q_start), nullptr);
  CHECK(distance(gout.get(), out) <= step(out, 1e-5));
  CHECK(distance(glse.get(), lse) <= 1e-5);
  if (sizeof(E) == 4) {
    call.lse = nullptr;  // without it the same
    const std::vector<E> before = gout.get();
    kernels().attention(call, kAllSequences, 0, 0, longest(c.q_start), nullptr);
    CHECK(distance(gout.get(), before) == 0);
  }
}

/// Values of 16 bits as float32; float32 as it is.
template <class E>
std::vector<float> rounded(const std::vector<float>& v) {
  return agree::to_float(floats_as<E>(v));
}

/// Of 16 bits: against the gradients in float32 of the rounded values.
template <class E>
void check_backward(const Case& c, bool wgmma = false) {
  Data d(c, wgmma);
  d.q = rounded<E>(d.q), d.k = rounded<E>(d.k), d.v = rounded<E>(d.v);
  std::vector<float> out(size(d.Nq * d.ld_out)), lse(size(c.H * d.Nq)), dy = normal(out.size(), 6);
  std::vector<float> dq(d.q.size()), dk(d.k.size()), dv(d.v.size()), scratch(4096);
  AttentionCall call = call_of(c, d, DType::F32);
  call.out = out.data(), call.q = d.q.data(), call.k = d.k.data(), call.v = d.v.data(), call.lse = lse.data();
  call.q_start = c.q_start.data(), call.k_start = c.k_start.data();
  call.key_bias = c.key_bias ? d.key_bias.data() : nullptr, call.distance_bias = c.distance_bias ? d.distance.data() : nullptr;
  run_ref(call);
  OnDevice<E> gq = floats_as<E>(d.q), gk = floats_as<E>(d.k), gv = floats_as<E>(d.v), gout = floats_as<E>(out);
  Floats glse = lse, gbias = d.key_bias, gdistance = d.distance, gdy = dy, gdq = dq, gdk = dk, gdv = dv;
  Indices gq_start = c.q_start, gk_start = c.k_start;
  std::vector<float> d_distance(c.distance_bias ? size(call.B * c.H * call.ld_distance) : 0);
  Floats gd_distance = d_distance;
  AttentionGrad g{.d_out = dy.data(), .dq = dq.data(), .dk = dk.data(), .dv = dv.data()};
  if (c.distance_bias) g.d_distance = d_distance.data();
  for (int64_t b = 0; b < call.B; ++b)
    for (int64_t h = 0; h < c.Hkv; ++h) ref().attention_backward(call, g, b, h, scratch.data());
  call.type = float_type<E>();
  call.out = gout.p(), call.q = gq.p(), call.k = gk.p(), call.v = gv.p(), call.lse = glse.p();
  call.q_start = gq_start.p(), call.k_start = gk_start.p();
  call.key_bias = c.key_bias ? gbias.p() : nullptr, call.distance_bias = c.distance_bias ? gdistance.p() : nullptr;
  g = {.d_out = gdy.p(), .dq = gdq.p(), .dk = gdk.p(), .dv = gdv.p()};
  if (c.distance_bias) g.d_distance = gd_distance.p();
  const bool there = by_wgmma();  // trials are over
  const WgmmaLaunches launches;
  kernels().attention_backward(call, g, kAllSequences, longest(c.q_start), nullptr);
  launches.check(wgmma && there);
  const double step = std::is_same_v<E, float> ? 1e-5 : std::is_same_v<E, float16> ? 1.0 / 512 : 1.0 / 64;
  CHECK(distance(gdq.get(), dq) <= step * (1 + largest(dq)));
  CHECK(distance(gdk.get(), dk) <= step * (1 + largest(dk)));
  CHECK(distance(gdv.get(), dv) <= step * (1 + largest(dv)));
  if (c.distance_bias) CHECK(distance(gd_distance.get(), d_distance) <= step * (1 + largest(d_distance)));
  Floats again_q = std::vector<float>(dq.size()), again_k = std::vector<float>(dk.size()), again_v = std::vector<float>(dv.size());
  g.dq = again_q.p(), g.dk = again_k.p(), g.dv = again_v.p(), g.d_distance = nullptr;
  kernels().attention_backward(call, g, kAllSequences, longest(c.q_start), nullptr);
  CHECK(again_q.get() == gdq.get());  // to the bit
  CHECK(again_k.get() == gdk.get());
  CHECK(again_v.get() == gdv.get());
}

template <class E>
void check_pages(int64_t D, const std::vector<CacheCodes>& all_codes = {CacheCodes::None, CacheCodes::Int8, CacheCodes::Fp8},
                 const std::vector<int64_t>& q_start = {0, 1, 3, 4}, const std::vector<int64_t>& k_start = {0, 5, 5 + 33, 5 + 33 + 48}) {
  constexpr int64_t rows = 16, Hkv = 2, H = 4;
  std::vector<int64_t> page_start = {0};
  for (size_t i = 1; i < k_start.size(); ++i) page_start.push_back(page_start.back() + (k_start[i] - k_start[i - 1] + rows - 1) / rows);
  const int64_t pages = page_start.back(), Nq = q_start.back();
  for (const CacheCodes codes : all_codes) {
    INFO("codes ", static_cast<int>(codes), ", D ", D, ", ", name_of(type_of<E>()));
    const int64_t item = codes == CacheCodes::None ? static_cast<int64_t>(sizeof(E)) : 1, v_offset = rows * Hkv * D * item, scales = 2 * v_offset, bytes = scales + 2 * rows * Hkv * 4;
    std::vector<char> memory(size(pages * bytes));
    const std::vector<E> values = as<E>(normal(memory.size() / sizeof(E), 1));
    std::memcpy(memory.data(), values.data(), values.size() * sizeof(E));
    if (codes != CacheCodes::None)
      for (int64_t p = 0; p < pages; ++p) {
        for (int64_t i = 0; i < scales; ++i) {
          const auto byte = static_cast<char>(i * 37 + p);
          memory[size(p * bytes + i)] = (byte & 0x7f) == 0x7f ? char{3} : byte;  // a NaN of float8
        }
        for (int64_t i = 0; i < 2 * rows * Hkv; ++i) {
          const float s = 0.01f + 0.001f * static_cast<float>(i % 5);
          std::memcpy(memory.data() + p * bytes + scales + i * 4, &s, 4);
        }
      }
    const std::vector<E> q = as<E>(normal(size(Nq * H * D), 2));
    std::vector<E> out(q.size());
    std::vector<int64_t> order;
    for (int64_t p = 0; p < pages; ++p) order.push_back((p * 5 + 3) % pages);  // pages is no multiple of 5
    const auto addresses = [&](const char* base) {
      std::vector<int64_t> list;
      for (int64_t p : order) list.push_back(reinterpret_cast<int64_t>(base + p * bytes));
      return list;
    };
    const std::vector<int64_t> host = addresses(memory.data());
    AttentionCall call;
    call.type = type_of<E>();
    call.ld_q = call.ld_out = H * D, call.ld_k = call.ld_v = Hkv * D, call.B = static_cast<int64_t>(q_start.size()) - 1, call.H = H, call.Hkv = Hkv, call.D = call.Dv = D, call.Nq = Nq;
    call.causal = true, call.page_rows = rows, call.v_offset = v_offset, call.codes = codes;
    call.k_scale_offset = scales, call.v_scale_offset = scales + rows * Hkv * 4;
    call.out = out.data(), call.q = q.data(), call.q_start = q_start.data(), call.k_start = k_start.data(), call.page_start = page_start.data();
    call.pages = reinterpret_cast<const void* const*>(host.data());
    run_ref(call);

    OnDevice<uint8_t> gmemory = std::vector<uint8_t>(memory.begin(), memory.end());
    OnDevice<E> gq = q, gout = out;
    Indices gq_start = q_start, gk_start = k_start, gpage_start = page_start, gpages = addresses(reinterpret_cast<const char*>(gmemory.p()));
    call.out = gout.p(), call.q = gq.p(), call.q_start = gq_start.p(), call.k_start = gk_start.p(), call.page_start = gpage_start.p();
    call.pages = reinterpret_cast<const void* const*>(gpages.p());
    const bool there = by_wgmma();
    const WgmmaLaunches launches;
    kernels().attention(call, kAllSequences, 0, 0, longest(q_start), nullptr);
    launches.check(there && sizeof(E) == 2 && codes == CacheCodes::None && D % 8 == 0 && longest(q_start) * H / Hkv > 64);
    CHECK(distance(gout.get(), out) <= step(out, 1e-5));
  }
}

}  // namespace

TEST_CASE("device: attention agrees") {
  for (const Case& c : cases()) {
    INFO(c.what);
    check_forward<float>(c);
    check_forward<bfloat16>(c);
  }
}

/// Against float32 of the rounded values.
template <class E>
void check_hopper(const Case& c) {
  Data d(c, true);
  d.q = rounded<E>(d.q), d.k = rounded<E>(d.k), d.v = rounded<E>(d.v);
  std::vector<float> out(size(d.Nq * d.ld_out)), lse(size(c.H * d.Nq));
  OnDevice<E> gq = floats_as<E>(d.q), gk = floats_as<E>(d.k), gv = floats_as<E>(d.v), gout = floats_as<E>(out);
  Floats glse = lse, gbias = d.key_bias, gdistance = d.distance;
  Indices gq_start = c.q_start, gk_start = c.k_start;
  AttentionCall call = call_of(c, d, DType::F32);
  call.out = out.data(), call.q = d.q.data(), call.k = d.k.data(), call.v = d.v.data(), call.lse = lse.data();
  call.q_start = c.q_start.data(), call.k_start = c.k_start.data();
  call.key_bias = c.key_bias ? d.key_bias.data() : nullptr, call.distance_bias = c.distance_bias ? d.distance.data() : nullptr;
  run_ref(call);
  call.type = float_type<E>();
  call.out = gout.p(), call.q = gq.p(), call.k = gk.p(), call.v = gv.p(), call.lse = glse.p();
  call.q_start = gq_start.p(), call.k_start = gk_start.p();
  call.key_bias = c.key_bias ? gbias.p() : nullptr, call.distance_bias = c.distance_bias ? gdistance.p() : nullptr;
  const bool there = by_wgmma();
  const WgmmaLaunches launches;
  kernels().attention(call, kAllSequences, 0, 0, longest(c.q_start), nullptr);
  launches.check(there);
  CHECK(distance(agree::to_float(gout.get()), out) <= largest(out) / (std::is_same_v<E, float16> ? 1024 : 128));
  CHECK(distance(glse.get(), lse) <= 1e-5);
}

TEST_CASE("device: attention by wgmma agrees around tiles") {
  Case c;
  for (const auto& [D, Dv] : {std::pair<int64_t, int64_t>{64, 64}, {48, 64}, {128, 128}, {80, 96}, {192, 128}})
    for (const int64_t G : {int64_t{1}, int64_t{3}})
      for (const int64_t T : {int64_t{65}, int64_t{128}, int64_t{129}, int64_t{300}})
        for (const int64_t more : {int64_t{0}, int64_t{70}, int64_t{-30}}) {
          if (D != 64 || G > 1 ? T != 129 || more != 70 : T == 129) continue;
          c.D = D, c.Dv = Dv, c.H = 2 * G, c.Hkv = 2;
          c.q_start = {0, T, T + 1, T + 1, T + 71}, c.k_start = {0, T + more, T + more + 5, T + more + 5, T + more + 90};
          for (const bool causal : {true, false}) {
            INFO("D ", D, ", heads to a key head ", G, ", T ", T, ", more keys ", more, ", causal ", causal);
            c.causal = causal;
            check_hopper<bfloat16>(c);
          }
          c.causal = true, c.window = 66;
          check_hopper<float16>(c);
          c.window = 0;
        }
}

TEST_CASE("device: attention by wgmma whose results are wrong is not used, nor where there is none") {
  if (!by_wgmma()) return;
  constexpr Device second{Device::Kind::Cuda, 1};
  constexpr int64_t T = 150, D = 64;
  const Tensor x = Tensor::from(floats_as<bfloat16>(normal(size(3 * T * D), 1)), {3 * T * D}), starts = Tensor::from(std::vector<int64_t>{0, T}, {2});
  const auto run = [&](Device device) {
    const Tensor there = x.to(device), at = starts.to(device);
    const auto* p = static_cast<const bfloat16*>(there.address());
    Tensor out = Tensor::from(std::vector<bfloat16>(size(T * D)), {T * D}).to(device);
    AttentionCall c;
    c.type = DType::BF16, c.out = out.address(), c.q = p, c.k = p + T * D, c.v = p + 2 * T * D;
    c.q_start = c.k_start = static_cast<const int64_t*>(at.address());
    c.ld_q = c.ld_k = c.ld_v = c.ld_out = D, c.B = c.H = c.Hkv = 1, c.D = c.Dv = D, c.Nq = T, c.scale = 0.1f, c.causal = true;
    cuda::kernels(device.index).attention(c, kAllSequences, 0, 0, T, nullptr);
    const Tensor host = out.to(Device{});
    return std::vector<bfloat16>(host.values<bfloat16>().begin(), host.values<bfloat16>().end());
  };
  const auto bits = [](const std::vector<bfloat16>& v) { return agree::to_float(v); };
  int before = counts().wgmma;
  const std::vector<float> by_mma = bits(run(second));  // of compute capability 8.0
  CHECK(counts().wgmma == before);
  settings().capability[1] = 90, settings().wgmma_is_wrong = true;
  CHECK(bits(run(second)) == by_mma);
  CHECK(counts().wgmma > before);  // the trial
  settings().wgmma_is_wrong = false;
  before = counts().wgmma;
  CHECK(bits(run(second)) == by_mma);
  CHECK(counts().wgmma == before);
  CHECK(cuda::tensor_cores(1) == "mma.sync in part (wgmma gave wrong results)");
  settings().capability[1] = 80;
  const std::vector<float> by_wgmma = bits(run(kDevice));
  CHECK(counts().wgmma > before);
  CHECK(distance(by_wgmma, by_mma) <= largest(by_mma) / 128);
}

TEST_CASE("device: attention by wgmma agrees with biases, softcap and dropout") {
  for (Case c : cases()) {
    if (!c.key_bias && !c.distance_bias && c.softcap == 0 && c.dropped == 0) continue;
    INFO(c.what);
    c.q_start = c.k_start = {0, 40, 41, 41, 177};
    for (const int64_t D : {int64_t{16}, int64_t{128}}) {
      c.D = c.Dv = D;
      check_hopper<bfloat16>(c);
      check_hopper<float16>(c);
    }
  }
}

TEST_CASE("device: the gradients of attention agree") {
  for (const Case& c : cases()) {
    if (c.softcap > 0 || c.D > 256) continue;  // which have none
    INFO(c.what);
    check_backward<float>(c);
    check_backward<bfloat16>(c);
    check_backward<float16>(c);
  }
}

TEST_CASE("device: the gradients of attention on tensor cores agree around tiles") {
  Case c;
  c.Hkv = 2, c.causal = true;
  for (const int64_t D : {int64_t{16}, int64_t{64}, int64_t{72}, int64_t{128}, int64_t{192}})
    for (const int64_t T : {int64_t{1}, int64_t{31}, int64_t{63}, int64_t{64}, int64_t{65}, int64_t{129}})
      for (const int64_t more : {int64_t{0}, int64_t{70}}) {
        if (D > 16 && T != 65 && (D > 64 || T != 64)) continue;
        INFO("D ", D, ", T ", T, ", S ", T + more);
        c.q_start = {0, T, T + 1}, c.k_start = {0, T + more, T + more + 1}, c.D = D, c.Dv = std::min<int64_t>(D, 128);
        check_backward<bfloat16>(c);
        c.window = 66;
        check_backward<float16>(c);
        c.window = 0;
      }
}

TEST_CASE("device: the gradients of attention by wgmma agree around tiles") {
  Case c;
  for (const auto& [D, Dv] : {std::pair<int64_t, int64_t>{64, 64}, {48, 64}, {128, 128}, {80, 96}})
    for (const int64_t G : {int64_t{1}, int64_t{3}})
      for (const int64_t T : {int64_t{65}, int64_t{128}, int64_t{193}})
        for (const int64_t more : {int64_t{0}, int64_t{140}, int64_t{-30}}) {
          if ((D != 64 || G > 1) && T + more != 268) continue;
          c.D = D, c.Dv = Dv, c.H = 2 * G, c.Hkv = 2;
          c.q_start = {0, T, T + 1, T + 1, T + 71}, c.k_start = {0, T + more, T + more + 5, T + more + 5, T + more + 90};
          for (const bool causal : {true, false}) {
            INFO("D ", D, ", heads to a key head ", G, ", T ", T, ", more keys ", more, ", causal ", causal);
            c.causal = causal;
            check_backward<bfloat16>(c, true);
          }
          INFO("window");
          c.causal = true, c.window = 66;
          check_backward<float16>(c, true);
          c.window = 0;
        }
}

TEST_CASE("device: attention over pages agrees, also of int8 and float8") {
  for (const int64_t D : {int64_t{8}, int64_t{20}, int64_t{64}}) {
    check_pages<float>(D);
    check_pages<bfloat16>(D);
  }
  for (const int64_t D : {int64_t{64}, int64_t{128}}) check_pages<bfloat16>(D, {CacheCodes::None}, {0, 70, 71, 110}, {0, 300, 316, 316 + 39});
}

TEST_CASE("device: attention refuses what it has no kernel for") {
  AttentionCall call;
  call.B = call.H = call.Hkv = 1, call.D = call.Dv = 2048;
  try {
    kernels().attention(call, kAllSequences, 0, 0, 1, nullptr);
    FAIL("expected an error");
  } catch (const Error& e) {
    CHECK(std::string(e.what()).find("[attention] heads of width 2048") == 0);
  }
}
