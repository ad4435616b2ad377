// Tasks by name: opening them, calling them, and their answers as JSON.
#include "tenon/tasks/pipeline.h"

namespace tenon {
namespace {

Json floats(const float* x, const Shape& shape, int dimension) {
  Json::Array list;
  int64_t stride = 1;
  for (int d = dimension + 1; d < shape.rank(); ++d) stride *= shape[d];
  for (int64_t i = 0; i < shape[dimension]; ++i) {
    if (dimension + 1 == shape.rank())
      list.push_back(Json(static_cast<double>(x[i])));
    else
      list.push_back(floats(x + i * stride, shape, dimension + 1));
  }
  return Json(std::move(list));
}

Json to_json(const std::vector<TokenScore>& tokens) {
  Json::Array list;
  for (const TokenScore& t : tokens)
    list.push_back(Json(Json::Object{{"score", Json(static_cast<double>(t.score))},
                                     {"token", Json(int64_t{t.id})},
                                     {"token_str", Json(t.token)},
                                     {"sequence", Json(t.sequence)}}));
  return Json(std::move(list));
}

std::vector<Result> wrap(std::vector<std::vector<LabelScore>> all) {
  std::vector<Result> results(all.size());
  for (size_t i = 0; i < all.size(); ++i) results[i].labels = std::move(all[i]);
  return results;
}

std::vector<Result> wrap(std::vector<Tensor> all) {
  std::vector<Result> results(all.size());
  for (size_t i = 0; i < all.size(); ++i) results[i].features = std::move(all[i]);
  return results;
}

/// One overload per task: which options concern it, and how its answers become Results.
struct Call {
  const std::vector<std::string>& inputs;
  const CallOptions& o;

  std::vector<Result> operator()(const TextClassification& task) const {
    return wrap(
        task(inputs, {.top_k = o.top_k.value_or(1), .function = o.function, .truncation = o.truncation, .max_length = o.max_length}));
  }
  std::vector<Result> operator()(const FeatureExtraction& task) const {
    return wrap(task(inputs, {.truncation = o.truncation, .max_length = o.max_length}));
  }
  std::vector<Result> operator()(const SentenceEmbedding& task) const {
    const Tensor all = task(inputs);
    std::vector<Tensor> rows;
    for (int64_t i = 0; i < all.size(0); ++i) rows.push_back(all.rows(i, i + 1).view({all.size(1)}));
    return wrap(std::move(rows));
  }
  std::vector<Result> operator()(const FillMask& task) const {
    auto all = task(inputs, {.top_k = o.top_k.value_or(5), .targets = o.targets});
    std::vector<Result> results(all.size());
    for (size_t i = 0; i < all.size(); ++i) results[i].tokens = std::move(all[i]);
    return results;
  }
  std::vector<Result> operator()(const ImageClassification& task) const {
    return wrap(task(inputs, {.top_k = o.top_k.value_or(5), .function = o.function}));
  }
  std::vector<Result> operator()(const ImageFeatureExtraction& task) const { return wrap(task(inputs, {.pool = o.pool})); }
  std::vector<Result> operator()(const ZeroShotImageClassification& task) const {
    ZeroShotOptions options;
    if (o.hypothesis_template) options.hypothesis_template = *o.hypothesis_template;
    return wrap(task(tasks::load_images(inputs), o.candidate_labels, options));
  }
  std::vector<Result> operator()(const TextGeneration& task) const {
    constexpr int64_t kMostTokens = 256;
    TextGenerationOptions options{.config = task.config()};
    options.seed = o.seed;
    if (!o.generation.is_null()) options.config.update(o.generation);
    if (!options.config.max_length && !options.config.max_new_tokens) options.config.max_new_tokens = kMostTokens;
    const std::vector<std::string> texts = task(inputs, options);
    std::vector<Result> results(inputs.size());
    const size_t each = inputs.empty() ? 0 : texts.size() / inputs.size();
    const bool full = o.return_full_text && !task.model().config().value("is_encoder_decoder", false);
    for (size_t i = 0; i < texts.size(); ++i) results[i / each].texts.push_back(full ? inputs[i / each] + texts[i] : texts[i]);
    return results;
  }
};

template <class Kind>
Pipeline open(const std::string& folder, const PipelineOptions& options) {
  return Pipeline(Kind(folder, options));
}

struct KnownTask {
  const char* name;
  Pipeline (*open)(const std::string& folder, const PipelineOptions& options);
};

constexpr KnownTask kTasks[] = {
    {TextClassification::kTask, open<TextClassification>},
    {"sentiment-analysis", open<TextClassification>},
    {FeatureExtraction::kTask, open<FeatureExtraction>},
    {SentenceEmbedding::kTask, open<SentenceEmbedding>},
    {FillMask::kTask, open<FillMask>},
    {ImageClassification::kTask, open<ImageClassification>},
    {ImageFeatureExtraction::kTask, open<ImageFeatureExtraction>},
    {ZeroShotImageClassification::kTask, open<ZeroShotImageClassification>},
    {TextGeneration::kTask, open<TextGeneration>},
    {"translation", open<TextGeneration>},
    {"summarization", open<TextGeneration>},
    {"text2text-generation", open<TextGeneration>},
};

}  // namespace

Json Result::to_json() const {
  if (features.defined()) return floats(features.data<float>(), features.shape(), 0);
  if (tokens.size() == 1) return tenon::to_json(tokens.front());
  Json::Array list;
  for (const auto& mask : tokens) list.push_back(tenon::to_json(mask));
  for (const std::string& text : texts) list.push_back(Json(Json::Object{{"generated_text", Json(text)}}));
  for (const LabelScore& l : labels)
    list.push_back(Json(Json::Object{{"label", Json(l.label)}, {"score", Json(static_cast<double>(l.score))}}));
  return Json(std::move(list));
}

std::vector<Result> Pipeline::operator()(const std::vector<std::string>& inputs, const CallOptions& options) const {
  return std::visit(Call{inputs, options}, *task_);
}

std::string Pipeline::task() const {
  return std::visit([](const auto& task) { return std::string(task.kTask); }, *task_);
}

const models::Model& Pipeline::model() const {
  return std::visit([](const auto& task) -> const models::Model& { return task.model(); }, *task_);
}

Pipeline pipeline(const std::string& task, const std::string& folder, const PipelineOptions& options) {
  const std::string name = task.empty() ? task_of(folder) : task;
  std::string known;
  for (const KnownTask& t : kTasks) {
    if (name == t.name) return t.open(folder, options);
    known += (known.empty() ? "" : ", ") + std::string(t.name);
  }
  fail(ErrorCode::Limit, "pipeline", "unknown task \"", name, "\"; known are ", known);
}

std::string task_of(const std::string& folder) {
  const Json config = io::read_config(folder);
  if (io::is_file(io::join_path(folder, "modules.json"))) return SentenceEmbedding::kTask;
  std::string name;
  if (const Json* names = config.get("architectures"); names && names->is_array() && !names->as_array().empty())
    name = names->as_array().front().as_string("architectures");
  if (name.ends_with("ForSequenceClassification")) return TextClassification::kTask;
  if (name.ends_with("ForMaskedLM")) return FillMask::kTask;
  if (name.ends_with("ForImageClassification")) return ImageClassification::kTask;
  if (name == "CLIPModel") return ZeroShotImageClassification::kTask;
  for (const char* head : {"ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "MTModel"})
    if (name.ends_with(head)) return TextGeneration::kTask;
  const std::string type = config.value("model_type", "");
  return type == "vit" || type == "clip_vision_model" ? ImageFeatureExtraction::kTask : FeatureExtraction::kTask;
}

}  // namespace tenon
