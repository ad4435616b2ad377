// Bringing files to the disk: the part of writing that the standard library lacks. In src/io/mapped_file.cpp.
#pragma once

#include <cstdio>
#include <string>

namespace tenon::io {

/// Waits until a flushed file is on the disk; false with errno set if that failed. Does nothing where the system has no such call.
bool sync_file(std::FILE* file);
/// The same for the names in a folder, after a rename. Failure is no error: some file systems refuse it.
void sync_folder(const std::string& path);

}  // namespace tenon::io
