// What is known of an elementwise kernel's operations: how many operands, and what they give.
#pragma once

#include "tenon/core/kernels.h"

namespace tenon {

constexpr int operands_of(Elementwise op) { return op <= Elementwise::Not ? 1 : op == Elementwise::Where ? 3 : 2; }

/// Whether the results are Bool whatever the operands are.
constexpr bool gives_truth(Elementwise op) {
  return (op >= Elementwise::IsNan && op <= Elementwise::Not) || (op >= Elementwise::Equal && op <= Elementwise::GreaterEqual);
}

/// Whether there is such an operation on this type.
constexpr bool computes(Elementwise op, DType type) {
  using enum Elementwise;
  if (op == Copy || op == Not || op == Where || op == Maximum || op == Minimum || (op >= Equal && op <= GreaterEqual)) return true;
  if (op >= And && op <= Xor) return type != DType::F32;
  if (type == DType::F32) return true;
  return type == DType::I64 && (op == Negative || op == Absolute || op == Sign || op == Add || op == Subtract || op == Multiply ||
                                op == FloorDivide || op == Remainder || op == Power);
}

}  // namespace tenon
