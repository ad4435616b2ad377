// Weights that are mostly zero, in files: their other elements and where these are.
//
// A weight X.weight (N,K) becomes a few tensors, which Checkpoint puts together again:
//
//   X.shape        int64 (2)          N, K
//   X.compressed   the elements that are not 0, row by row: (count), or (N, K/2) for 2:4
//   X.bitmask      uint8 (N, ceil(K/8)); bit i of byte j of a row says whether column 8 j + i has an element
//   X.row_offsets  int64 (N)          elements before each row; not with 2:4, never needed
//   X.meta         uint8 (N, K/8), instead of the bitmask of 2:4: two bits for the place of each element in its four columns,
//                  the first element in the lowest bits, the places of four columns rising
//
// The first four are the sparse-bitmask and sparse-24-bitmask formats of compressed-tensors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tenon/io/safetensors.h"

namespace tenon::io {

enum class SparseLayout : uint8_t {
  Dense,    // zeros are written: what every reader opens
  Bitmask,  // any zeros
  TwoFour,  // at most two of every four columns, as X.compressed and X.meta; float weights whose K is a multiple of 8
};

/// The tensors of X.weight. `name` ends with ".weight". Shapes: w (N,K) f32|bf16|f16.
/// Errors: Error(Shape), Error(Type); TwoFour: Error(Format) naming the first group of four with more than two elements.
std::vector<NamedTensor> sparse_tensors(const std::string& name, const Tensor& w, SparseLayout layout);

/// The weight (N,K) again. `places` is X.bitmask or X.meta, told apart by `meta`.
/// Errors: Error(Format) naming `name` for shapes that do not fit each other, another number of elements than bits, bits beyond K, and
/// places that do not rise.
Tensor dense_from(const std::string& name, const Tensor& shape, const Tensor& values, const Tensor& places, bool meta);
/// The checks of dense_from() that read no element but the shape's; gives (N,K).
Shape check_sparse(const std::string& name, const Tensor& shape, const Tensor& values, const Tensor& places, bool meta);

/// Writes the checkpoint in folder `from`, of any layout, again into folder `to`, which may be the same: matrices named *.weight with at
/// most `max_density` of their elements (TwoFour: that are 2:4) in `layout`, all else as it is. config.json is told by a
/// "compression_config"; other files are not copied. Returns how many weights were compressed. Errors: as Checkpoint::open and
/// save_checkpoint.
int64_t rewrite_checkpoint(const std::string& from, const std::string& to, SparseLayout layout, double max_density = 0.5);

}  // namespace tenon::io
