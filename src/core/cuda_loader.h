// The CUDA library of this process, found once.
#pragma once

#include <string>

#include "core/cuda_backend.h"

namespace tenon::cuda::detail {

struct Loaded {
  const Backend* backend = nullptr;  // null: `why` says why
  int devices = 0;
  std::string why, path;
  Kernels kernels{};  // every entry filled
};

const Loaded& loaded();

/// The backend, for a device that there is. Errors: Error(Device) with the reason.
const Backend& backend_for(int device);

/// Errors: Error(Device) with what the backend says of its failure; a lost device is said to be lost.
void check_status(Status status, const char* what, int device);

/// Fills the entries that are null with functions that throw Error(Device): "[attention] no kernel for cuda ...".
void fill_missing(Kernels& table);

}  // namespace tenon::cuda::detail
