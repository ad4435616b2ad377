// Table: its memory.
#include "tenon/text/table.h"

#include <cstdlib>

#include "core/memory.h"

namespace tenon::text::detail {

void* allocate_table(size_t bytes) {
  void* table = tenon::detail::allocate_aligned(bytes);
  if (!table) throw std::bad_alloc();
  return table;
}
void free_table(void* table) noexcept { std::free(table); }

}  // namespace tenon::text::detail
