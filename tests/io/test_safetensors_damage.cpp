// Damaged and hostile safetensors files: each kind has its own message, and none is read past its end.
#include <doctest/doctest.h>

#include <cstring>

#include "io/temp_folder.h"
#include "tenon/io/safetensors.h"

using namespace tenon;
using namespace tenon::io;

namespace {

std::string length_of(uint64_t n) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(n >> (8 * i) & 0xff);
  return bytes;
}

/// A heap block of exactly these bytes, so that an address sanitizer sees a read past the end.
std::shared_ptr<Storage> storage_of(std::string_view bytes) {
  auto storage = std::make_shared<Storage>();
  auto block = std::shared_ptr<char[]>(new char[bytes.size()]);
  std::memcpy(block.get(), bytes.data(), bytes.size());
  storage->data = block.get();
  storage->bytes = bytes.size();
  storage->read_only = true;
  storage->owner = block;
  return storage;
}

std::string damage(std::string_view bytes) {
  return error_of([&] { SafeTensors::over(storage_of(bytes), "f"); });
}

/// The error for a header over this many bytes of data.
std::string header_error(const std::string& header, size_t data_bytes = 8) {
  return damage(length_of(header.size()) + header + std::string(data_bytes, '\1'));
}

/// The error for one tensor x with these fields.
std::string entry_error(const std::string& fields, size_t data_bytes = 8) { return header_error("{\"x\":{" + fields + "}}", data_bytes); }

const std::string kGood = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

size_t touch_all(const SafeTensors& file) {
  size_t sum = 0;
  for (const std::string& name : file.names()) {
    const Tensor t = file.tensor(name);
    const auto* bytes = static_cast<const unsigned char*>(t.raw());
    for (size_t i = 0; i < t.nbytes(); ++i) sum += bytes[i];
  }
  return sum;
}

}  // namespace

TEST_CASE("safetensors damage: the length and the frame") {
  CHECK(header_error(kGood) == "no error");
  CHECK(damage("") == "Format: [f] no safetensors file: expected at least 8 bytes, got 0");
  CHECK(contains(damage("1234567"), "got 7"));
  CHECK(damage(length_of(3) + "{}") == "Format: [f] the header passes the end of the file: expected 3 bytes, got 2");
  CHECK(contains(damage(length_of(~uint64_t{0}) + "{}"), "header too long"));
  CHECK(contains(damage(length_of(100'000'001) + "{}"), "expected at most 100000000 bytes, got 100000001"));
  CHECK(contains(damage(length_of(100'000'000) + "{}"), "passes the end"));
  CHECK(contains(damage(length_of(0)), "does not start with '{'"));
  CHECK(contains(header_error(" {}", 0), "does not start with '{'"));
  CHECK(contains(header_error("[]", 0), "does not start with '{'"));
  CHECK(contains(damage("PK\3\4 a zip archive"), "no safetensors file"));
}

TEST_CASE("safetensors damage: JSON") {
  CHECK(contains(header_error("{"), "not valid JSON"));
  CHECK(contains(header_error("{\"x\":}"), "not valid JSON"));
  CHECK(contains(header_error(kGood + "x"), "not valid JSON"));
  CHECK(contains(header_error(kGood + "{}"), "not valid JSON"));
  CHECK(contains(header_error("{\"\xff\":1}"), "not valid JSON"));
  CHECK(contains(header_error("{\"x\":" + std::string(100000, '[') + "}"), "not valid JSON"));
  CHECK(contains(header_error("{\"x\":" + std::string(50, '[') + std::string(50, ']') + "}"), "tensor \"x\": expected an object"));
  CHECK(contains(header_error(std::string("{}\0\0", 4), 0), "not valid JSON"));
}

TEST_CASE("safetensors damage: metadata") {
  const std::string rest = "," + kGood.substr(1);
  CHECK(header_error("{\"__metadata__\":{}" + rest) == "no error");
  CHECK(contains(header_error("{\"__metadata__\":[]" + rest), "__metadata__: expected an object of strings"));
  CHECK(contains(header_error("{\"__metadata__\":{\"k\":1}" + rest), "__metadata__: the value of \"k\" is no string"));
  CHECK(contains(header_error("{\"__metadata__\":{},\"__metadata__\":{}" + rest), "__metadata__ is written twice"));
}

TEST_CASE("safetensors damage: fields of a tensor") {
  for (const char* value : {"1", "null", "\"F32\"", "[]"})
    CHECK(contains(header_error(std::string("{\"x\":") + value + "}"),
                   "tensor \"x\": expected an object with dtype, shape and data_offsets"));
  CHECK(contains(entry_error(R"("shape":[2],"data_offsets":[0,8])"), "tensor \"x\": dtype is missing"));
  CHECK(contains(entry_error(R"("dtype":"F32","data_offsets":[0,8])"), "tensor \"x\": shape is missing"));
  CHECK(contains(entry_error(R"("dtype":"F32","shape":[2])"), "tensor \"x\": data_offsets is missing"));
  CHECK(contains(entry_error(R"("dtype":7,"shape":[2],"data_offsets":[0,8])"), "tensor \"x\": dtype: expected a string"));
  CHECK(contains(entry_error(R"("dtype":"F33","shape":[2],"data_offsets":[0,8])"), "tensor \"x\": unknown dtype \"F33\""));
  CHECK(contains(entry_error(R"("dtype":"f32","shape":[2],"data_offsets":[0,8])"), "unknown dtype"));
  for (const char* shape : {"2", "\"2\"", "{}", "null"})
    CHECK(contains(entry_error(std::string(R"("dtype":"F32","data_offsets":[0,8],"shape":)") + shape),
                   "tensor \"x\": shape: expected an array"));
  for (const char* size : {"-2", "2.0", "\"2\"", "null", "[2]", "9223372036854775808", "18446744073709551615"})
    CHECK(contains(entry_error(std::string(R"("dtype":"F32","data_offsets":[0,8],"shape":[)") + size + "]"),
                   "tensor \"x\": shape: expected sizes"));
  for (const char* offsets : {"0", "[]", "[0]", "[0,4,8]", "{}"})
    CHECK(contains(entry_error(std::string(R"("dtype":"F32","shape":[2],"data_offsets":)") + offsets),
                   "data_offsets: expected an array of two"));
  for (const char* offsets : {"[-1,8]", "[0,8.0]", "[\"0\",8]", "[0,null]"})
    CHECK(contains(entry_error(std::string(R"("dtype":"F32","shape":[2],"data_offsets":)") + offsets),
                   "data_offsets: expected whole numbers"));
  CHECK(contains(entry_error(R"("dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8])"), "shape is written twice"));
}

TEST_CASE("safetensors damage: sizes") {
  CHECK(contains(entry_error(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), "tensor \"x\": (3,) F32: expected 12 bytes, got 8"));
  CHECK(contains(entry_error(R"("dtype":"F64","shape":[2],"data_offsets":[0,8])"), "expected 16 bytes, got 8"));
  CHECK(contains(entry_error(R"("dtype":"F32","shape":[0],"data_offsets":[0,8])"), "expected 0 bytes, got 8"));
  CHECK(contains(entry_error(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])", 0),
                 "tensor \"x\": the size of (4294967296, 4294967296) overflows"));
  CHECK(contains(entry_error(R"("dtype":"F32","shape":[4611686018427387906],"data_offsets":[0,8])"), "overflows"));
  CHECK(contains(entry_error(R"("dtype":"F32","shape":[9223372036854775807,2,0],"data_offsets":[0,0])", 0), "overflows"));
  CHECK(contains(entry_error(R"("dtype":"U8","shape":[1,1,1,1,1,1,1,1,8],"data_offsets":[0,8])"),
                 "Limit: [f] tensor \"x\": expected at most 8"));
}

TEST_CASE("safetensors damage: offsets") {
  CHECK(contains(entry_error(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), "tensor \"x\": data_offsets [8, 0] run backwards"));
  CHECK(contains(entry_error(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", 7),
                 "tensor \"x\": data_offsets [0, 8] pass the end of the file, which has 7 bytes of data"));
  CHECK(contains(entry_error(R"("dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,18446744073709551615])"), "pass the end"));
  CHECK(contains(entry_error(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), "4 bytes at the end belong to no tensor"));
  CHECK(contains(entry_error(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), "tensor \"x\": 4 bytes before it belong to no tensor"));
  CHECK(contains(header_error("{}"), "8 bytes at the end"));
  const std::string a = R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},)";
  CHECK(header_error(a + R"("b":{"dtype":"U8","shape":[3],"data_offsets":[5,8]}})") == "no error");
  CHECK(contains(header_error(a + R"("b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})"), "tensor \"b\" overlaps tensor \"a\""));
  CHECK(contains(header_error(a + R"("b":{"dtype":"U8","shape":[2],"data_offsets":[6,8]}})"), "tensor \"b\": 1 bytes before it"));
  CHECK(contains(header_error(a + R"("b":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})"), "overlaps"));
  CHECK(contains(header_error(a + R"("a":{"dtype":"U8","shape":[3],"data_offsets":[5,8]}})"), "tensor \"a\" is written twice"));
  CHECK(contains(header_error(a + R"("b":{"dtype":"U8","shape":[0],"data_offsets":[3,3]}})", 5), "overlaps"));
  CHECK(header_error(a + R"("b":{"dtype":"U8","shape":[0],"data_offsets":[5,5]}})", 5) == "no error");
}

TEST_CASE("safetensors damage: hostile names cannot flood or garble the message") {
  const std::string name(5000, 'n');
  const std::string error = header_error("{\"" + name + "\\u0000\":1}");
  CHECK(contains(error, "tensor \"nnn"));
  CHECK(error.size() < 250);
  CHECK(contains(header_error("{\"\\u0000\\u001b[2J\":1}"), "tensor \"\\x00\\x1b[2J\""));
}

TEST_CASE("safetensors damage: cut at every length, and every byte of the header changed") {
  const std::string header =
      R"({"a":{"dtype":"I16","shape":[3,1],"data_offsets":[8,14]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const std::string bytes = length_of(header.size()) + header + std::string(14, '\2');
  CHECK(damage(bytes) == "no error");
  CHECK(touch_all(SafeTensors::over(storage_of(bytes), "f")) == 28);
  for (size_t n = 0; n < bytes.size(); ++n) {
    CAPTURE(n);
    CHECK(damage(std::string_view(bytes).substr(0, n)).rfind("Format: [f] ", 0) == 0);
  }
  CHECK(contains(damage(bytes + '\0'), "1 bytes at the end"));
  size_t opened = 0;
  for (size_t i = 0; i < 8 + header.size(); ++i)
    for (const int bit : {0, 1, 2, 3, 4, 5, 6, 7}) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      try {
        const auto file = SafeTensors::over(storage_of(changed), "f");
        // what still opens holds the same bytes, differently named or typed
        CHECK(touch_all(file) == 28);
        ++opened;
      } catch (const Error& e) {
        REQUIRE((e.code() == ErrorCode::Format || e.code() == ErrorCode::Limit));
      }
    }
  CHECK(opened > 0);
}
