// A folder for one test, removed with everything in it.
#pragma once

#include <atomic>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>

#include "tenon/core/error.h"
#include "tenon/io/files.h"

class TempFolder {
 public:
  TempFolder() {
    path_ = std::filesystem::temp_directory_path() / ("tenon-test-" + std::to_string(std::random_device{}()));
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string path() const { return path_.string(); }
  std::string operator/(std::string_view name) const { return (path_ / name).string(); }
  /// Writes a file and returns its path.
  std::string put(std::string_view name, std::string_view bytes) const {
    tenon::io::write_file_atomic(*this / name, bytes);
    return *this / name;
  }

 private:
  std::filesystem::path path_;
};

/// The message of the tenon::Error that `body` throws, after its code; "no error" if it throws none.
template <class Body>
std::string error_of(Body&& body) {
  static constexpr std::string_view codes[] = {"Shape", "Type", "Device", "File", "Format", "Memory", "Limit"};
  try {
    body();
  } catch (const tenon::Error& e) {
    return std::string(codes[static_cast<size_t>(e.code())]) + ": " + e.what();
  }
  return "no error";
}

inline bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }
