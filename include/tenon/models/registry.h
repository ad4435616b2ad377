// Which model a checkpoint is: one explicit table from model_type and class to a constructor; and loading and saving.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tenon/models/model.h"

namespace tenon::models {

struct Entry {
  const char* model_type;  // config.json's "model_type"
  const char* class_name;  // "BertForSequenceClassification"
  const char* auto_class;  // the Auto class that resolves to it ("AutoModelForSequenceClassification"), "" for none
  std::unique_ptr<Model> (*make)(const char* class_name, const Json& config);
};

/// All models known. A model family adds its lines here and nowhere else.
std::span<const Entry> registry();

struct LoadOptions {
  std::string class_name = {};                // a concrete or an Auto class; "" = what config.json's "architectures" names
  Precision precision = Precision::Float32;
  bool automatic_precision = false;           // take bf16 if the checkpoint's config says so
  bool exact_products = false;                // quantised weights: activations are not rounded to int8; not with Int8 and Int4
  bool fp8_rows = false;                      // FP8 weights: Model::set_fp8_rows(); not with exact_products
  bool pack = true;                           // pack weights for inference; false keeps plain float32 weights for training
  bool mapped = false;                        // with pack: large weights stay in the mapped files, plain and in the types they have there
  Json config_overrides = {};                 // an object: {"num_labels": 3}
  bool allow_missing = false;                 // weights that the checkpoint lacks are initialised instead of an Error(Format)
  bool ignore_mismatched_sizes = false;       // likewise for weights of another shape
  uint64_t seed = 0;                          // for weights that are initialised
};

/// What did not fit between a checkpoint and a model, by the checkpoint's names.
struct LoadReport {
  std::vector<std::string> missing;     // initialised, since the checkpoint lacks them
  std::vector<std::string> unexpected;  // in the checkpoint, but no part of the model
  std::vector<std::string> mismatched;  // initialised, since the shape differs
};

/// Opens a Hugging Face folder. Errors: Error(File), Error(Format) for an unknown architecture (the message lists the known ones),
/// missing weights (named) or weights of a wrong shape (named, with both shapes).
std::unique_ptr<Model> load(Context& ctx, const std::string& folder, const LoadOptions& options = {}, LoadReport* report = nullptr);
/// A model with fresh weights: normal(0, initializer_range), zero biases, unit norms. Plain float32 weights unless options.pack.
std::unique_ptr<Model> from_config(Context& ctx, const Json& config, const LoadOptions& options = {});
/// A model with the weights of another, in memory of its own but for those that lie in mapped files; precision and pack of `options` count.
std::unique_ptr<Model> copy(Context& ctx, const Model& model, const LoadOptions& options = {});
/// Writes config.json and model.safetensors (sharded above max_shard_bytes), atomically. Float32 weights are written as they are.
void save(const Model& model, const std::string& folder, int64_t max_shard_bytes = int64_t{50} << 30);

}  // namespace tenon::models
