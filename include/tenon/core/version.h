// Which Tenon this is.
#pragma once

namespace tenon {

/// "0.1.0"
const char* version();

}  // namespace tenon
