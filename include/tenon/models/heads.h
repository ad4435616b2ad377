// What model heads share: checks of their inputs and the losses that Transformers computes from labels.
#pragma once

#include <string>
#include <vector>

#include "tenon/models/config.h"
#include "tenon/models/model.h"
#include "tenon/ops/loss.h"

namespace tenon::models {

/// Integer tensor of any integer type as int64 values. Errors: Error(Type) naming `what` for other types.
inline std::vector<int64_t> read_ids(const Tensor& t, const char* what) {
  check(t.defined(), ErrorCode::Type, what, "expected a tensor of integers, got nothing");
  check(!is_float(t.dtype()), ErrorCode::Type, what, "expected integers, got ", name_of(t.dtype()));
  const Tensor ids = t.to(Device{}).to(DType::I64);
  const auto values = ids.values<int64_t>();
  return {values.begin(), values.end()};
}

/// Batch and length from input_ids or inputs_embeds. Errors: Error(Type) if neither or both are given, Error(Shape).
inline std::pair<int64_t, int64_t> batch_of(const Inputs& in, int64_t width, const char* where) {
  check(in.input_ids.defined() != in.inputs_embeds.defined(), ErrorCode::Type, where, "expected either input_ids or inputs_embeds, got ",
        in.input_ids.defined() ? "both" : "none");
  if (in.input_ids.defined()) {
    check(in.input_ids.rank() == 2, ErrorCode::Shape, where, "input_ids: expected (batch, length), got ", in.input_ids.shape());
    return {in.input_ids.size(0), in.input_ids.size(1)};
  }
  check(in.inputs_embeds.rank() == 3 && in.inputs_embeds.size(2) == width, ErrorCode::Shape, where, "inputs_embeds: expected (batch, length, ",
        width, "), got ", in.inputs_embeds.shape());
  return {in.inputs_embeds.size(0), in.inputs_embeds.size(1)};
}

/// The loss of a (B,L) classifier by config.json's problem_type; where it is unset, as Transformers chooses it: one label is a
/// regression (mean squared error), integer labels are classes (cross-entropy), others are independent labels (binary
/// cross-entropy). Shapes: logits (B,L), labels (B) or (B,L) -> scalar.
inline Tensor classification_loss(Context& ctx, const Tensor& logits, const Tensor& labels, const Json& config) {
  const int64_t B = logits.size(0), L = logits.size(1);
  std::string kind = config.value("problem_type", "");
  if (kind.empty()) kind = L == 1 ? "regression" : is_float(labels.dtype()) ? "multi_label_classification" : "single_label_classification";
  if (kind == "single_label_classification") {
    check(labels.numel() == B, ErrorCode::Shape, "labels", "expected ", B, " classes, got ", labels.shape());
    return ops::cross_entropy(ctx, logits, read_ids(labels, "labels"));
  }
  check(labels.numel() == logits.numel(), ErrorCode::Shape, "labels", "expected ", logits.shape(), ", got ", labels.shape());
  const Tensor target = labels.to(Device{}).to(DType::F32).view(logits.shape()).to(ctx.device());
  if (kind == "regression") return ops::mse_loss(ctx, logits, target);
  check(kind == "multi_label_classification", ErrorCode::Format, "config.json", "\"problem_type\": unknown value \"", kind, "\"");
  return ops::bce_with_logits_loss(ctx, logits, target);
}

/// Cross-entropy over the positions of a masked language model. Shapes: logits (B,T,V), labels (B,T), -100 is not counted -> scalar.
inline Tensor token_loss(Context& ctx, const Tensor& logits, const Tensor& labels) {
  const int64_t N = logits.size(0) * logits.size(1);
  check(labels.numel() == N, ErrorCode::Shape, "labels", "expected ", Shape{logits.size(0), logits.size(1)}, ", got ", labels.shape());
  return ops::cross_entropy(ctx, ops::reshape(ctx, logits, {N, logits.size(2)}), read_ids(labels, "labels"));
}

/// Cross-entropy of a causal language model: position t is to predict label t + 1.
/// Shapes: logits (B,T,V), labels (B,T), -100 is not counted -> scalar.
inline Tensor next_token_loss(Context& ctx, const Tensor& logits, const Tensor& labels) {
  const int64_t B = logits.size(0), T = logits.size(1), N = B * T;
  check(labels.numel() == N, ErrorCode::Shape, "labels", "expected ", Shape{B, T}, ", got ", labels.shape());
  const std::vector<int64_t> given = read_ids(labels, "labels");
  std::vector<int64_t> next(given.size(), -100);
  for (int64_t i = 0; i + 1 < N; ++i)
    if (i % T + 1 < T) next[static_cast<size_t>(i)] = given[static_cast<size_t>(i) + 1];
  return ops::cross_entropy(ctx, ops::reshape(ctx, logits, {N, logits.size(2)}), next);
}

}  // namespace tenon::models
