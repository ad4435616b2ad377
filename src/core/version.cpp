// The version that the build was configured with.
#include "tenon/core/version.h"

namespace tenon {

const char* version() { return TENON_VERSION; }

}  // namespace tenon
