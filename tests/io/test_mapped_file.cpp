// Mapped files: content, lifetime, giving pages back.
#include <doctest/doctest.h>

#include <cstring>

#include "io/temp_folder.h"
#include "tenon/io/mapped_file.h"

using namespace tenon;
using namespace tenon::io;

namespace {

std::string counting_bytes(size_t n) {
  std::string bytes(n, '\0');
  for (size_t i = 0; i < n; ++i) bytes[i] = static_cast<char>(i * 7 + i / 256);
  return bytes;
}

}  // namespace

TEST_CASE("map_file: the bytes of the file, read-only, also after the file is gone") {
  const TempFolder folder;
  const std::string bytes = counting_bytes(10001);
  const auto storage = map_file(folder.put("f", bytes));
  std::filesystem::remove(folder / "f");
  REQUIRE(storage->bytes == bytes.size());
  CHECK(storage->read_only);
  CHECK(std::memcmp(storage->data, bytes.data(), bytes.size()) == 0);
  Tensor t = Tensor::over(storage, 1, {10000}, DType::U8);
  CHECK(contains(error_of([&] { t.raw(); }), "read-only"));
}

TEST_CASE("map_file: an empty file is an empty storage") {
  const TempFolder folder;
  const auto storage = map_file(folder.put("f", ""));
  CHECK(storage->bytes == 0);
  CHECK(Tensor::over(storage, 0, {0}, DType::F32).numel() == 0);
}

TEST_CASE("map_file: errors") {
  const TempFolder folder;
  CHECK(contains(error_of([&] { map_file(folder / "none"); }), "File: [" + (folder / "none") + "] cannot be opened"));
  CHECK(contains(error_of([&] { map_file(folder.path()); }), "File: "));
  CHECK(contains(error_of([&] { map_file("/dev/zero"); }), "File: "));
}

TEST_CASE("release_pages: content stays, in the tensor and in its neighbours") {
  const TempFolder folder;
  const std::string bytes = counting_bytes(5 * 4096 + 123);
  const auto storage = map_file(folder.put("f", bytes));
  for (const auto& [begin, count] : {std::pair<size_t, int64_t>{0, 4096}, {100, 9000}, {4096, 4 * 4096 + 123}, {5000, 10}, {0, 0}}) {
    const Tensor t = Tensor::over(storage, begin, {count}, DType::U8);
    prefetch_pages(t);
    release_pages(t);
    CHECK(std::memcmp(storage->data, bytes.data(), bytes.size()) == 0);
  }
}

TEST_CASE("release_pages: memory that is no mapping is left alone") {
  Tensor t = Tensor::empty({1 << 16}, DType::U8);
  std::memset(t.raw(), 5, t.nbytes());
  CHECK_FALSE(is_mapped(t));
  release_pages(t);
  prefetch_pages(t);
  release_pages(Tensor());
  for (const uint8_t v : t.values<uint8_t>()) REQUIRE(v == 5);
}
