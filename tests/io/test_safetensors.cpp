// Safetensors files that are right: reading, writing, round trips. Damaged ones are in test_safetensors_damage.cpp.
#include <doctest/doctest.h>

#include <cstring>

#include "io/temp_folder.h"
#include "tenon/io/mapped_file.h"
#include "tenon/io/safetensors.h"

using namespace tenon;
using namespace tenon::io;

namespace {

constexpr DType kAll[] = {DType::F64, DType::F32, DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2, DType::F8E8M0, DType::I64,
                          DType::I32, DType::I16, DType::I8,  DType::U64,  DType::U32,    DType::U16,    DType::U8,     DType::Bool};

Tensor counting(const Shape& shape, DType dtype) {
  Tensor t = Tensor::empty(shape, dtype);
  auto* bytes = static_cast<unsigned char*>(t.raw());
  for (size_t i = 0; i < t.nbytes(); ++i) bytes[i] = dtype == DType::Bool ? i % 2 : static_cast<unsigned char>(i * 37 + 11);
  return t;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && (a.nbytes() == 0 || std::memcmp(a.raw(), b.raw(), a.nbytes()) == 0);
}

std::string file_of(const std::string& header, const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return bytes + header + data;
}

}  // namespace

TEST_CASE("safetensors: a file written by hand") {
  const TempFolder folder;
  const float values[] = {1, -2, 0.5f, 3e8f};
  const std::string data(reinterpret_cast<const char*>(values), sizeof(values));
  std::string header = R"({"b":{"shape":[2,1],"dtype":"F32","data_offsets":[8,16]},"__metadata__":{"format":"pt","n":"\u00e9"},)"
                       R"( "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8], "extra": [1, {}]}}  )";
  while (header.size() % 8) header += ' ';
  const auto file = SafeTensors::open(folder.put("f", file_of(header, data)));
  CHECK(file.size() == 2);
  CHECK(file.names() == std::vector<std::string>{"b", "a"});
  CHECK(file.metadata() == Metadata{{"format", "pt"}, {"n", "\xc3\xa9"}});
  CHECK(file.has("a"));
  CHECK_FALSE(file.has("__metadata__"));
  CHECK_FALSE(file.has(""));
  CHECK(file.info("b").dtype == DType::F32);
  CHECK(file.info("b").shape == Shape{2, 1});
  CHECK(file.tensor("a").values<float>()[1] == -2);
  CHECK(file.tensor("b").values<float>()[1] == 3e8f);
  CHECK(file.tensor("b").read_only());
  CHECK(contains(error_of([&] { file.tensor("c"); }), "Format: [" + (folder / "f") + "] there is no tensor \"c\" among its 2 tensors"));
}

TEST_CASE("safetensors: aligned elements are mapped, others are copied") {
  const TempFolder folder;
  const std::string entry = R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  const float value = 42;
  const std::string data(reinterpret_cast<const char*>(&value), 4);
  for (size_t pad = 0; pad < 8; ++pad) {
    const std::string header = entry + std::string(pad, ' ');
    const Tensor x = SafeTensors::open(folder.put("f", file_of(header, data))).tensor("x");
    CHECK(x.values<float>()[0] == 42);
    CHECK(reinterpret_cast<uintptr_t>(x.raw()) % alignof(float) == 0);
    CHECK(is_mapped(x) == ((8 + header.size()) % 4 == 0));
  }
}

TEST_CASE("safetensors: every dtype and odd shapes survive a round trip") {
  const TempFolder folder;
  std::vector<NamedTensor> tensors;
  for (const DType dtype : kAll) {
    const std::string name(name_of(dtype));
    tensors.emplace_back(name + ".scalar", counting({}, dtype));
    tensors.emplace_back(name + ".empty", counting({3, 0, 2}, dtype));
    tensors.emplace_back(name + ".odd", counting({3, 5, 7}, dtype));
    tensors.emplace_back(name + ".deep", counting({1, 2, 1, 2, 1, 2, 1, 3}, dtype));
  }
  write_safetensors(folder / "f", tensors, {{"format", "pt"}, {"quote\"", "line\n"}});
  const auto file = SafeTensors::open(folder / "f");
  CHECK(file.size() == tensors.size());
  CHECK(file.metadata() == Metadata{{"format", "pt"}, {"quote\"", "line\n"}});
  for (const NamedTensor& named : tensors) {
    CAPTURE(named.first);
    CHECK(same(file.tensor(named.first), named.second));
    CHECK(is_mapped(file.tensor(named.first)));
  }
  CHECK(list_folder(folder.path()) == std::vector<std::string>{"f"});
}

TEST_CASE("safetensors: the written bytes are the reference writer's") {
  const TempFolder folder;
  const Tensor a = Tensor::from(std::vector<uint8_t>{1, 2, 3}, {3}), b = Tensor::from(std::vector<int64_t>{-1}, {1, 1});
  const Tensor c = Tensor::from(std::vector<uint8_t>{9}, {});
  write_safetensors(folder / "f", std::vector<NamedTensor>{{"z", a}, {"\xc3\xa9", b}, {"a", c}}, {{"format", "pt"}});
  std::string header =
      "{\"__metadata__\":{\"format\":\"pt\"},\"\xc3\xa9\":{\"dtype\":\"I64\",\"shape\":[1,1],\"data_offsets\":[0,8]},"
      R"("a":{"dtype":"U8","shape":[],"data_offsets":[8,9]},"z":{"dtype":"U8","shape":[3],"data_offsets":[9,12]}})";
  while (header.size() % 8) header += ' ';
  CHECK(read_file(folder / "f") == file_of(header, std::string(8, '\xff') + "\x09\x01\x02\x03"));
}

TEST_CASE("safetensors: a file without tensors") {
  const TempFolder folder;
  write_safetensors(folder / "f", {});
  CHECK(read_file(folder / "f") == file_of("{}      ", ""));
  CHECK(SafeTensors::open(folder / "f").size() == 0);
  CHECK(SafeTensors::open(folder.put("g", file_of("{}", ""))).names().empty());
}

TEST_CASE("safetensors: what cannot be written is refused and leaves the old file") {
  const TempFolder folder;
  folder.put("f", "old");
  const Tensor t = Tensor::zeros({2}, DType::F32);
  const auto write = [&](std::vector<NamedTensor> tensors, Metadata metadata = {}) {
    return error_of([&] { write_safetensors(folder / "f", tensors, metadata); });
  };
  CHECK(contains(write({{"a", t}, {"b", t}, {"a", t}}), "tensor \"a\" is given twice"));
  CHECK(contains(write({{"a", {}}}), "Type: "));
  CHECK(contains(write({{"__metadata__", t}}), "reserved"));
  CHECK(contains(write({{"\xff", t}}), "not UTF-8"));
  CHECK(contains(write({{"a", t}}, {{"k", "\xc3"}}), "not UTF-8"));
  CHECK(read_file(folder / "f") == "old");
  CHECK(list_folder(folder.path()) == std::vector<std::string>{"f"});
}

TEST_CASE("safetensors: a reader keeps its content while the file is replaced") {
  const TempFolder folder;
  const std::vector<NamedTensor> before = {{"x", counting({1000}, DType::F32)}}, after = {{"x", counting({7}, DType::U8)}};
  write_safetensors(folder / "f", before);
  const auto file = SafeTensors::open(folder / "f");
  write_safetensors(folder / "f", after);
  CHECK(same(file.tensor("x"), before[0].second));
  CHECK(same(SafeTensors::open(folder / "f").tensor("x"), after[0].second));
}

TEST_CASE("safetensors: a file may be rewritten from its own mapping") {
  const TempFolder folder;
  const std::vector<NamedTensor> tensors = {{"x", counting({5000}, DType::F32)}, {"y", counting({300}, DType::I8)}};
  write_safetensors(folder / "f", tensors);
  const std::string bytes = read_file(folder / "f");
  const auto file = SafeTensors::open(folder / "f");
  write_safetensors(folder / "f", std::vector<NamedTensor>{{"y", file.tensor("y")}, {"x", file.tensor("x")}});
  CHECK(read_file(folder / "f") == bytes);
}

TEST_CASE("safetensors: ten thousand tensors are found by name") {
  std::string header = "{", data;
  for (int i = 0; i < 10000; ++i) {
    header += (i ? "," : "") + std::string("\"layer.") + std::to_string(i) + R"(.w":{"dtype":"U8","shape":[1],"data_offsets":[)" +
              std::to_string(i) + "," + std::to_string(i + 1) + "]}";
    data += static_cast<char>(i % 251);
  }
  const TempFolder folder;
  const auto file = SafeTensors::open(folder.put("f", file_of(header + "}", data)));
  REQUIRE(file.size() == 10000);
  for (int i = 0; i < 10000; i += 997) CHECK(file.tensor("layer." + std::to_string(i) + ".w").values<uint8_t>()[0] == i % 251);
}
