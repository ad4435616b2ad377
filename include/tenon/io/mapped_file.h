// Files as read-only memory: pages come from the disk when they are touched and can be given back.
#pragma once

#include <memory>
#include <string>

#include "tenon/core/tensor.h"

namespace tenon::io {

/// Maps a whole regular file, read-only; the mapping lives as long as the Storage. Where files cannot be mapped it is read instead.
/// A file that is replaced (renamed over) meanwhile stays as it was; one that is cut short in place kills readers of the lost pages.
/// Errors: Error(File) if it cannot be opened or is no regular file; Error(Memory) if it cannot be mapped.
std::shared_ptr<Storage> map_file(const std::string& path);

/// True if the tensor's memory is a mapped file.
bool is_mapped(const Tensor& t);

/// Gives the resident memory of the whole pages inside a mapped tensor back; touching them again reads the file again.
/// Does nothing for tensors that are not mapped. Call it after weights were packed elsewhere.
void release_pages(const Tensor& t);

/// Asks the system to read a mapped tensor's pages ahead of their use. Does nothing for other tensors.
void prefetch_pages(const Tensor& t);

}  // namespace tenon::io
