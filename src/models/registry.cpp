// The table of model families.
#include "tenon/models/registry.h"

#include "tenon/models/bert.h"
#include "tenon/models/clip.h"
#include "tenon/models/vit.h"

namespace tenon::models {
namespace {

template <class T, const BertFamily& family>
std::unique_ptr<Model> make_bert(const char* name, const Json& config) {
  return std::make_unique<T>(name, family, config);
}

template <Vit::Head head>
std::unique_ptr<Model> make_vit(const char* name, const Json& config) {
  const bool drop_pooler = head == Vit::Head::Pooler && !config.value("add_pooling_layer", true);
  return std::make_unique<Vit>(name, config, drop_pooler ? Vit::Head::None : head);
}

std::unique_ptr<Model> make_clip(const char*, const Json& config) { return std::make_unique<ClipModel>(config); }

template <class Tower, bool projection>
std::unique_ptr<Model> make_clip_tower(const char* name, const Json& config) {
  return std::make_unique<ClipTower<Tower>>(name, config, projection);
}

constexpr const char* kSequence = "AutoModelForSequenceClassification";
constexpr const char* kMasked = "AutoModelForMaskedLM";

constexpr Entry kTable[] = {
    {"bert", "BertModel", "AutoModel", make_bert<BertModel, kBert>},
    {"bert", "BertForSequenceClassification", kSequence, make_bert<BertForSequenceClassification, kBert>},
    {"bert", "BertForMaskedLM", kMasked, make_bert<BertForMaskedLM, kBert>},
    {"distilbert", "DistilBertModel", "AutoModel", make_bert<BertModel, kDistilBert>},
    {"distilbert", "DistilBertForSequenceClassification", kSequence, make_bert<BertForSequenceClassification, kDistilBert>},
    {"distilbert", "DistilBertForMaskedLM", kMasked, make_bert<BertForMaskedLM, kDistilBert>},
    {"roberta", "RobertaModel", "AutoModel", make_bert<BertModel, kRoberta>},
    {"roberta", "RobertaForSequenceClassification", kSequence, make_bert<BertForSequenceClassification, kRoberta>},
    {"roberta", "RobertaForMaskedLM", kMasked, make_bert<BertForMaskedLM, kRoberta>},
    {"xlm-roberta", "XLMRobertaModel", "AutoModel", make_bert<BertModel, kRoberta>},
    {"xlm-roberta", "XLMRobertaForSequenceClassification", kSequence, make_bert<BertForSequenceClassification, kRoberta>},
    {"xlm-roberta", "XLMRobertaForMaskedLM", kMasked, make_bert<BertForMaskedLM, kRoberta>},
    {"vit", "ViTModel", "AutoModel", make_vit<Vit::Head::Pooler>},
    {"vit", "ViTForImageClassification", "AutoModelForImageClassification", make_vit<Vit::Head::Classifier>},
    {"clip", "CLIPModel", "AutoModel", make_clip},
    {"clip", "CLIPModel", "AutoModelForZeroShotImageClassification", make_clip},
    {"clip_text_model", "CLIPTextModel", "AutoModel", make_clip_tower<ClipTextTower, false>},
    {"clip_vision_model", "CLIPVisionModel", "AutoModel", make_clip_tower<ClipVisionTower, false>},
    {"clip_text_model", "CLIPTextModelWithProjection", "AutoModelForTextEncoding", make_clip_tower<ClipTextTower, true>},
    {"clip_vision_model", "CLIPVisionModelWithProjection", "", make_clip_tower<ClipVisionTower, true>},
};

}  // namespace

std::span<const Entry> registry() { return kTable; }

}  // namespace tenon::models
