// LoRA adapters of a model in PEFT's file format: added, opened, switched, merged and saved.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tenon/models/lora_config.h"
#include "tenon/models/model.h"
#include "tenon/nn/lora.h"

namespace tenon::models {

/// The adapters of one model, which must outlive them. Forward passes read the model alone and may run in several threads; what changes it
/// (everything here that is not const) must not run beside them.
class Adapters {
 public:
  explicit Adapters(Model& model);

  /// A tensor that belongs to an adapter.
  struct Parameter {
    std::string module, part;  // "model.layers.0.mlp.up_proj" and "lora_A.weight", or "score" and "weight"
    bool saved;                // stands in for a parameter of the model; else a factor
    Tensor value;

    /// As adapter_model.safetensors has it.
    std::string name_on_disk() const { return "base_model.model." + module + "." + part; }
  };

  /// A new adapter; it is not active. B is zero, so that it changes nothing yet, unless init_lora_weights is false.
  /// Errors: Error(Format) as LoraConfig::from_json, for a name that is taken, and if no layer is targeted.
  void add(const std::string& name, const Json& config, uint64_t seed = 0);
  /// Opens a folder that PEFT or save() wrote; the adapter is not active. Returns the names of tensors that the folder lacks, which start
  /// as in add().
  /// Errors: as add(); Error(File); Error(Format) naming the first tensor that fits no module of this model or has another shape.
  std::vector<std::string> load(const std::string& name, const std::string& folder);
  /// Writes adapter_config.json and adapter_model.safetensors, which PEFT opens; each file whole or not at all.
  void save(const std::string& name, const std::string& folder) const;
  /// Takes its effect away first, merged or active. Errors: Error(Format) for an unknown name.
  void remove(Context& ctx, const std::string& name);

  /// From now on these adapters act, their effects added up; none: the model alone. Where several have an own copy of a parameter, the last
  /// one's counts. Errors: Error(Format) for an unknown name.
  void activate(Context& ctx, const std::vector<std::string>& names);
  /// Adds adapters into the weights: W += scaling * B A. They no longer act beside them. Memory for the merged weights is taken, the
  /// former ones are kept for unmerge(). Errors: Error(Format) for an unknown name.
  void merge(Context& ctx, const std::vector<std::string>& names);
  /// Gives the weights back that were there before merge(), to the bit.
  void unmerge(Context& ctx);
  /// The model keeps what is merged and, of active adapters, the own parameters; all adapters are gone.
  void forget(Context& ctx);

  /// Moves the model to where the Context computes, and its adapters with it. Errors: as Model::to; all is then as before.
  void to(Context& ctx);

  std::vector<std::string> names() const;
  const std::vector<std::string>& active() const { return active_; }
  const std::vector<std::string>& merged() const { return merged_; }
  const Json& config(const std::string& name) const { return find(name).json; }
  /// Changes what save() writes; ranks and targets stay as they are. Errors: Error(Format).
  void set_config(const std::string& name, Json config) { find(name).json = std::move(config); }
  /// Factors first, in the model's order; their memory is the adapter's own. Errors: Error(Format) for an unknown name.
  std::vector<Parameter> parameters(const std::string& name) const;
  /// scaling of each adapted layer, in the model's order.
  std::vector<std::pair<std::string, float>> scalings(const std::string& name) const;
  /// The layers that adapters can have, in the model's order.
  std::vector<std::string> layers() const;

 private:
  struct Layer {
    std::string name;
    nn::Linear* linear;
    bool output;  // the language model's head, tied or not
  };
  struct Adapter {
    LoraConfig config;
    Json json;
    std::map<std::string, nn::Lora> factors;  // by layer
    std::map<std::string, Tensor> saved;      // by parameter
  };

  const Adapter& find(const std::string& name) const;
  Adapter& find(const std::string& name);
  const Layer* layer(const std::string& name) const;
  const Tensor& base(const std::string& parameter) const;
  std::vector<std::string> targets_of(const LoraConfig& config) const;
  /// given: layers whose factors the caller has; the others get new ones.
  Adapter make(const Json& config, uint64_t seed, const std::set<std::string>& given) const;
  void read(Adapter& adapter, const std::string& name, const Tensor& t, std::map<std::string, int>& seen) const;
  /// Sets every layer and parameter to what active_ and merged_ say; packs again what changed.
  void apply(Context& ctx);

  Model& model_;
  std::vector<Layer> layers_;
  std::map<std::string, size_t> by_name_;               // of layers
  std::vector<std::pair<std::string, Tensor*>> slots_;  // every parameter of the model
  std::map<std::string, size_t> slot_of_;
  std::map<std::string, Tensor> base_;    // what stood in a slot that now holds something else
  std::map<std::string, Tensor> summed_;  // weights with what was merged
  std::map<std::string, Adapter> adapters_;
  std::vector<std::string> order_, active_, merged_;
};

}  // namespace tenon::models
