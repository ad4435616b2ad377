// Whole files: reading with a limit, and writing so that a crash leaves either the old content or the new one.
#pragma once

#include <cstdint>
#include <cstdio>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tenon/core/error.h"

namespace tenon::io {

/// The content of a regular file.
/// Errors: Error(File) if it cannot be read; Error(Limit) if it is longer than max_bytes.
std::string read_file(const std::string& path, uint64_t max_bytes = uint64_t{1} << 30);

/// Replaces the file's content. Errors: Error(File); the file then is as it was.
void write_file_atomic(const std::string& path, std::string_view bytes);

bool is_file(const std::string& path);
bool is_folder(const std::string& path);
/// `folder/name`; `name` alone if the folder is empty.
std::string join_path(std::string_view folder, std::string_view name);
/// The folder part of a path, "." if there is none.
std::string parent_folder(const std::string& path);
/// Names (not paths) of what lies in a folder, sorted. Errors: Error(File).
std::vector<std::string> list_folder(const std::string& path);
/// Makes the folder and those above it. Errors: Error(File), also if a file is in the way.
void make_folders(const std::string& path);

/// A file that appears under its name only on commit(): it is written to a temporary name in the same folder, which the
/// destructor removes if commit() was not reached.
class AtomicFile {
 public:
  /// Errors: Error(File) if the temporary file cannot be made.
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(AtomicFile&& o) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;

  /// Appends bytes. Errors: Error(File), for example when the disk is full.
  void write(const void* bytes, size_t count);
  void write(std::string_view bytes) { write(bytes.data(), bytes.size()); }
  /// Brings the bytes to the disk and closes the temporary file; commit() does it if it was not done. Errors: Error(File).
  void finish();
  /// Renames to the final name, replacing what was there. Errors: Error(File).
  void commit();
  const std::string& path() const { return path_; }

 private:
  void discard() noexcept;
  std::string path_, temporary_;  // temporary_ is empty once there is nothing to remove
  std::FILE* file_ = nullptr;
};

/// Text from a file, to be written into a message: in quotes, control characters escaped, cut after 80 bytes. It is formatted only
/// when it is written, so that naming things in checks costs nothing.
struct Printable {
  std::string_view text;
  friend std::ostream& operator<<(std::ostream& out, const Printable& p);
};

}  // namespace tenon::io
