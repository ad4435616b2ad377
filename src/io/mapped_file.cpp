// Mapping files and syncing them; the only file of this folder that knows POSIX.
#include "tenon/io/mapped_file.h"

#include <cerrno>
#include <system_error>

#include "io/sync.h"
#include "tenon/io/files.h"

#if defined(__unix__) || defined(__APPLE__)
#define TENON_POSIX 1
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace tenon::io {

#ifdef TENON_POSIX
namespace {

/// The deleter of a mapping; its type is also how a mapping is told from other memory.
struct Unmap {
  size_t bytes;
  void operator()(void* p) const {
    if (p) munmap(p, bytes);
  }
};

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

std::string last_error() { return std::generic_category().message(errno); }

/// Calls madvise on the pages of a mapped tensor: those wholly inside (`inside`) or all that it touches.
void advise(const Tensor& t, int advice, bool inside) {
  if (!is_mapped(t) || t.nbytes() == 0) return;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<uintptr_t>(t.raw()), last = first + t.nbytes();
  const auto base = reinterpret_cast<uintptr_t>(t.storage()->data);
  const uintptr_t file_end = base + t.storage()->bytes;
  uintptr_t begin = inside ? (first + page - 1) / page * page : first / page * page;
  // The last page of a file is the tensor's own when the tensor ends the file.
  uintptr_t end = inside && last != file_end ? last / page * page : (last + page - 1) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

}  // namespace

std::shared_ptr<Storage> map_file(const std::string& path) {
  // O_NONBLOCK: opening a named pipe must not wait for its writer.
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  check(file.fd >= 0, ErrorCode::File, path, "cannot be opened: ", last_error());
  struct stat status;
  check(fstat(file.fd, &status) == 0, ErrorCode::File, path, "cannot be read: ", last_error());
  check(S_ISREG(status.st_mode), ErrorCode::File, path, "expected a file, got ", S_ISDIR(status.st_mode) ? "a folder" : "a special file");
  auto storage = std::make_shared<Storage>();
  storage->read_only = true;
  storage->bytes = static_cast<size_t>(status.st_size);
  if (storage->bytes == 0) return storage;
  void* p = mmap(nullptr, storage->bytes, PROT_READ, MAP_PRIVATE, file.fd, 0);
  check(p != MAP_FAILED, ErrorCode::Memory, path, "cannot be mapped: ", last_error());
  storage->owner = std::shared_ptr<void>(p, Unmap{storage->bytes});
  storage->data = p;
  return storage;
}

bool is_mapped(const Tensor& t) { return t.defined() && std::get_deleter<Unmap>(t.storage()->owner) != nullptr; }

void release_pages(const Tensor& t) { advise(t, MADV_DONTNEED, true); }
void prefetch_pages(const Tensor& t) { advise(t, MADV_WILLNEED, false); }

bool sync_file(std::FILE* file) { return fsync(fileno(file)) == 0 || errno == EINVAL || errno == ENOTSUP; }

void sync_folder(const std::string& path) {
  const Descriptor folder{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (folder.fd >= 0) (void)fsync(folder.fd);
}

#else

std::shared_ptr<Storage> map_file(const std::string& path) {
  auto text = std::make_shared<std::string>(read_file(path, UINT64_MAX));
  auto storage = std::make_shared<Storage>();
  storage->read_only = true;
  storage->data = text->data();
  storage->bytes = text->size();
  storage->owner = std::move(text);
  return storage;
}

bool is_mapped(const Tensor&) { return false; }
void release_pages(const Tensor&) {}
void prefetch_pages(const Tensor&) {}
bool sync_file(std::FILE*) { return true; }
void sync_folder(const std::string&) {}

#endif

}  // namespace tenon::io
