// Reading the directory of a zip archive; every offset is checked.
// Source: PKWARE's APPNOTE.TXT 6.3, sections 4.3 to 4.5.
#include "io/zip.h"

#include <algorithm>

#include "tenon/core/error.h"
#include "tenon/io/files.h"

namespace tenon::io {
namespace {

constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50, kEnd64Locator = 0x07064b50;
constexpr size_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kEnd64LocatorBytes = 20;

class ZipReader {
 public:
  ZipReader(std::string_view archive, const std::string& where) : archive_(archive), where_(where) {}

  std::map<std::string, ZipEntry, std::less<>> read() {
    find_directory();
    std::map<std::string, ZipEntry, std::less<>> entries;
    uint64_t at = directory_;
    for (uint64_t i = 0; i < count_; ++i) {
      check(number(at, 4) == kCentral, ErrorCode::Format, where_, "damaged zip archive: its directory has no entry ", i, " of ", count_);
      const uint64_t name_bytes = number(at + 28, 2), extra_bytes = number(at + 30, 2), comment_bytes = number(at + 32, 2);
      const std::string name(piece(at + kCentralBytes, name_bytes));
      const ZipEntry entry = read_entry(at, name, piece(at + kCentralBytes + name_bytes, extra_bytes));
      check(entries.emplace(name, entry).second, ErrorCode::Format, where_, "damaged zip archive: ", Printable{name}, " is in it twice");
      at += kCentralBytes + name_bytes + extra_bytes + comment_bytes;
    }
    return entries;
  }

 private:
  std::string_view piece(uint64_t at, uint64_t bytes) const {
    check(at <= archive_.size() && bytes <= archive_.size() - at, ErrorCode::Format, where_, "damaged zip archive: expected ", bytes,
          " bytes at ", at, ", got a file of ", archive_.size(), " (cut short?)");
    return archive_.substr(static_cast<size_t>(at), static_cast<size_t>(bytes));
  }

  static uint64_t number_in(std::string_view bytes) {
    uint64_t v = 0;
    for (size_t i = bytes.size(); i-- > 0;) v = v << 8 | static_cast<unsigned char>(bytes[i]);
    return v;
  }
  uint64_t number(uint64_t at, uint64_t bytes) const { return number_in(piece(at, bytes)); }

  void find_directory() {
    check(archive_.size() >= kEndBytes, ErrorCode::Format, where_, "no zip archive: expected at least ", kEndBytes, " bytes, got ",
          archive_.size());
    const size_t last = archive_.size() - kEndBytes, first = last > 0xffff ? last - 0xffff : 0;  // a comment may follow the record
    size_t end = last;
    while (end > first && number(end, 4) != kEnd) --end;
    check(number(end, 4) == kEnd, ErrorCode::Format, where_, "no zip archive, or one cut short: its directory is missing");
    count_ = number(end + 10, 2);
    directory_ = number(end + 16, 4);
    if (end >= kEnd64LocatorBytes && number(end - kEnd64LocatorBytes, 4) == kEnd64Locator) {
      const uint64_t end64 = number(end - kEnd64LocatorBytes + 8, 8);
      check(piece(end64, kEnd64Bytes).size() == kEnd64Bytes && number(end64, 4) == kEnd64, ErrorCode::Format, where_,
            "damaged zip archive: its 64-bit directory is missing");
      count_ = number(end64 + 32, 8);
      directory_ = number(end64 + 48, 8);
    }
  }

  /// One row of the directory, at `at`; sizes of 2^32 and more are in the extra field 1, those that overflow only, in this order.
  ZipEntry read_entry(uint64_t at, const std::string& name, std::string_view extra) const {
    const uint64_t flags = number(at + 8, 2), method = number(at + 10, 2);
    uint64_t packed = number(at + 20, 4), bytes = number(at + 24, 4), local = number(at + 42, 4);
    while (extra.size() >= 4) {
      const uint64_t kind = number_in(extra.substr(0, 2)), length = number_in(extra.substr(2, 2));
      std::string_view field = extra.substr(4, static_cast<size_t>(length));
      if (kind == 1)
        for (uint64_t* wide : {&bytes, &packed, &local})
          if (*wide == 0xffffffff && field.size() >= 8) *wide = number_in(field.substr(0, 8)), field.remove_prefix(8);
      extra.remove_prefix(std::min<size_t>(extra.size(), static_cast<size_t>(4 + length)));
    }
    check((flags & 1) == 0 && method == 0 && packed == bytes, ErrorCode::Format, where_, "zip entry ", Printable{name},
          " is compressed or encrypted: expected stored bytes");
    check(number(local, 4) == kLocal, ErrorCode::Format, where_, "damaged zip archive: ", Printable{name},
          " is not where the directory says");
    const uint64_t begin = local + kLocalBytes + number(local + 26, 2) + number(local + 28, 2);
    piece(begin, bytes);
    return {static_cast<size_t>(begin), static_cast<size_t>(bytes)};
  }

  std::string_view archive_;
  const std::string& where_;
  uint64_t count_ = 0, directory_ = 0;
};

}  // namespace

std::map<std::string, ZipEntry, std::less<>> read_zip(std::string_view archive, const std::string& where) {
  return ZipReader(archive, where).read();
}

}  // namespace tenon::io
