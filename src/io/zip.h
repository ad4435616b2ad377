// Where the entries of a zip archive lie; archives with compressed entries are listed, but those entries cannot be read.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace tenon::io {

struct ZipEntry {
  size_t begin = 0, bytes = 0;  // within the archive, checked to lie inside
};

/// The stored (not compressed) entries by name, zip64 included.
/// Errors: Error(Format) for no or a damaged archive, naming the entry; for entries that are compressed, encrypted or named twice.
std::map<std::string, ZipEntry, std::less<>> read_zip(std::string_view archive, const std::string& where);

}  // namespace tenon::io
