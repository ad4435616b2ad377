// Whole files, temporary names and renames; only the standard library.
#include "tenon/io/files.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "io/sync.h"

namespace tenon::io {
namespace {

namespace fs = std::filesystem;

std::string last_error() { return std::generic_category().message(errno); }

/// Unlike the process id, unique also between containers that share a folder.
std::string temporary_name(const std::string& path) {
  static std::atomic<uint32_t> counter{std::random_device{}()};
  char suffix[32];
  std::snprintf(suffix, sizeof(suffix), ".tmp-%08x%08x", static_cast<unsigned>(std::random_device{}()), static_cast<unsigned>(counter++));
  return path + suffix;
}

}  // namespace

std::string read_file(const std::string& path, uint64_t max_bytes) {
  std::error_code ec;
  const fs::file_status status = fs::status(path, ec);
  check(fs::exists(status), ErrorCode::File, path, "no such file");
  check(fs::is_regular_file(status), ErrorCode::File, path, "expected a file, got ",
        fs::is_directory(status) ? "a folder" : "a special file");
  const uint64_t bytes = fs::file_size(path, ec);
  check(!ec, ErrorCode::File, path, "cannot be read: ", ec.message());
  check(bytes <= max_bytes, ErrorCode::Limit, path, "too long: expected at most ", max_bytes, " bytes, got ", bytes);
  std::FILE* f = std::fopen(path.c_str(), "rb");
  check(f != nullptr, ErrorCode::File, path, "cannot be opened: ", last_error());
  std::string text;
  size_t got = 0;
  try {
    text.resize(static_cast<size_t>(bytes));
    got = std::fread(text.data(), 1, text.size(), f);
  } catch (const std::bad_alloc&) {
    std::fclose(f);
    fail(ErrorCode::Memory, path, "cannot allocate ", bytes, " bytes");
  }
  std::fclose(f);
  check(got == text.size(), ErrorCode::File, path, "cannot be read: expected ", bytes, " bytes, got ", got);
  return text;
}

void write_file_atomic(const std::string& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

bool is_file(const std::string& path) {
  std::error_code ec;
  return fs::is_regular_file(path, ec);
}

bool is_folder(const std::string& path) {
  std::error_code ec;
  return fs::is_directory(path, ec);
}

std::string join_path(std::string_view folder, std::string_view name) {
  std::string path(folder);
  if (!path.empty() && path.back() != '/') path += '/';
  return path += name;
}

std::string parent_folder(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

std::vector<std::string> list_folder(const std::string& path) {
  std::error_code ec;
  std::vector<std::string> names;
  fs::directory_iterator it(path, ec), end;
  for (; !ec && it != end; it.increment(ec)) names.push_back(it->path().filename().string());
  check(!ec, ErrorCode::File, path, "cannot be listed: ", ec.message());
  std::sort(names.begin(), names.end());
  return names;
}

void make_folders(const std::string& path) {
  check(!is_file(path), ErrorCode::File, path, "cannot be made: a file is in the way");
  std::error_code ec;
  fs::create_directories(path, ec);
  check(is_folder(path), ErrorCode::File, path, "cannot be made: ", ec.message());
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  check(!is_folder(path_), ErrorCode::File, path_, "cannot be written: it is a folder");
  temporary_ = temporary_name(path_);
  file_ = std::fopen(temporary_.c_str(), "wbx");
  if (!file_) {
    const std::string reason = last_error();
    temporary_.clear();
    fail(ErrorCode::File, path_, "cannot be written: ", reason);
  }
}

AtomicFile::AtomicFile(AtomicFile&& o) noexcept
    : path_(std::move(o.path_)), temporary_(std::move(o.temporary_)), file_(std::exchange(o.file_, nullptr)) {
  o.temporary_.clear();
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() noexcept {
  if (file_) std::fclose(std::exchange(file_, nullptr));
  if (!temporary_.empty()) std::remove(temporary_.c_str());
  temporary_.clear();
}

void AtomicFile::write(const void* bytes, size_t count) {
  check(file_ != nullptr, ErrorCode::File, path_, "cannot be written: it is already closed");
  if (count && std::fwrite(bytes, 1, count, file_) != count) {
    const std::string reason = last_error();
    discard();
    fail(ErrorCode::File, path_, "cannot be written: ", reason);
  }
}

void AtomicFile::finish() {
  if (!file_) return;
  bool good = std::fflush(file_) == 0 && sync_file(file_);
  std::string reason = good ? "" : last_error();
  if (std::fclose(std::exchange(file_, nullptr)) != 0 && good) good = false, reason = last_error();
  if (!good) {
    discard();
    fail(ErrorCode::File, path_, "cannot be written: ", reason);
  }
}

void AtomicFile::commit() {
  finish();
  check(!temporary_.empty(), ErrorCode::File, path_, "cannot be written: it was given up or already committed");
  std::error_code ec;
  fs::rename(temporary_, path_, ec);
  if (ec) {
    discard();
    fail(ErrorCode::File, path_, "cannot be replaced: ", ec.message());
  }
  temporary_.clear();
  sync_folder(parent_folder(path_));
}

std::ostream& operator<<(std::ostream& out, const Printable& p) {
  constexpr size_t kMax = 80;
  size_t cut = std::min(p.text.size(), kMax);
  if (cut < p.text.size())  // not inside a UTF-8 character: Python decodes messages
    while (cut > 0 && (static_cast<unsigned char>(p.text[cut]) & 0xC0) == 0x80) --cut;
  out << '"';
  for (const char c : p.text.substr(0, cut)) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7f) {
      char buffer[8];
      std::snprintf(buffer, sizeof(buffer), "\\x%02x", u);
      out << buffer;
    } else {
      out << c;
    }
  }
  return out << (cut < p.text.size() ? "...\"" : "\"");
}

}  // namespace tenon::io
