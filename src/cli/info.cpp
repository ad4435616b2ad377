// tenon info: the machine and its kernels; or a checkpoint's summary.
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <map>

#include "cli/command.h"
#include "tenon/core/cuda.h"
#include "tenon/core/tensor_cores.h"
#include "tenon/core/version.h"
#include "tenon/quant/checkpoint_format.h"
#include "tenon/tasks/pipeline.h"

namespace tenon::cli {
namespace {

std::string processor_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);)
    if (const size_t colon = line.find(':'); line.rfind("model name", 0) == 0 && colon != std::string::npos && colon + 2 < line.size())
      return line.substr(colon + 2);
  return "unknown";
}

void row(const char* name, const std::string& value) { std::printf("%-13s %s\n", name, value.c_str()); }

int machine() {
  row("tenon", version());
  row("processor", processor_name());
  const double memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  row("memory", bytes_text(memory));
  row("threads", std::to_string(get_num_threads()) + " (the least of OMP_NUM_THREADS, this process's processors and the cgroup's quota)");
  std::printf("\nKernels, best first; each set overwrites what it makes faster in the one before it\n");
  for (const KernelChoice& c : kernel_choices()) std::printf("  %-10s %s\n", c.name.c_str(), c.reason.c_str());
  std::printf("\nGPUs\n");
  for (int i = 0; i < cuda::device_count(); ++i) {
    const cuda::Properties p = cuda::properties(i);
    std::printf("  cuda:%-5d %s, %s, compute capability %d.%d, %d multiprocessors, tensor cores: %s\n", i, p.name.c_str(),
                bytes_text(static_cast<double>(p.total_bytes)).c_str(), p.major, p.minor, p.multiprocessors,
                cuda::tensor_cores(i).c_str());
  }
  if (!cuda::is_available()) std::printf("  none: %s\n", cuda::why_not().c_str());
  cpu_kernels();  // an impossible TENON_ISA is an error, also where it is only asked about
  std::printf("\nTENON_ISA=NAME forces a set. Known models\n");
  std::map<std::string, std::string> classes;
  for (const models::Entry& e : models::registry())
    if (classes[e.model_type].find(e.class_name) == std::string::npos) classes[e.model_type] += std::string(" ") + e.class_name;
  for (const auto& [type, names] : classes) std::printf("  %-18s%s\n", type.c_str(), names.c_str());
  return 0;
}

std::string sizes(const Json& config) {
  struct Key {
    const char *name, *other, *what;
  };
  constexpr Key kKeys[] = {{"num_hidden_layers", "n_layers", "layers"},
                           {"hidden_size", "dim", "width"},
                           {"num_attention_heads", "n_heads", "heads"},
                           {"intermediate_size", "hidden_dim", "feed-forward"},
                           {"vocab_size", "", "vocabulary"},
                           {"max_position_embeddings", "", "positions"},
                           {"image_size", "", "image size"},
                           {"patch_size", "", "patch size"}};
  std::string line;
  for (const Key& k : kKeys) {
    const Json* v = config.get(k.name) ? config.get(k.name) : config.get(k.other);
    if (v && v->is_int()) line += (line.empty() ? "" : ", ") + std::string(k.what) + " " + std::to_string(v->as_int());
  }
  return line;
}

/// How many weights a tensor of a quantised checkpoint stands for.
int64_t weights_of(const std::string& name, const io::TensorInfo& info) {
  const std::string part = name.substr(name.rfind('.') + 1);
  if (part == "qweight" || part == "weight_packed") return 8 * info.shape.numel();
  for (const quant::CheckpointFormat& f : quant::kCheckpointFormats)
    for (const std::string_view suffix : f.suffixes)
      if (part == suffix && part != "weight") return 0;
  return info.shape.numel();
}

void weights(const std::string& folder, bool quantised) {
  const io::Checkpoint checkpoint = io::Checkpoint::open(folder);
  struct Share {
    int64_t tensors = 0, elements = 0;
    size_t bytes = 0;
  };
  std::map<std::string, Share> shares;
  Share all;
  for (const std::string& name : checkpoint.names()) {
    const io::TensorInfo& info = checkpoint.info(name);
    Share& s = shares[std::string(name_of(info.dtype))];
    for (Share* x : {&s, &all}) {
      x->tensors += 1;
      x->elements += quantised ? weights_of(name, info) : info.shape.numel();
      x->bytes += static_cast<size_t>(info.shape.numel()) * size_of(info.dtype);
    }
  }
  row("parameters", grouped(all.elements) + " in " + std::to_string(all.tensors) + " tensors");
  std::string line = bytes_text(static_cast<double>(all.bytes));
  for (const auto& [dtype, s] : shares) line += "; " + dtype + " " + bytes_text(static_cast<double>(s.bytes));
  row("weights", line);
}

void labels(const Json& config) {
  const Json* names = config.get("id2label");
  if (!names || !names->is_object()) return;
  const int64_t n = static_cast<int64_t>(names->as_object().size());
  std::string line = std::to_string(n) + ":";
  for (int64_t i = 0; i < std::min<int64_t>(n, 8); ++i) line += (i ? ", " : " ") + models::label_name(config, i);
  row("labels", line + (n > 8 ? ", ..." : ""));
}

void tokenizer(const std::string& folder) {
  if (!io::is_file(io::join_path(folder, "tokenizer.json")) && !io::is_file(io::join_path(folder, "vocab.txt")) &&
      !io::is_file(io::join_path(folder, "vocab.json")))
    return;
  try {
    const text::Tokenizer t = text::Tokenizer::from_folder(folder);
    const std::string name = t.config().tokenizer_class;
    std::string line = (name.empty() ? "of no named class" : name) + ", " + grouped(static_cast<long long>(t.vocab_size())) + " tokens";
    if (t.config().model_max_length != text::kNoLimit) line += ", at most " + std::to_string(t.config().model_max_length) + " per text";
    row("tokenizer", line);
    std::string roles;
    for (size_t i = 0; i < text::kRoleNames.size(); ++i)
      if (const std::string& token = t.role(static_cast<text::Role>(i)); !token.empty())
        roles += (roles.empty() ? "" : ", ") + std::string(text::kRoleNames[i]) + " " + token;
    row("", roles);
  } catch (const Error& e) {
    row("tokenizer", std::string("cannot be opened: ") + e.what());
  }
}

void images(const std::string& folder) {
  if (!io::is_file(io::join_path(folder, "preprocessor_config.json"))) return;
  try {
    const vision::ImageProcessorConfig c = vision::ImageProcessorConfig::load(folder);
    const vision::SizeSpec& s = c.do_center_crop ? c.crop_size : c.size;
    row("images", c.image_processor_type + ", " + std::to_string(s.height) + " x " + std::to_string(s.width));
  } catch (const Error& e) {
    row("images", std::string("cannot be prepared: ") + e.what());
  }
}

void sentence_files(const std::string& folder) {
  if (!io::is_file(io::join_path(folder, "modules.json"))) return;
  const EmbeddingConfig c = tasks::read_embedding_config(folder);
  constexpr const char* kNames[] = {"mean", "cls", "max", "mean / sqrt(length)", "weighted mean", "last token", "pooler"};
  std::string line;
  for (const Pooling p : c.pooling) line += (line.empty() ? "" : " and ") + std::string(kNames[static_cast<size_t>(p)]);
  row("pooling",
      line + (c.normalize ? ", unit length" : "") + (c.max_length ? ", texts cut at " + std::to_string(c.max_length) + " tokens" : ""));
}

int summary(const std::string& folder) {
  const Json config = io::read_config(folder);
  std::string names;
  if (const Json* list = config.get("architectures"); list && list->is_array())
    for (const Json& name : list->as_array()) names += (names.empty() ? "" : ", ") + name.as_string("architectures");
  const std::string type = config.value("model_type", "");
  bool known = false;
  for (const models::Entry& e : models::registry()) known |= type == e.model_type;
  row("folder", folder);
  row("architecture", (names.empty() ? "not named" : names) + " (" + type + ")" + (known ? "" : ", which Tenon does not know"));
  if (known) row("task", task_of(folder));
  if (const std::string line = sizes(config); !line.empty()) row("sizes", line);
  for (const char* part : {"text_config", "vision_config"})
    if (const Json* c = config.get(part); c && c->is_object()) row(part, sizes(*c));
  const bool quantised = config.get("quantization_config") && !config.at("quantization_config").is_null();
  if (quantised) {
    try {
      row("quantised", quant::Scheme::of_config(config)->describe());
    } catch (const Error& e) {
      row("quantised", std::string("cannot be opened: ") + e.what());
    }
  }
  weights(folder, quantised);
  labels(config);
  tokenizer(folder);
  images(folder);
  sentence_files(folder);
  return 0;
}

int run(const Args& args) {
  if (args.positional().size() > 1) throw UsageError("expected one folder, got " + std::to_string(args.positional().size()));
  return args.positional().empty() ? machine() : summary(args.positional().front());
}

}  // namespace

Command info_command() {
  return {"info",
          "[FOLDER]",
          "what this machine runs, or what is in a checkpoint",
          "Without a folder: the processor, the threads, the instruction sets with the reason why each is or is not used, and the models\n"
          "that this version knows. With one: architecture, sizes, parameters, element types, labels, tokenizer. No weight is read.\n\n"
          "Examples\n"
          "  tenon info\n"
          "  TENON_ISA=avx2 tenon info           what runs when AVX2 is forced\n"
          "  tenon info ~/models/bert-base",
          {},
          run};
}

}  // namespace tenon::cli
