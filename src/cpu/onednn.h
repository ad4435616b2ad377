// What the rest of the library may know about oneDNN.
#pragma once

#include <cstdint>

namespace tenon {

/// Plans made so far in this process; a second identical forward pass must not add to it.
int64_t onednn_plans_created();

}  // namespace tenon
