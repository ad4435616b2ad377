// tenon embed: vectors for texts or images, and search among them.
#include <cstdio>
#include <cstring>

#include "cli/command.h"
#include "tenon/tasks/pipeline.h"

namespace tenon::cli {
namespace {

constexpr std::pair<const char*, Pooling> kPoolings[] = {
    {"mean", Pooling::Mean}, {"cls", Pooling::Cls}, {"max", Pooling::Max}, {"last", Pooling::LastToken}, {"pooler", Pooling::Pooler}};

SentenceEmbeddingOptions overrides(const Args& args) {
  SentenceEmbeddingOptions o;
  o.max_length = args.number("max-length", 0, 1, 1 << 20);
  if (args.has("normalize")) o.normalize = true;
  if (!args.has("pooling")) return o;
  for (const auto& [name, pooling] : kPoolings)
    if (args.text("pooling") == name) o.pooling = pooling;
  if (!o.pooling) throw UsageError("--pooling: expected mean, cls, max, last or pooler, got \"" + args.text("pooling") + "\"");
  return o;
}

/// One vector per image: the pooled one where the checkpoint has a pooler, else that of the class token.
Tensor embed_images(const ImageFeatureExtraction& extract, const std::vector<std::string>& paths, bool pool) {
  const std::vector<Tensor> each = extract(paths, {.pool = pool});
  const int64_t width = each.front().size(-1);
  Tensor all = Tensor::empty({static_cast<int64_t>(each.size()), width}, DType::F32);
  for (size_t i = 0; i < each.size(); ++i)
    std::memcpy(all.data<float>() + static_cast<int64_t>(i) * width, each[i].raw(), static_cast<size_t>(width) * sizeof(float));
  return all;
}

Json numbers(std::span<const float> values) {
  Json::Array list;
  for (const float v : values) list.push_back(Json(static_cast<double>(v)));
  return Json(std::move(list));
}

/// One line per input; `what` names the numbers in JSON.
void print(const std::vector<std::string>& inputs, const Tensor& vectors, const char* what, bool json) {
  for (int64_t i = 0; i < vectors.size(0); ++i) {
    const auto row = tasks::row(vectors, i);
    if (json) {
      std::printf("%s\n", Json(Json::Object{{"input", Json(inputs[static_cast<size_t>(i)])}, {what, numbers(row)}}).dump().c_str());
      continue;
    }
    for (size_t c = 0; c < row.size(); ++c) std::printf("%c%.6g", c ? ',' : '[', static_cast<double>(row[c]));
    std::printf("]\n");
  }
}

/// The cosine of every input with every other, a row for each.
void print_similarities(const std::vector<std::string>& inputs, const Tensor& vectors, bool json) {
  Context ctx;
  const Tensor unit = ops::l2_normalize(ctx, vectors, 1e-12f);
  const Tensor cosines = ops::matmul(ctx, unit, unit, true);
  if (json) return print(inputs, cosines, "similarity", true);
  for (int64_t i = 0; i < cosines.size(0); ++i) {
    for (const float v : tasks::row(cosines, i)) std::printf("%8.4f", static_cast<double>(v));
    std::printf("  %s\n", inputs[static_cast<size_t>(i)].c_str());
  }
}

Tensor joined(const std::vector<Tensor>& parts) {
  int64_t rows = 0;
  for (const Tensor& p : parts) rows += p.size(0);
  Tensor all = Tensor::empty({rows, parts.empty() ? 0 : parts.front().size(1)}, DType::F32);
  char* at = parts.empty() ? nullptr : static_cast<char*>(all.raw());
  for (const Tensor& p : parts) {
    std::memcpy(at, p.raw(), p.nbytes());
    at += p.nbytes();
  }
  return all;
}

int run(const Args& args) {
  const std::string folder = model_argument(args), task = task_of(folder);
  const PipelineOptions options = pipeline_options(args);
  const bool images =
      task == ImageClassification::kTask || task == ImageFeatureExtraction::kTask || task == ZeroShotImageClassification::kTask;
  std::function<Tensor(const std::vector<std::string>&)> embed;
  if (images) {
    if (args.has("query")) throw UsageError("--query is for texts; this checkpoint embeds images");
    const auto extract = std::make_shared<ImageFeatureExtraction>(folder, options);
    const bool pool = task == ZeroShotImageClassification::kTask || tasks::holds_pooler(folder);
    embed = [=](const std::vector<std::string>& paths) { return embed_images(*extract, paths, pool); };
  } else {
    const auto encoder = std::make_shared<SentenceEmbedding>(folder, options, overrides(args));
    embed = [=](const std::vector<std::string>& texts) { return (*encoder)(texts); };
  }
  const bool json = args.has("json"), similarity = args.has("similarity");
  if (args.has("query") && (json || similarity)) throw UsageError("--query goes without --json and --similarity");
  const bool keep = args.has("query") || args.has("out") || similarity;
  std::vector<std::string> inputs;
  std::vector<Tensor> parts;
  for_inputs(args, [&](const std::vector<std::string>& some) {
    const Tensor vectors = embed(some);
    if (!keep) return print(some, vectors, "embedding", json);
    inputs.insert(inputs.end(), some.begin(), some.end());
    parts.push_back(vectors);
  });
  const Tensor all = joined(parts);
  if (args.has("out")) {
    const io::NamedTensor named{"embeddings", all};
    io::write_safetensors(args.text("out"), std::span(&named, 1));
    std::printf("%s: embeddings %s\n", args.text("out").c_str(), all.shape().str().c_str());
  }
  if (similarity && all.size(0) > 0) print_similarities(inputs, all, json);
  if (args.has("query") && all.size(0) > 0)
    for (const Hit& hit : nearest(all, embed({args.text("query")}), args.number("top-k", 5, 1, 1 << 20)))
      std::printf("%.4f  %s\n", static_cast<double>(hit.score), inputs[static_cast<size_t>(hit.index)].c_str());
  return 0;
}

}  // namespace

Command embed_command() {
  std::vector<Option> options = {
      {"query", "TEXT", "print the inputs nearest to this text instead of the vectors"},
      {"top-k", "K", "with --query: how many (default 5)"},
      {"similarity", "", "print the cosine of every pair of inputs instead of the vectors"},
      {"json", "", "one JSON object per input and line"},
      {"out", "FILE", "write the vectors to a safetensors file as \"embeddings\""},
      {"pooling", "P", "mean, cls, max, last or pooler (default: as the checkpoint's files say, else mean)"},
      {"normalize", "", "scale vectors to unit length (default: as the checkpoint's files say)"},
      {"max-length", "N", "cut texts after N tokens (default: as the files say, else what the model takes)"},
  };
  options.insert(options.end(), kModelOptions.begin(), kModelOptions.end());
  return {"embed",
          "FOLDER [INPUT...]",
          "vectors for texts or images, and search among them",
          "Texts are embedded as sentence-transformers does: pooling and length come from modules.json and its companions. With a ViT or\n"
          "CLIP checkpoint the inputs are image files. Without inputs, each line of standard input is one. A line of output: [x,y,...].\n\n"
          "Examples\n"
          "  tenon embed all-MiniLM-L6-v2 \"a text\" \"another\"\n"
          "  tenon embed all-MiniLM-L6-v2 --similarity \"It is sunny\" \"The sun shines\" \"He drove home\"\n"
          "  tenon embed all-MiniLM-L6-v2 --query \"profit warning\" --top-k 3 < headlines.txt\n"
          "  tenon embed all-MiniLM-L6-v2 --out vectors.safetensors < headlines.txt\n"
          "  tenon embed vit-base photo.jpg",
          options,
          run};
}

}  // namespace tenon::cli
