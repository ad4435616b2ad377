// The formats of quantised checkpoints: each read as its definition says, and written so that it reads back the same.
#include "quant/stored.h"

using namespace tenon;
using namespace tenon::test;
using quant::QuantizedMatrix;
using quant::StoredLayer;
using quant::StoredSettings;
using quant::StoredTensors;
using quant::StoredWeight;

namespace {

StoredWeight read(std::string_view method, const StoredTensors& tensors, const StoredSettings& s, int64_t N, int64_t K, int threads = 1) {
  Context ctx(threads);
  const StoredLayer layer{"model.layer", N, K, tensors};
  format(method).check(layer, s);
  return format(method).read(ctx, layer, s);
}

struct Size {
  int64_t N, K, group;
};
constexpr Size kSizes[] = {{8, 32, 32}, {136, 128, 64}, {264, 320, 64}, {48, 256, 128}, {1024, 384, 128}, {40, 96, 96}, {16, 640, 640}};

}  // namespace

TEST_CASE("4 bits written in every format read back the same, on any number of threads") {
  Context ctx(2);
  for (const auto& [N, K, group] : kSizes)
    for (const char* method : {"awq", "gptq", "compressed-tensors"})
      for (const bool act_order : {false, true})
        for (const bool symmetric : {false, true})
          for (const char* version : {"gptq", "gptq_v2"}) {
            if (std::string_view(method) != "gptq" && version != std::string_view("gptq")) continue;
            if (std::string_view(method) == "awq" && act_order) continue;
            CAPTURE(std::string(method));
            CAPTURE(N);
            CAPTURE(K);
            CAPTURE(act_order);
            const QuantizedMatrix m = random_matrix(N, K, group, 7, act_order, symmetric);
            StoredSettings s{.group = group == K ? 0 : group,
                             .symmetric = symmetric,
                             .desc_act = act_order,
                             .version = std::string_view(method) == "awq" ? "gemm" : version,
                             .groups = {group == K ? 0 : group},
                             .ignore = {}};
            const StoredTensors stored = format(method).write(ctx, m, s);
            for (const int threads : {1, 3}) check_same(read(method, stored, s, N, K, threads).matrix, m);
            // The settings that its config.json says are the same.
            const quant::Scheme again = quant::Scheme::from_json(format(method).config(s));
            CHECK(again.settings.group == (std::string_view(method) == "compressed-tensors" ? 128 : s.group));
            check_same(format(method).read(ctx, {"l", N, K, stored}, again.settings).matrix, m);
          }
}

TEST_CASE("AWQ gemm and GPTQ, element by element") {
  Context ctx(1);
  const int64_t N = 24, K = 64, group = 32;
  const QuantizedMatrix m = random_matrix(N, K, group, 3);
  StoredTensors awq = format("awq").write(ctx, m, {.group = group, .version = "gemm", .groups = {}, .ignore = {}});
  StoredTensors gptq = format("gptq").write(ctx, m, {.group = group, .version = "gptq", .groups = {}, .ignore = {}});
  const int order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  const float* scale = m.scale.data<float>();
  for (int64_t k = 0; k < K; ++k)
    for (int64_t c = 0; c < N / 8; ++c)
      for (int i = 0; i < 8; ++i) {
        CHECK(nibble(at(awq, "qweight"), k * N / 8 + c, i) == m.code(8 * c + order[i], k));
        CHECK(nibble(at(gptq, "qweight"), k / 8 * N + 8 * c + i, k % 8) == m.code(8 * c + i, k));
      }
  for (int64_t g = 0; g < K / group; ++g)
    for (int64_t n = 0; n < N; ++n) {
      const int zero = m.zero.data<uint8_t>()[n * 2 + g];
      const int place = static_cast<int>(std::find(order, order + 8, n % 8) - order);
      CHECK(nibble(at(awq, "qzeros"), g * N / 8 + n / 8, place) == zero);
      CHECK(nibble(at(gptq, "qzeros"), g * N / 8 + n / 8, n % 8) == (zero + 15) % 16);
      CHECK(static_cast<float>(at(awq, "scales").data<float16>()[g * N + n]) == scale[n * 2 + g]);
      CHECK(static_cast<float>(at(gptq, "scales").data<float16>()[g * N + n]) == scale[n * 2 + g]);
    }
}

TEST_CASE("AWQ gemv: words along the input, scales and zeros padded") {
  Random random(5);
  for (const auto& [N, K, group] : {Size{5, 256, 128}, Size{9, 320, 64}, Size{3, 96, 32}}) {
    const QuantizedMatrix m = random_matrix(N, K, group, 11);
    const int64_t G = K / group, words = group >= 128 ? (G + 7) / 8 : group == 64 ? ((G + 7) / 8 + 1) / 2 * 2 : ((G + 7) / 8 + 3) / 4 * 4;
    StoredTensors t{{"qweight", Tensor::zeros({N, K / 8}, DType::I32)},
                    {"qzeros", Tensor::zeros({N, words}, DType::I32)},
                    {"scales", Tensor::zeros({N, 8 * words}, DType::F16)}};
    for (int64_t n = 0; n < N; ++n) {
      for (int64_t k = 0; k < K; ++k)
        t[0].second.data<int32_t>()[n * K / 8 + k / 8] |= static_cast<int32_t>(static_cast<uint32_t>(m.code(n, k)) << 4 * (k % 8));
      for (int64_t g = 0; g < G; ++g) {
        t[1].second.data<int32_t>()[n * words + g / 8] |=
            static_cast<int32_t>(static_cast<uint32_t>(m.zero.data<uint8_t>()[n * G + g]) << 4 * (g % 8));
        t[2].second.data<float16>()[n * 8 * words + g] = float16::from(m.scale.data<float>()[n * G + g]);
      }
    }
    check_same(read("awq", t, {.group = group, .version = "gemv", .groups = {}, .ignore = {}}, N, K).matrix, m);
  }
}

TEST_CASE("compressed-tensors: rows in eights and rests, zero points along the outputs, int8 and FP8") {
  Context ctx(1);
  const StoredSettings s{.group = 0, .symmetric = false, .version = "pack-quantized", .groups = {0}, .ignore = {}};
  const QuantizedMatrix m = random_matrix(11, 52, 52, 2);  // neither is a multiple of 8
  StoredTensors t = format("compressed-tensors").write(ctx, m, s);
  CHECK(at(t, "weight_packed").shape() == Shape{11, 7});
  CHECK(at(t, "weight_zero_point").shape() == Shape{2, 1});
  CHECK(nibble(at(t, "weight_packed"), 3 * 7 + 2, 5) == m.code(3, 21));
  CHECK(nibble(at(t, "weight_zero_point"), 1, 2) == m.zero.data<uint8_t>()[10]);
  check_same(read("compressed-tensors", t, s, 11, 52).matrix, m);

  Tensor rows = Tensor::empty({3, 40}, DType::I8);
  for (int64_t i = 0; i < 120; ++i) rows.data<int8_t>()[i] = static_cast<int8_t>(i * 37 % 255 - 127);
  const StoredTensors int8{{"weight_scale", Tensor::from(std::vector<float>{0.5f, 0.25f, 2}, {3, 1})}, {"weight", rows}};
  const StoredWeight w = read("compressed-tensors", int8, s, 3, 40);
  REQUIRE(w.is_rows());
  const Tensor wide = quant::dequantize(ctx, w);
  for (int64_t i = 0; i < 120; ++i)
    CHECK(wide.data<float>()[i] == static_cast<float>(rows.data<int8_t>()[i]) * w.scale.data<float>()[i / 40]);
}

TEST_CASE("FP8: blocks with rests, rows, the whole, powers of two") {
  Context ctx(2);
  const int64_t N = 200, K = 300;
  Random random(1);
  Tensor codes = Tensor::empty({N, K}, DType::F8E4M3);
  auto* bytes = static_cast<uint8_t*>(codes.raw());
  for (int64_t i = 0; i < N * K; ++i) {
    bytes[i] = static_cast<uint8_t>(random.next());
    if ((bytes[i] & 0x7f) == 0x7f) bytes[i] = 0;
  }
  const auto expect = [&](const StoredTensors& t, const StoredSettings& s, auto&& scale) {
    const Tensor w = quant::dequantize(ctx, read("fp8", t, s, N, K));
    for (int64_t n = 0; n < N; ++n)
      for (int64_t k = 0; k < K; ++k) REQUIRE(w.data<float>()[n * K + k] == f8e4m3_to_float(bytes[n * K + k]) * scale(n, k));
  };
  const StoredSettings blocks{.version = {}, .groups = {}, .block_rows = 128, .block_columns = 128, .ignore = {}};
  const std::vector<float> six = {1, 2, 0.5f, 3, 0.125f, 0.7f};
  expect({{"weight_scale_inv", Tensor::from(six, {2, 3})}, {"weight", codes}}, blocks,
         [&](int64_t n, int64_t k) { return six[n / 128 * 3 + k / 128]; });
  Tensor powers = Tensor::empty({2, 3}, DType::F8E8M0);
  for (int i = 0; i < 6; ++i) static_cast<uint8_t*>(powers.raw())[i] = static_cast<uint8_t>(120 + 3 * i);
  expect({{"weight_scale_inv", powers}, {"weight", codes}}, blocks,
         [&](int64_t n, int64_t k) { return std::ldexp(1.0f, static_cast<int>(120 + 3 * (n / 128 * 3 + k / 128)) - 127); });
  const StoredSettings plain{.version = {}, .groups = {}, .ignore = {}};
  expect({{"weight_scale", Tensor::from(std::vector<float>{0.3f}, {1})}, {"weight", codes}}, plain, [](int64_t, int64_t) { return 0.3f; });
  expect({{"weight_scale", Tensor::from(std::vector<float>{0.3f}, {})}, {"weight", codes}}, plain, [](int64_t, int64_t) { return 0.3f; });
  std::vector<bfloat16> each;
  for (int64_t n = 0; n < N; ++n) each.push_back(bfloat16::from(0.01f * static_cast<float>(n + 1)));
  expect({{"weight_scale", Tensor::from(each, {N, 1})}, {"weight", codes}}, plain,
         [&](int64_t n, int64_t) { return static_cast<float>(each[static_cast<size_t>(n)]); });
}

TEST_CASE("FP8 blocks: rounded, written, read") {
  Context ctx(2);
  Random random(4);
  Tensor w = Tensor::empty({300, 200}, DType::F32);
  for (int64_t i = 0; i < w.numel(); ++i) w.data<float>()[i] = random.normal();
  const QuantizedMatrix m = quant::round_to_blocks(ctx, w);
  const StoredSettings s{.version = {}, .groups = {}, .block_rows = 128, .block_columns = 128, .ignore = {}};
  StoredTensors t = format("fp8").write(ctx, m, s);
  CHECK(at(t, "weight_scale_inv").shape() == Shape{3, 2});
  check_same(read("fp8", t, s, 300, 200).matrix, m);
  const Tensor back = quant::dequantize(ctx, m);
  for (int64_t i = 0; i < w.numel(); ++i) {
    const float error = std::fabs(back.data<float>()[i] - w.data<float>()[i]);
    CHECK(error <= std::max(std::fabs(w.data<float>()[i]) / 16, 5.0f / 448 / 1024) * 1.001f);  // half a step of 3 bits; subnormals below
  }
  CHECK(contains(error_of([&] { format("fp8").write(ctx, quant::round_to_nearest(ctx, w, WeightFormat::Fp8), s); }),
                 "Format: [fp8] expected one scale"));
}

TEST_CASE("dequantise: the same as element by element, with act-order, odd sizes and FP8") {
  Context ctx(3);
  for (const auto& [N, K, group] : {Size{9, 64, 32}, Size{4, 51, 51}, Size{3, 33, 11}}) {
    QuantizedMatrix m = random_matrix(N, K, group, 9, K == 64);
    CHECK(same(quant::dequantize(ctx, m), quant::dequantize(m)));
  }
  Tensor w = Tensor::empty({5, 70}, DType::F32);
  for (int64_t i = 0; i < 350; ++i) w.data<float>()[i] = static_cast<float>(i % 23) - 11;
  const QuantizedMatrix fp8 = quant::round_to_nearest(ctx, w, WeightFormat::Fp8, 32);
  CHECK(same(quant::dequantize(ctx, fp8), quant::dequantize(fp8)));
}
