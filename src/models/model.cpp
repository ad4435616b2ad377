// What all models share: listing, packing and unpacking their parameters.
#include "tenon/models/model.h"

#include <map>
#include <set>
#include <utility>

#include "tenon/nn/linear.h"

namespace tenon::models {
namespace {

class Collector final : public nn::Visitor {
 public:
  void parameter(const std::string& name, Tensor& t, const Shape&, const nn::ParameterInfo&) override {
    if (t.defined() && seen_.insert(t.id()).second) found.emplace_back(name, t);  // a tied parameter is listed once
  }
  std::vector<std::pair<std::string, Tensor>> found;

 private:
  std::set<uint64_t> seen_;
};

class Counter final : public nn::Visitor {
 public:
  void parameter(const std::string& name, Tensor& t, const Shape&, const nn::ParameterInfo& info) override {
    if (!t.defined() || !seen_.insert(t.id()).second) return;
    total += info.stored < 0 ? t.numel() : info.stored;
    if (info.stored >= 0) parts.emplace_back(name, info.stored);
  }
  int64_t total = 0;
  std::vector<std::pair<std::string, int64_t>> parts;

 private:
  std::set<uint64_t> seen_;
};

class Packer final : public nn::Visitor {
 public:
  /// small: of layers with less than kLarge weights, which cost no time however they are kept.
  Packer(Context& ctx, WeightFormat format, WeightFormat head, WeightFormat small, bool fp8_rows)
      : ctx_(ctx), format_(format), head_(head), small_(small), fp8_rows_(fp8_rows) {}
  void parameter(const std::string&, Tensor&, const Shape&, const nn::ParameterInfo&) override {}
  void linear(const std::string&, nn::Linear& layer) override {
    const bool small = layer.in_features() * layer.out_features() < kLarge;
    const WeightFormat format = layer.tied_weight.empty() ? format_ : head_;
    layer.pack(ctx_, as(layer.precise() ? WeightFormat::F32 : small && format == WeightFormat::Int8 ? small_ : format));
  }
  void fused(std::span<const std::string>, std::span<nn::Linear* const> layers, nn::FusedLinear& fused) override {
    fused.pack(ctx_, layers, as(format_));
  }
  void packable(nn::Packable& part) override { part.pack(ctx_, as(format_)); }

 private:
  quant::Packing as(WeightFormat format) const { return {format, fp8_rows_}; }

  Context& ctx_;
  static constexpr int64_t kLarge = 1 << 20;
  WeightFormat format_, head_, small_;
  bool fp8_rows_;
};

/// Moves parameters to a device. Weights that are packed, or will be, stay in the host's memory, since nothing computes with them as they lie;
/// but one that is a table's too goes with the table, and so does one that adapters were merged into on a device.
class Mover final : public nn::Visitor {
 public:
  Mover(Device to, bool packed) : to_(to), packed_(packed) {}
  void parameter(const std::string& name, Tensor& t, const Shape&, const nn::ParameterInfo& info) override {
    if (!t.defined() || info.stored >= 0) return;
    const auto known = moved_.find(t.id());
    if (known == moved_.end() && packed_ && in_linear_ && t.device().is_cpu() && name.ends_with(".weight")) return;
    Tensor there = known != moved_.end() ? known->second : t.to(to_);
    moved_.emplace(t.id(), there);
    moved_.emplace(there.id(), there);
    before_.emplace_back(&t, std::exchange(t, there));
  }
  void linear(const std::string& name, nn::Linear& layer) override {
    check(layer.lora.empty(), ErrorCode::Device, "to", name, " has adapters: expected a model without any to be moved; attach them afterwards");
    in_linear_ = !layer.quantized;
    layer.visit(name, *this);
    in_linear_ = false;
  }
  void packed_elsewhere(const std::string& name, nn::Linear& layer) override { linear(name, layer); }
  /// Everything as it was.
  void undo() {
    for (auto it = before_.rbegin(); it != before_.rend(); ++it) *it->first = std::move(it->second);
    before_.clear();
  }

 private:
  Device to_;
  bool packed_, in_linear_ = false;
  std::map<uint64_t, Tensor> moved_;
  std::vector<std::pair<Tensor*, Tensor>> before_;
};

/// Drops packed weights.
class Dropper : public nn::Visitor {
 public:
  void parameter(const std::string&, Tensor&, const Shape&, const nn::ParameterInfo&) override {}
  void linear(const std::string& name, nn::Linear& layer) override {
    layer.unpack();
    layer.visit(name, *this);
  }
  void fused(std::span<const std::string> names, std::span<nn::Linear* const> layers, nn::FusedLinear& fused) override {
    fused.unpack();
    for (size_t i = 0; i < names.size(); ++i) linear(names[i], *layers[i]);
  }
  void packable(nn::Packable& part) override { part.unpack(); }
};

/// Drops packed weights and makes every parameter a float32 tensor of its own memory on the model's device.
class Unpacker final : public Dropper {
 public:
  explicit Unpacker(Device device) : device_(device) {}
  void parameter(const std::string&, Tensor& t, const Shape&, const nn::ParameterInfo& info) override {
    if (!t.defined() || info.stored >= 0) return;
    const uint64_t before = t.id();
    for (const auto& [id, converted] : done_)
      if (id == before) {
        t = converted;
        return;
      }
    const Tensor wide = t.to(DType::F32);
    t = wide.device() == device_ && wide.read_only() ? wide.clone() : wide.to(device_);
    done_.emplace_back(before, t);
  }

 private:
  Device device_;
  std::vector<std::pair<uint64_t, Tensor>> done_;
};

}  // namespace

void Model::set_routing(const RoutingSettings&) { fail(ErrorCode::Type, class_name(), "it has no experts to route to"); }
const RoutingSettings& Model::routing() const { fail(ErrorCode::Type, class_name(), "it has no experts to route to"); }

Tensor Model::compute_features(Context&, const Inputs&) const {
  fail(ErrorCode::Type, class_name(), "has no projected features of texts or images; CLIPModel has");
}

Outputs Model::compute_encoding(Context&, const Inputs&) const { fail(ErrorCode::Type, class_name(), "has no encoder of its own"); }
std::unique_ptr<DecodingSession> Model::begin(Context&, const Inputs&) const {
  fail(ErrorCode::Type, class_name(), "does not generate text; decoders (AutoModelForCausalLM) and encoder-decoders do");
}

WeightFormat format_of(Precision precision, bool head) {
  switch (precision) {
    case Precision::Float32: return WeightFormat::F32;
    case Precision::BFloat16: return WeightFormat::BF16;
    case Precision::Int8: return WeightFormat::Int8;
    case Precision::Int4: return head ? WeightFormat::Int8 : WeightFormat::Int4;
    case Precision::Fp8: return head ? WeightFormat::BF16 : WeightFormat::Fp8;
  }
  return WeightFormat::F32;
}

Inputs Model::placed(Context& ctx, Inputs inputs) const {
  check(ctx.device() == device_, ErrorCode::Device, class_name(), "the model lies on ", device_, ", but the context computes on ", ctx.device());
  if (device_.is_cpu()) {
    inputs.visit([&](const char* name, const Tensor& t) {
      check(t.device().is_cpu(), ErrorCode::Device, name, "the model lies on ", device_, ", got ", t.describe());
    });
    return inputs;
  }
  inputs.visit([&](const char* name, Tensor& t) {
    if (!t.defined()) return;
    const Device where = is_float(t.dtype()) ? device_ : Device{};  // integers say which rows there are: the host reads them
    check(t.device() == where || !ctx.wants(t), ErrorCode::Device, name, "gradient: the model lies on ", device_, ", got ", t.describe());
    t = t.to(where);
  });
  return inputs;
}

void Model::pack_here(Context& ctx, Precision precision) {
  const WeightFormat format = format_of(precision), head = format_of(precision, true), int8 = WeightFormat::Int8;
  Packer packer(ctx, int8_beside_ ? int8 : format, int8_beside_ ? int8 : head, int8_beside_ ? format : int8, fp8_rows_);
  visit(packer);
  precision_ = precision;
  packed_ = true;
  touch();
  const bool bf16 = precision == Precision::BFloat16 || (precision != Precision::Float32 && ctx.kernels().fast_bf16);
  activations_ = bf16 ? DType::BF16 : DType::F32;
}

void Model::pack(Context& ctx, Precision precision) {
  if (ctx.device() == device_) return pack_here(ctx, precision);
  Mover mover(ctx.device(), true);
  try {
    visit(mover);
    pack_here(ctx, precision);
  } catch (...) {
    mover.undo();
    if (packed_) {
      Context before(device_);
      pack_here(before, precision_);
    } else {
      Dropper dropper;
      visit(dropper);
    }
    throw;
  }
  device_ = ctx.device();
}

void Model::to(Context& ctx) {
  if (ctx.device() == device_) return;
  if (packed_) return pack(ctx, precision_);
  touch();
  Mover mover(ctx.device(), false);
  try {
    visit(mover);
  } catch (...) {
    mover.undo();
    throw;
  }
  device_ = ctx.device();
}

void Model::unpack() {
  touch();
  Unpacker unpacker(device_);
  visit(unpacker);
  precision_ = Precision::Float32;
  activations_ = DType::F32;
  packed_ = false;
}

std::vector<std::pair<std::string, Tensor>> Model::parameters() const {
  Collector collector;
  const_cast<Model*>(this)->visit(collector);  // the collector changes nothing
  return std::move(collector.found);
}

std::vector<std::pair<std::string, int64_t>> Model::quantized_parts() const {
  Counter counter;
  const_cast<Model*>(this)->visit(counter);  // the counter changes nothing
  return std::move(counter.parts);
}

int64_t Model::num_parameters() const {
  Counter counter;
  const_cast<Model*>(this)->visit(counter);  // the counter changes nothing
  return counter.total;
}

}  // namespace tenon::models
