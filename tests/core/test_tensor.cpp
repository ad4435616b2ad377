// Tensors and shapes: memory, views, conversions, limits.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "io/temp_folder.h"
#include "tenon/core/tensor.h"

using namespace tenon;

// Sanitizers end the process on huge allocations unless told that failing is an answer.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }

TEST_CASE("shape: sizes, text, limits") {
  const Shape s{2, 3, 4};
  CHECK(s.rank() == 3);
  CHECK(s.numel() == 24);
  CHECK(s[-1] == 4);
  CHECK(s.str() == "(2, 3, 4)");
  CHECK(Shape{7}.str() == "(7,)");
  CHECK(Shape().str() == "()");
  CHECK(Shape().numel() == 1);
  CHECK(Shape{3, 0}.numel() == 0);
  CHECK(s == Shape{2, 3, 4});
  CHECK_FALSE(s == Shape{2, 3});
  CHECK_FALSE(s == Shape{2, 3, 5});
  CHECK(contains(error_of([&] { s[3]; }), "Shape: "));
  CHECK(contains(error_of([&] { s[-4]; }), "Shape: "));
  CHECK(contains(error_of([] { Shape{-1}; }), "Shape: [shape] negative size -1"));
  CHECK(contains(error_of([] { Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}; }), "Limit: "));
  CHECK(contains(error_of([] { Shape({int64_t{1} << 32, int64_t{1} << 32}).numel(); }), "Limit: "));
}

TEST_CASE("tensor: values, handles and clones") {
  const Tensor t = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
  CHECK(t.dtype() == DType::F32);
  CHECK(t.nbytes() == 24);
  CHECK(reinterpret_cast<uintptr_t>(t.raw()) % 64 == 0);
  CHECK(t.describe() == "tensor (2, 3) float32 cpu");
  Tensor handle = t, clone = t.clone();
  handle.data<float>()[0] = 9;
  CHECK(t.values<float>()[0] == 9);
  CHECK(clone.values<float>()[0] == 1);
  CHECK(handle.id() == t.id());
  CHECK(clone.id() != t.id());
  CHECK(contains(error_of([&] { t.data<double>(); }), "Type: [tensor] expected float64, got float32"));
  CHECK(contains(error_of([] { Tensor::from(std::vector<int>{1}, {2}); }), "Shape: "));
  CHECK_FALSE(Tensor().defined());
  CHECK_FALSE(Tensor().clone().defined());
  CHECK(Tensor().describe() == "tensor (undefined)");
  const Tensor zeros = Tensor::zeros({100}, DType::F32);
  for (const float v : zeros.values<float>()) REQUIRE(v == 0);
}

TEST_CASE("tensor: views and rows share memory") {
  Tensor t = Tensor::from(std::vector<int64_t>{0, 1, 2, 3, 4, 5}, {3, 2});
  const Tensor v = t.view({2, 3}), r = t.rows(1, 3);
  t.data<int64_t>()[2] = 20;
  CHECK(v.values<int64_t>()[2] == 20);
  CHECK(r.shape() == Shape{2, 2});
  CHECK(r.values<int64_t>()[0] == 20);
  CHECK(r.rows(1, 2).values<int64_t>()[1] == 5);
  CHECK(t.rows(3, 3).numel() == 0);
  CHECK(contains(error_of([&] { t.view({5}); }), "Shape: "));
  CHECK(contains(error_of([&] { t.rows(2, 4); }), "Limit: "));
  CHECK(contains(error_of([&] { t.rows(-1, 2); }), "Limit: "));
  CHECK(contains(error_of([&] { t.rows(2, 1); }), "Limit: "));
  CHECK(contains(error_of([] { Tensor::zeros({}, DType::F32).rows(0, 0); }), "Limit: "));
}

TEST_CASE("tensor: over foreign memory it stays inside, and read-only memory is not written") {
  auto storage = std::make_shared<Storage>();
  float values[4] = {1, 2, 3, 4};
  storage->data = values;
  storage->bytes = sizeof(values);
  CHECK(Tensor::over(storage, 8, {2}, DType::F32).values<float>()[1] == 4);
  CHECK(contains(error_of([&] { Tensor::over(storage, 8, {3}, DType::F32); }), "Limit: "));
  CHECK(contains(error_of([&] { Tensor::over(storage, 17, {0}, DType::F32); }), "Limit: "));
  CHECK(contains(error_of([&] { Tensor::over(nullptr, 0, {0}, DType::F32); }), "Limit: "));
  storage->read_only = true;
  Tensor t = Tensor::over(storage, 0, {4}, DType::F32);
  CHECK(std::as_const(t).data<float>()[0] == 1);
  CHECK(contains(error_of([&] { t.data<float>(); }), "Type: [tensor] cannot write"));
  CHECK_FALSE(t.clone().read_only());
}

TEST_CASE("tensor: sizes that cannot be are errors, not wrapped around") {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  for (const DType dtype : {DType::F64, DType::F32, DType::BF16, DType::U8}) {
    CAPTURE(name_of(dtype));
    const std::string error = error_of([&] { Tensor::empty({kMost}, dtype); });
    CHECK((contains(error, "Limit: ") || contains(error, "Memory: ")));
  }
  CHECK(contains(error_of([] { Tensor::empty({int64_t{1} << 60}, DType::U8); }), "Memory: "));
}

TEST_CASE("tensor: conversions") {
  const std::vector<float> values = {0, 1, -1, 0.5f, 3.14159265f, 1e-8f, 65504, -2.75f};
  const Tensor f = Tensor::from(values, {8});
  CHECK(f.to(DType::F32).id() == f.id());
  const Tensor h = f.to(DType::F16), b = f.to(DType::BF16), d = f.to(DType::F64), i = f.to(DType::I32);
  for (int k = 0; k < 8; ++k) {
    CHECK(h.values<float16>()[k].bits == float16::from(values[k]).bits);
    CHECK(b.values<bfloat16>()[k].bits == bfloat16::from(values[k]).bits);
    CHECK(d.values<double>()[k] == values[k]);
    CHECK(i.values<int32_t>()[k] == static_cast<int>(values[k]));
    CHECK(h.to(DType::BF16).values<bfloat16>()[k].bits == bfloat16::from(h.values<float16>()[k]).bits);
  }
  const Tensor t = f.to(DType::Bool);
  CHECK(t.dtype() == DType::Bool);
  CHECK(std::vector<uint8_t>(static_cast<const uint8_t*>(t.raw()), static_cast<const uint8_t*>(t.raw()) + 3) ==
        std::vector<uint8_t>{0, 1, 1});
  CHECK(t.to(DType::F32).values<float>()[1] == 1);
  const Tensor big = Tensor::from(std::vector<int64_t>{int64_t{1} << 62, -7}, {2});
  CHECK(big.to(DType::U64).values<uint64_t>()[0] == uint64_t{1} << 62);
  CHECK(big.to(DType::I8).values<int8_t>()[1] == -7);
  CHECK(contains(error_of([&] { f.to(DType::F8E4M3); }), "Type: [to] cannot convert to float8_e4m3fn"));
  CHECK_FALSE(Tensor().to(DType::F16).defined());
}

TEST_CASE("tensor: 8-bit floats convert out") {
  auto storage = std::make_shared<Storage>();
  uint8_t bytes[3] = {0x7e, 0x38, 0xff};
  storage->data = bytes;
  storage->bytes = 3;
  const Tensor t = Tensor::over(storage, 0, {3}, DType::F8E4M3).to(DType::F32);
  CHECK(t.values<float>()[0] == 448);
  CHECK(t.values<float>()[1] == 1);
  CHECK(std::isnan(t.values<float>()[2]));
  CHECK(static_cast<float>(Tensor::over(storage, 1, {1}, DType::F8E5M2).to(DType::BF16).values<bfloat16>()[0]) == 0.5f);
}

TEST_CASE("tensor: item") {
  CHECK(Tensor::from(std::vector<uint16_t>{65535}, {}).item() == 65535);
  CHECK(Tensor::from(std::vector<float>{2.5f}, {1, 1}).item() == 2.5);
  CHECK(contains(error_of([] { Tensor::zeros({2}, DType::F32).item(); }), "Shape: [item] expected one element, got (2,)"));
  CHECK(contains(error_of([] { Tensor().item(); }), "got no tensor"));
}
