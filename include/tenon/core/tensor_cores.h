// How a GPU multiplies.
#pragma once

#include <string>

namespace tenon::cuda {

/// "wgmma" (Hopper's products of warpgroups), "mma.sync", or that with the reason why a device of compute capability 9.0 has no wgmma. The first
/// call on such a device tries the kernels of wgmma there. Errors: Error(Device) with the reason if there is no such device.
std::string tensor_cores(int device = 0);

}  // namespace tenon::cuda
