// Weights without their zeros in files: written by hand and by us, put together again, damaged.
#include <doctest/doctest.h>

#include <cstring>

#include "io/temp_folder.h"
#include "tenon/core/random.h"
#include "tenon/io/checkpoint.h"
#include "tenon/io/sparse_weights.h"

using namespace tenon;
using namespace tenon::io;

namespace {

Tensor sparse(int64_t N, int64_t K, float density, DType type = DType::F32) {
  Random random(static_cast<uint64_t>(N * 1000 + K), 3);
  Tensor t = Tensor::zeros({N, K}, DType::F32);
  for (int64_t i = 0; i < N * K; ++i)
    if (random.uniform() < density) t.data<float>()[i] = random.normal();
  return t.to(type);
}

/// Two of every four columns, in some groups fewer.
Tensor two_four(int64_t N, int64_t K) {
  Random random(5, 3);
  Tensor t = Tensor::zeros({N, K}, DType::F32);
  for (int64_t i = 0; i < N * K; i += 4)
    for (uint32_t n = random.next() % 3; n > 0; --n) t.data<float>()[i + random.next() % 4] = random.normal();
  return t;
}

Tensor part(const std::vector<NamedTensor>& parts, const std::string& name) {
  for (const auto& [key, t] : parts)
    if (key == name) return t;
  return {};
}

bool same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && std::memcmp(std::as_const(a).raw(), std::as_const(b).raw(), a.nbytes()) == 0;
}

Tensor bytes(const std::vector<uint8_t>& v, const Shape& shape) { return Tensor::from(v, shape); }
Tensor sizes(int64_t N, int64_t K) { return Tensor::from(std::vector<int64_t>{N, K}, {2}); }
const Json kConfig(Json::Object{{"model_type", Json("bert")}});

}  // namespace

TEST_CASE("bitmasks are those of compressed-tensors") {
  const Tensor w = Tensor::from(std::vector<float>{0, 5, 0, 0, 0, 0, 0, 0, 7, 0,  //
                                                   1, 0, 0, 0, 0, 0, 0, 2, 0, 3},
                                {2, 10});
  const auto parts = sparse_tensors("a.weight", w, SparseLayout::Bitmask);
  CHECK(parts.size() == 4);
  CHECK(same(part(parts, "a.compressed"), Tensor::from(std::vector<float>{5, 7, 1, 2, 3}, {5})));
  CHECK(same(part(parts, "a.bitmask"), bytes({0x02, 0x01, 0x81, 0x02}, {2, 2})));
  CHECK(same(part(parts, "a.row_offsets"), Tensor::from(std::vector<int64_t>{0, 2}, {2})));
  CHECK(same(part(parts, "a.shape"), sizes(2, 10)));
}

TEST_CASE("2:4 keeps two elements of four and their places in two bits each") {
  const Tensor w = Tensor::from(std::vector<float>{0, 5, 0, 6, 0, 0, 0, 0,  //
                                                   0, 0, 7, 0, 8, 0, 0, 0},
                                {2, 8});
  const auto parts = sparse_tensors("a.weight", w, SparseLayout::TwoFour);
  CHECK(same(part(parts, "a.compressed"), Tensor::from(std::vector<float>{5, 6, 0, 0, 0, 7, 8, 0}, {2, 4})));
  // Places 1, 3 and 0, 1; then 0, 2 and 0, 1: the lower half of a byte is the first group.
  CHECK(same(part(parts, "a.meta"), bytes({0x4d, 0x48}, {2, 1})));
}

TEST_CASE("weights come back to the bit") {
  for (const DType type : {DType::F32, DType::BF16, DType::F16})
    for (const auto& [N, K] : {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {4, 8}, {5, 129}, {64, 200}})
      for (const float density : {0.0f, 0.125f, 1.0f}) {
        const Tensor w = sparse(N, K, density, type);
        const auto parts = sparse_tensors("x.weight", w, SparseLayout::Bitmask);
        CHECK(same(dense_from("x", part(parts, "x.shape"), part(parts, "x.compressed"), part(parts, "x.bitmask"), false), w));
      }
  const Tensor w = two_four(33, 64);
  const auto parts = sparse_tensors("x.weight", w, SparseLayout::TwoFour);
  CHECK(same(dense_from("x", part(parts, "x.shape"), part(parts, "x.compressed"), part(parts, "x.meta"), true), w));
}

TEST_CASE("a checkpoint is written without its zeros and opens as it was") {
  const TempFolder folder;
  const Tensor dense = sparse(32, 40, 0.9f), thin = sparse(64, 72, 0.125f), pairs = two_four(16, 64), bias = sparse(1, 8, 0.1f).view({8});
  save_checkpoint(folder / "dense", kConfig,
                  std::vector<NamedTensor>{{"a.weight", dense}, {"b.weight", thin}, {"c.weight", pairs}, {"b.bias", bias}});
  CHECK(rewrite_checkpoint(folder / "dense", folder / "bits", SparseLayout::Bitmask) == 2);
  CHECK(rewrite_checkpoint(folder / "dense", folder / "pairs", SparseLayout::TwoFour) == 1);
  CHECK(rewrite_checkpoint(folder / "bits", folder / "again", SparseLayout::Dense) == 0);
  for (const char* name : {"dense", "bits", "pairs", "again"}) {
    const Checkpoint c = Checkpoint::open(folder / name);
    CAPTURE(name);
    CHECK(c.size() == 4);
    CHECK(same(c.get("a.weight"), dense));
    CHECK(same(c.get("b.weight"), thin));
    CHECK(same(c.get("c.weight"), pairs));
    CHECK(same(c.get("b.bias"), bias));
    CHECK(c.info("b.weight").shape == Shape{64, 72});
  }
  CHECK(SafeTensors::open(folder / "bits/model.safetensors").has("b.bitmask"));
  CHECK(SafeTensors::open(folder / "pairs/model.safetensors").has("c.meta"));
  CHECK(SafeTensors::open(folder / "again/model.safetensors").names() == SafeTensors::open(folder / "dense/model.safetensors").names());
  const auto sparsity = Checkpoint::open(folder / "bits").config().at("compression_config").at("sparsity_config");
  CHECK(sparsity.at("format").as_string() == "sparse-bitmask");
  CHECK_FALSE(Checkpoint::open(folder / "again").config().has("compression_config"));
  CHECK(rewrite_checkpoint(folder / "dense", folder / "dense", SparseLayout::Bitmask) == 2);  // in place
  CHECK(same(Checkpoint::open(folder / "dense").get("b.weight"), thin));
}

TEST_CASE("tensors that only look like parts are left alone") {
  const TempFolder folder;
  const std::vector<NamedTensor> odd = {{"a.bitmask", bytes({1}, {1, 1})}, {"a.compressed", sparse(1, 1, 1)}, {"b.meta", bytes({1}, {1})}};
  save_checkpoint(folder.path(), kConfig, odd);
  CHECK(Checkpoint::open(folder.path()).size() == 3);
}

TEST_CASE("damaged parts are refused") {
  const TempFolder folder;
  const auto refused = [&](const Tensor& shape, const Tensor& values, const Tensor& places, bool meta, const std::string& what) {
    save_checkpoint(folder.path(), kConfig,
                    std::vector<NamedTensor>{{"a.shape", shape}, {"a.compressed", values}, {meta ? "a.meta" : "a.bitmask", places}});
    const std::string message = error_of([&] { Checkpoint::open(folder.path()).get("a.weight"); });
    CAPTURE(message);
    CHECK(message.starts_with("Format: "));
    CHECK(contains(message, "a.weight"));
    CHECK(contains(message, what));
  };
  const Tensor two = Tensor::from(std::vector<float>{1, 2}, {2}), four = Tensor::from(std::vector<float>{1, 2, 3, 4}, {1, 4});
  refused(sizes(1, 4), two, bytes({0x07}, {1, 1}), false, "as many bits as there are elements, 2, got 3");
  refused(sizes(1, 4), two, bytes({0x41}, {1, 1}), false, "beyond its 4 columns");
  refused(sizes(2, 4), two, bytes({0x03}, {1, 1}), false, "bitmask: expected uint8 (2, 1)");
  refused(sizes(1, 1), two, bytes({0x03}, {1, 1}), false, "compressed: expected at most (1, 1)");
  refused(sizes(-1, 4), two, bytes({0x03}, {1, 1}), false, "positive sizes");
  refused(sizes(1, INT64_MAX), two, bytes({0x03}, {1, 1}), false, "positive sizes");
  refused(sizes(1, INT64_MAX / 2), two, bytes({0x03}, {1, 1}), false, "bitmask: expected uint8");
  refused(two, two, bytes({0x03}, {1, 1}), false, "two int64");
  refused(sizes(1, 4), sizes(1, 2), bytes({0x03}, {1, 1}), false, "compressed: expected float32");
  refused(sizes(1, 8), four, bytes({0x44, 0x44}, {1, 2}), true, "meta: expected uint8 (1, 1)");
  refused(sizes(1, 8), four, bytes({0x45}, {1, 1}), true, "places that rise, group 0 has 1 and 1");
  refused(sizes(1, 8), two, bytes({0x44}, {1, 1}), true, "compressed: expected (1, 4)");
  CHECK(contains(error_of([] { sparse_tensors("a.weight", sparse(2, 8, 1), SparseLayout::TwoFour); }), "row 0 has more in columns 0 to 3"));
  CHECK(contains(error_of([] { sparse_tensors("a.weight", sparse(2, 12, 0.1f), SparseLayout::TwoFour); }), "multiples of 8"));
  CHECK(contains(error_of([] { sparse_tensors("a", sparse(2, 8, 1), SparseLayout::Bitmask); }), ".weight"));
}
