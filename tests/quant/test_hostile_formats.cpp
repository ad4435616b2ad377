// Damaged and unknown quantised checkpoints: each is an error that says what was expected and names the layer.
#include "quant/stored.h"

using namespace tenon;
using namespace tenon::test;
using quant::QuantizedMatrix;
using quant::Scheme;
using quant::StoredSettings;
using quant::StoredTensors;

namespace {

std::string error_of_config(const char* json) {
  return error_of([&] { Scheme::from_json(Json::parse(json)); });
}

constexpr int64_t kN = 16, kK = 128, kGroup = 32;

StoredTensors stored(const char* method, StoredSettings& s) {
  Context ctx(1);
  s.group = kGroup, s.groups = {kGroup}, s.version = std::string_view(method) == "awq" ? "gemm" : "gptq";
  return format(method).write(ctx, random_matrix(kN, kK, kGroup, 1), s);
}

/// What checking headers or reading says after `damage`.
template <class Damage>
std::string after(const char* method, Damage&& damage, int64_t N = kN, int64_t K = kK) {
  StoredSettings s;
  StoredTensors t = stored(method, s);
  damage(t, s);
  return error_of([&] {
    Context ctx(1);
    const quant::StoredLayer layer{"model.layers.3.q_proj", N, K, t};
    format(method).check(layer, s);
    format(method).read(ctx, layer, s);
  });
}

}  // namespace

TEST_CASE("settings that are not supported say what is") {
  CHECK(contains(error_of_config(R"({"quant_method": "bitsandbytes"})"),
                 "Format: [quantization_config] \"quant_method\": expected one of awq, gptq, compressed-tensors, fp8, fbgemm_fp8, got "
                 "\"bitsandbytes\""));
  CHECK(contains(error_of_config("{}"), "got \"\""));
  CHECK(contains(error_of_config(R"({"quant_method": "awq", "bits": 3})"), "\"bits\": only 4 is supported, got 3"));
  CHECK(contains(error_of_config(R"({"quant_method": "gptq", "bits": 8})"), "only 4 is supported, got 8"));
  CHECK(contains(error_of_config(R"({"quant_method": "awq", "bits": "4"})"), "Type"));
  CHECK(contains(error_of_config(R"({"quant_method": "awq", "version": "gemv_fast"})"),
                 "version gemm and gemv are supported, got \"gemv_fast\""));
  CHECK(contains(error_of_config(R"({"quant_method": "gptq", "checkpoint_format": "marlin"})"),
                 "gptq and gptq_v2 are supported, got \"marlin\""));
  CHECK(contains(error_of_config(R"({"quant_method": "gptq", "is_marlin_format": true})"), "got \"marlin\""));
  CHECK(contains(error_of_config(R"({"quant_method": "awq", "group_size": 0})"), "\"group_size\": expected a size or -1, got 0"));
  CHECK(contains(error_of_config(R"({"quant_method": "awq", "group_size": -7})"), "got -7"));
  CHECK(contains(error_of_config(R"({"quant_method": "fp8", "fmt": "e5m2"})"), "only e4m3 is supported, got \"e5m2\""));
  CHECK(contains(error_of_config(R"({"quant_method": "fp8", "weight_block_size": [128]})"), "expected two sizes, got 1"));
  CHECK(contains(error_of_config(R"({"quant_method": "fp8", "weight_block_size": [0, 128]})"), "got 0 by 128"));
  CHECK(contains(error_of_config(R"({"quant_method": "fp8", "weight_block_size": [128, 100]})"), "got 128 by 100"));
  CHECK(contains(error_of_config(R"({"quant_method": "compressed-tensors"})"), "\"config_groups\": expected"));
  CHECK(contains(error_of_config(R"({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "config_groups": {}})"),
                 "got \"nvfp4-pack-quantized\""));
  CHECK(contains(
      error_of_config(
          R"({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float"}}}})"),
      "got 4-bit float"));
  CHECK(contains(error_of_config(R"({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": null}}})"),
                 "weights are missing"));
  CHECK(contains(error_of_config(R"({"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-24-bitmask"},
                                     "config_groups": {"group_0": {"weights": {"num_bits": 8}}}})"),
                 "only dense is supported"));
  CHECK(error_of_config(R"({"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "version": "GEMM", "modules_to_not_convert": null})") ==
        "no error");
}

TEST_CASE("tensors that are missing, of another type or another shape name their layer") {
  for (const char* method : {"awq", "gptq"}) {
    CHECK(after(method, [](auto&, auto&) {}) == "no error");
    for (const char* name : {"qweight", "qzeros", "scales"}) {
      const auto drop = [&](StoredTensors& t, StoredSettings&) { std::erase_if(t, [&](const auto& e) { return e.first == name; }); };
      CHECK(contains(after(method, drop), "Format: [quantized weights] model.layers.3.q_proj: " + std::string(name) + " is missing"));
      const auto retype = [&](StoredTensors& t, StoredSettings&) { at(t, name) = Tensor::zeros(at(t, name).shape(), DType::I16); };
      CHECK(contains(after(method, retype), std::string(name) + ": expected "));
      const auto reshape = [&](StoredTensors& t, StoredSettings&) { at(t, name) = Tensor::zeros({3, 5}, at(t, name).dtype()); };
      CHECK(contains(after(method, reshape), std::string(name) + ": expected shape ("));
    }
    CHECK(contains(after(
                       method, [](auto&, auto&) {}, kN + 8),
                   "for a weight (24, 128), got (128, 2)") != (std::string_view(method) == "gptq"));
    CHECK(contains(after(method, [](auto&, StoredSettings& s) { s.group = 48; }), "group_size: expected a multiple of 32"));
    CHECK(contains(after(method, [](auto&, StoredSettings& s) { s.group = 96; }), "group_size 96 does not divide its 128 input features"));
    CHECK(contains(after(method, [](auto&, StoredSettings& s) { s.group = 64; }), "expected shape (2, "));
  }
}

TEST_CASE("scales that are zero, infinite or NaN are found when the layer is read") {
  for (const char* method : {"awq", "gptq"})
    for (const float bad : {0.0f, INFINITY, NAN}) {
      const std::string text =
          after(method, [&](StoredTensors& t, StoredSettings&) { at(t, "scales").data<float16>()[2 * kN + 5] = float16::from(bad); });
      CHECK(contains(text,
                     "Format: [quantized weights] model.layers.3.q_proj: the scale of output 5, group 2: expected a number other than 0"));
    }
  const auto compressed = [](StoredTensors& t, StoredSettings&) { at(t, "weight_scale").data<float16>()[5 * 4 + 2] = float16::from(0); };
  CHECK(contains(after("compressed-tensors", compressed), "the scale of output 5, group 2"));
}

TEST_CASE("g_idx out of range, or with groups of other sizes") {
  CHECK(contains(after("gptq", [](StoredTensors& t, StoredSettings&) { at(t, "g_idx").data<int32_t>()[7] = 4; }),
                 "model.layers.3.q_proj: g_idx of column 7: expected 0 to 3, got 4"));
  CHECK(contains(after("gptq", [](StoredTensors& t, StoredSettings&) { at(t, "g_idx").data<int32_t>()[7] = -1; }), "got -1"));
  CHECK(contains(after("gptq", [](StoredTensors& t, StoredSettings&) { at(t, "g_idx").data<int32_t>()[0] = 3; }),
                 "expected 32 columns in group 0, got 31"));
}

TEST_CASE("compressed-tensors: 8 packed bits, groups of no config, another weight_shape, zero points of int8") {
  const auto eight = [](StoredTensors& t, StoredSettings&) { at(t, "weight_packed") = Tensor::zeros({kN, kK / 4}, DType::I32); };
  CHECK(contains(after("compressed-tensors", eight), "packed weights of 4 bits are supported, got 8"));
  CHECK(contains(after("compressed-tensors", [](StoredTensors&, StoredSettings& s) { s.groups = {64}; }),
                 "groups of 32 are not those of quantization_config"));
  CHECK(contains(after("compressed-tensors", [](StoredTensors& t, StoredSettings&) { at(t, "weight_shape").data<int64_t>()[1] = 127; }),
                 "weight_shape: expected (16, 128), got (16, 127)"));
  CHECK(contains(after("compressed-tensors",
                       [](StoredTensors& t, StoredSettings&) {
                         at(t, "weight_scale") = Tensor::zeros({kN, 3}, DType::F16);
                       }),
                 "its 3 groups do not divide 128 input features"));
  CHECK(contains(after("compressed-tensors",
                       [](StoredTensors& t, StoredSettings&) {
                         at(t, "weight_scale") = Tensor::zeros({kN, 0}, DType::F16);
                       }),
                 "weight_scale: expected (16, groups)"));
  const auto zeros = [](StoredTensors& t, StoredSettings& s) {
    s.symmetric = false;
    std::erase_if(t, [](const auto& e) { return e.first == "weight_zero_point"; });
  };
  CHECK(contains(after("compressed-tensors", zeros), "weight_zero_point is missing"));
  const auto int8 = [](StoredTensors& t, StoredSettings&) {
    t = {{"weight", Tensor::zeros({kN, kK}, DType::I8)}, {"weight_scale", Tensor::zeros({kN, 4}, DType::F32)}};
  };
  CHECK(contains(after("compressed-tensors", int8), "int8 weights with one scale, or one for each of 16 rows, are supported, got (16, 4)"));
}

TEST_CASE("FP8: no scale, scales of other blocks, NaN") {
  const auto run = [](const StoredTensors& t, int64_t block) {
    return error_of([&] {
      Context ctx(1);
      const StoredSettings s{.version = {}, .groups = {}, .block_rows = block, .block_columns = block, .ignore = {}};
      const quant::StoredLayer layer{"m.x", 64, 64, t};
      format("fp8").check(layer, s);
      format("fp8").read(ctx, layer, s);
    });
  };
  const Tensor weight = Tensor::zeros({64, 64}, DType::F8E4M3), one = Tensor::from(std::vector<float>(4, 1.0f), {2, 2});
  CHECK(run({{"weight", weight}, {"weight_scale_inv", one}}, 32) == "no error");
  CHECK(contains(run({{"weight", weight}}, 32), "m.x: weight_scale_inv is missing"));
  CHECK(contains(run({{"weight", weight}}, 0), "m.x: weight_scale is missing"));
  CHECK(contains(run({{"weight", weight}, {"weight_scale_inv", Tensor::zeros({2, 3}, DType::F32)}}, 32),
                 "expected (2, 2) for blocks of 32 by 32, got (2, 3)"));
  CHECK(contains(run({{"weight", weight}, {"weight_scale_inv", Tensor::zeros({2, 2}, DType::I32)}}, 32), "got int32"));
  CHECK(contains(run({{"weight", weight}, {"weight_scale_inv", one}}, 0), "expected one scale, or one for each of 64 rows, got (2, 2)"));
  CHECK(contains(run({{"weight", weight}, {"weight_scale_inv", Tensor::zeros({2, 2}, DType::F32)}}, 32),
                 "the scale of output 0, group 0: expected a number other"));
  CHECK(contains(run({{"weight", Tensor::zeros({64, 64}, DType::F8E5M2)}, {"weight_scale_inv", one}}, 32),
                 "expected float8_e4m3fn, got float8_e5m2"));
  Tensor nan = Tensor::zeros({64, 64}, DType::F8E4M3);
  static_cast<uint8_t*>(nan.raw())[65] = 0xff;
  CHECK(contains(run({{"weight", nan}, {"weight_scale_inv", one}}, 32), "m.x: weight: row 1 holds a NaN"));
}
