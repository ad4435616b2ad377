// The table of model families.
#include "tenon/models/registry.h"

#include "tenon/models/bert.h"
#include "tenon/models/clip.h"
#include "tenon/models/decoder.h"
#include "tenon/models/mtp.h"
#include "tenon/models/seq2seq.h"
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

constexpr DecoderFamily kGpt2{DecoderKind::Gpt2, kGpt2Names}, kLlama{DecoderKind::Llama, kLlamaNames}, kMistral{DecoderKind::Mistral, kLlamaNames},
    kQwen2{DecoderKind::Qwen2, kLlamaNames}, kQwen3{DecoderKind::Qwen3, kLlamaNames}, kMixtral{DecoderKind::Mixtral, kMixtralNames},
    kOlmoe{DecoderKind::Olmoe, kLlamaNames}, kQwen2Moe{DecoderKind::Qwen2Moe, kQwen2MoeNames}, kQwen3Moe{DecoderKind::Qwen3Moe, kLlamaNames},
    kDeepseek{DecoderKind::Deepseek, kLlamaNames}, kDeepseekV2{DecoderKind::DeepseekV2, kLlamaNames},
    kDeepseekV3{DecoderKind::DeepseekV3, kLlamaNames};

template <const DecoderFamily& family, Decoder::Head head>
std::unique_ptr<Model> make_decoder(const char* name, const Json& config) {
  return std::make_unique<Decoder>(name, family, config, head);
}

template <const DecoderFamily& family>
std::unique_ptr<Model> make_mtp(const char* name, const Json& config) {
  return std::make_unique<MtpModel>(name, family, config);
}

constexpr Seq2SeqFamily kMarian{Seq2SeqKind::Marian, kBartNames}, kM2m100{Seq2SeqKind::M2m100, kBartNames}, kT5{Seq2SeqKind::T5, kT5Names},
    kMt5{Seq2SeqKind::Mt5, kT5Names};

template <const Seq2SeqFamily& family, Seq2Seq::Head head>
std::unique_ptr<Model> make_seq2seq(const char* name, const Json& config) {
  return std::make_unique<Seq2Seq>(name, family, config, head);
}

constexpr const char* kCausal = "AutoModelForCausalLM";
constexpr const char* kSequence = "AutoModelForSequenceClassification";
constexpr const char* kMasked = "AutoModelForMaskedLM";
constexpr const char* kSeq2Seq = "AutoModelForSeq2SeqLM";

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
    {"gpt2", "GPT2Model", "AutoModel", make_decoder<kGpt2, Decoder::Head::None>},
    {"gpt2", "GPT2LMHeadModel", kCausal, make_decoder<kGpt2, Decoder::Head::CausalLm>},
    {"gpt2", "GPT2ForSequenceClassification", kSequence, make_decoder<kGpt2, Decoder::Head::Classifier>},
    {"llama", "LlamaModel", "AutoModel", make_decoder<kLlama, Decoder::Head::None>},
    {"llama", "LlamaForCausalLM", kCausal, make_decoder<kLlama, Decoder::Head::CausalLm>},
    {"llama", "LlamaForSequenceClassification", kSequence, make_decoder<kLlama, Decoder::Head::Classifier>},
    {"mistral", "MistralModel", "AutoModel", make_decoder<kMistral, Decoder::Head::None>},
    {"mistral", "MistralForCausalLM", kCausal, make_decoder<kMistral, Decoder::Head::CausalLm>},
    {"mistral", "MistralForSequenceClassification", kSequence, make_decoder<kMistral, Decoder::Head::Classifier>},
    {"qwen2", "Qwen2Model", "AutoModel", make_decoder<kQwen2, Decoder::Head::None>},
    {"qwen2", "Qwen2ForCausalLM", kCausal, make_decoder<kQwen2, Decoder::Head::CausalLm>},
    {"qwen2", "Qwen2ForSequenceClassification", kSequence, make_decoder<kQwen2, Decoder::Head::Classifier>},
    {"qwen3", "Qwen3Model", "AutoModel", make_decoder<kQwen3, Decoder::Head::None>},
    {"qwen3", "Qwen3ForCausalLM", kCausal, make_decoder<kQwen3, Decoder::Head::CausalLm>},
    {"qwen3", "Qwen3ForSequenceClassification", kSequence, make_decoder<kQwen3, Decoder::Head::Classifier>},
    {"mixtral", "MixtralModel", "AutoModel", make_decoder<kMixtral, Decoder::Head::None>},
    {"mixtral", "MixtralForCausalLM", kCausal, make_decoder<kMixtral, Decoder::Head::CausalLm>},
    {"mixtral", "MixtralForSequenceClassification", kSequence, make_decoder<kMixtral, Decoder::Head::Classifier>},
    {"olmoe", "OlmoeModel", "AutoModel", make_decoder<kOlmoe, Decoder::Head::None>},
    {"olmoe", "OlmoeForCausalLM", kCausal, make_decoder<kOlmoe, Decoder::Head::CausalLm>},
    {"qwen2_moe", "Qwen2MoeModel", "AutoModel", make_decoder<kQwen2Moe, Decoder::Head::None>},
    {"qwen2_moe", "Qwen2MoeForCausalLM", kCausal, make_decoder<kQwen2Moe, Decoder::Head::CausalLm>},
    {"qwen2_moe", "Qwen2MoeForSequenceClassification", kSequence, make_decoder<kQwen2Moe, Decoder::Head::Classifier>},
    {"qwen3_moe", "Qwen3MoeModel", "AutoModel", make_decoder<kQwen3Moe, Decoder::Head::None>},
    {"qwen3_moe", "Qwen3MoeForCausalLM", kCausal, make_decoder<kQwen3Moe, Decoder::Head::CausalLm>},
    {"qwen3_moe", "Qwen3MoeForSequenceClassification", kSequence, make_decoder<kQwen3Moe, Decoder::Head::Classifier>},
    {"deepseek", "DeepseekModel", "AutoModel", make_decoder<kDeepseek, Decoder::Head::None>},
    {"deepseek", "DeepseekForCausalLM", kCausal, make_decoder<kDeepseek, Decoder::Head::CausalLm>},
    {"deepseek_v2", "DeepseekV2Model", "AutoModel", make_decoder<kDeepseekV2, Decoder::Head::None>},
    {"deepseek_v2", "DeepseekV2ForCausalLM", kCausal, make_decoder<kDeepseekV2, Decoder::Head::CausalLm>},
    {"deepseek_v2", "DeepseekV2ForSequenceClassification", kSequence, make_decoder<kDeepseekV2, Decoder::Head::Classifier>},
    {"deepseek_v3", "DeepseekV3Model", "AutoModel", make_decoder<kDeepseekV3, Decoder::Head::None>},
    {"deepseek_v3", "DeepseekV3ForCausalLM", kCausal, make_decoder<kDeepseekV3, Decoder::Head::CausalLm>},
    {"deepseek_v3", "DeepseekV3ForSequenceClassification", kSequence, make_decoder<kDeepseekV3, Decoder::Head::Classifier>},
    {"deepseek_v3", "DeepseekV3MtpModel", "", make_mtp<kDeepseekV3>},
    {"marian", "MarianModel", "AutoModel", make_seq2seq<kMarian, Seq2Seq::Head::None>},
    {"marian", "MarianMTModel", kSeq2Seq, make_seq2seq<kMarian, Seq2Seq::Head::LanguageModel>},
    {"m2m_100", "M2M100Model", "AutoModel", make_seq2seq<kM2m100, Seq2Seq::Head::None>},
    {"m2m_100", "M2M100ForConditionalGeneration", kSeq2Seq, make_seq2seq<kM2m100, Seq2Seq::Head::LanguageModel>},
    {"t5", "T5Model", "AutoModel", make_seq2seq<kT5, Seq2Seq::Head::None>},
    {"t5", "T5ForConditionalGeneration", kSeq2Seq, make_seq2seq<kT5, Seq2Seq::Head::LanguageModel>},
    {"t5", "T5EncoderModel", "AutoModelForTextEncoding", make_seq2seq<kT5, Seq2Seq::Head::EncoderOnly>},
    {"mt5", "MT5Model", "AutoModel", make_seq2seq<kMt5, Seq2Seq::Head::None>},
    {"mt5", "MT5ForConditionalGeneration", kSeq2Seq, make_seq2seq<kMt5, Seq2Seq::Head::LanguageModel>},
    {"mt5", "MT5EncoderModel", "AutoModelForTextEncoding", make_seq2seq<kMt5, Seq2Seq::Head::EncoderOnly>},
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
