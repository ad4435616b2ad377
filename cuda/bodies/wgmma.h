// Products of warpgroups (128 threads) on Hopper's tensor cores: c (64,N) = or += a b, with K = 32 bytes of elements to an instruction (16 of
// 16 bits, 32 of e4m3). The sums of thread t, sums(t)[j][i], are c of fragments.h for the 16 rows of warp t / 32 and columns 8 j ... 8 j + 8. b lies
// in shared memory, a there or in registers: four, as a of fragments.h for the warp's 16 rows.
//
//   block.wait_for_wgmma<n>();                        wait<n>(), and what any thread wrote into shared memory before is there for wgmma
//   block.wgmma_fence(sums, ...);                     before the first product, and after threads touched sums or registers of a
//   block.wgmma<E, N>(sums, a, b, add);               a(t), b(t): descriptors (uint64_t), or a(t): registers; add: c += a b
//   block.wgmma_commit();                             products asked for since the last one are a group
//   block.wgmma_wait<n>(sums, ...);                   all but the last n groups are done; before, nobody touches their sums, registers and tiles
//
// A tile in shared memory has lines of 128 bytes, eight of which (an atom of 1024 bytes, aligned to that) are swizzled: 16 bytes `i` of line r lie
// at i ^ r % 8, so that eight lines' 16 bytes meet all banks, whichever way they are read. What is wider is in panels, one behind the other:
//
//   panel 0: lines 0 ... lines - 1, bytes 0-127      panel 1: the same lines, bytes 128-255      ...
//
// Lines are rows of a or columns of b, with k along them (along_k), or they are k (across_k, 16 bits only). So a tile of keys by head width is
// b of Q K^T along k, and of P V across k. Bodies of such products have kHopper: there is code for compute capability 9.0 (a) alone.
//
// Source: the PTX instruction set, "Asynchronous warpgroup level matrix instructions": "Shared memory matrix layout", "Matrix descriptor format".
#pragma once

#include "bodies/fragments.h"

namespace tenon::cuda {

constexpr int kWarpgroup = 128, kPanelBytes = 128, kAtomBytes = 1024;

/// Bytes of a tile of `lines` (a multiple of 8) by `width` bytes.
constexpr size_t panel_tile_bytes(int lines, int width) {
  return static_cast<size_t>(lines) * static_cast<size_t>((width + kPanelBytes - 1) / kPanelBytes * kPanelBytes);
}
/// Where byte `byte` of a line lies, in bytes from the tile's begin.
TENON_BODY int in_panels(int lines, int line, int byte) {
  return byte / kPanelBytes * lines * kPanelBytes + line * kPanelBytes + ((byte % kPanelBytes) ^ (line % 8 * 16));
}

/// What an instruction reads of a tile whose lines are 1024 bytes for every 8, from byte `offset` on; `panel`: bytes from a panel to the next one.
/// Summed in 32 bits, so that what differs between instructions is a constant to the compiler. Shared addresses have less than 18 bits.
TENON_BODY uint64_t wgmma_matrix(uint32_t tile, int offset, int panel) {
  const uint32_t low = (tile >> 4) + static_cast<uint32_t>(offset / 16) + (static_cast<uint32_t>(panel / 16) << 16);
  return uint64_t{1} << 62 | static_cast<uint64_t>(kAtomBytes / 16) << 32 | low;
}
/// The 32 bytes of k from byte k on, of lines from `line` on, a multiple of 8. `tile` is the shared address of a tile of `lines`.
TENON_BODY uint64_t along_k(uint32_t tile, int lines, int line, int k) {
  return wgmma_matrix(tile, k / kPanelBytes * lines * kPanelBytes + line * kPanelBytes + k % kPanelBytes, 16);
}
/// The 16 lines from k on, a multiple of 8, of elements from `first` on, a multiple of 64.
TENON_BODY uint64_t across_k(uint32_t tile, int lines, int k, int first) {
  return wgmma_matrix(tile, first / 64 * lines * kPanelBytes + k * kPanelBytes, lines * kPanelBytes);
}

/// A body's shared memory from the first address on that atoms may lie at; bodies that use it ask for kAtomBytes more.
template <class Block>
TENON_BODY char* aligned_to_atoms(const Block& block) {
  const uint32_t rest = block.shared_address(block.shared) % kAtomBytes;
  return block.shared + (rest == 0 ? 0 : kAtomBytes - rest);
}

}  // namespace tenon::cuda
