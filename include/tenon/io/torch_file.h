// Weights in PyTorch's own format (pytorch_model.bin): a zip archive around a pickle, of which only tensors are understood.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tenon/io/safetensors.h"

namespace tenon::io {

/// The tensors of a file that torch.save wrote from a state dict (PyTorch 1.6 and later), in its order, over a read-only mapping;
/// copies where strides or alignment ask for it. Nothing in the file is executed: of the pickle language only what describes
/// dictionaries of tensors is read. Entries that are no tensors are left out.
/// Errors: Error(File) if it cannot be opened; Error(Format) for a damaged archive, compressed entries, any other pickle content (the
/// opcode or the global is named), and tensors that leave their storage.
/// Source: torch.save, checked against it in tests/io/test_torch_file.cpp.
std::vector<NamedTensor> read_torch_file(const std::string& path);
/// The same over memory: `where` names it in messages.
std::vector<NamedTensor> read_torch_file(std::shared_ptr<Storage> storage, const std::string& where);

}  // namespace tenon::io
