// Parsing of options.
#include "cli/args.h"

#include <cstdlib>

namespace tenon::cli {

Args::Args(int count, char** words, const std::vector<Option>& options) {
  bool options_end = false;
  for (int i = 0; i < count; ++i) {
    const std::string word = words[i];
    if (options_end || word.size() < 2 || word[0] != '-') {
      positional_.push_back(word);
      continue;
    }
    if (word == "--") {
      options_end = true;
      continue;
    }
    const size_t equals = word.find('=');
    const std::string name =
        word == "-h" ? "help" : word.substr(word.rfind("--", 0) == 0 ? 2 : 1, equals == std::string::npos ? equals : equals - 2);
    const Option* known = nullptr;
    for (const Option& o : options)
      if (name == o.name) known = &o;
    if (name != "help" && !known) {
      std::string names;
      for (const Option& o : options) names += std::string(names.empty() ? "" : ", ") + "--" + o.name;
      throw UsageError("there is no option " + word.substr(0, equals) + (names.empty() ? "" : "; there are " + names) +
                       " (a text that starts with a dash goes behind --)");
    }
    const bool flag = !known || !*known->value;
    if (flag && equals != std::string::npos) throw UsageError("--" + name + " takes no value");
    if (flag)
      values_[name] = "";
    else if (equals != std::string::npos)
      values_[name] = word.substr(equals + 1);
    else if (i + 1 < count)
      values_[name] = words[++i];
    else
      throw UsageError("--" + name + " needs a value: " + known->value);
  }
}

std::string Args::text(const std::string& name, const std::string& fallback) const {
  const auto it = values_.find(name);
  return it == values_.end() ? fallback : it->second;
}

long Args::number(const std::string& name, long fallback, long least, long most) const {
  if (!has(name)) return fallback;
  const std::string value = text(name);
  char* end = nullptr;
  const long n = std::strtol(value.c_str(), &end, 10);
  if (value.empty() || *end || n < least || n > most)
    throw UsageError("--" + name + ": expected a number from " + std::to_string(least) + " to " + std::to_string(most) + ", got \"" +
                     value + "\"");
  return n;
}

std::vector<std::string> Args::list(const std::string& name) const {
  std::vector<std::string> parts;
  const std::string value = text(name);
  for (size_t begin = 0; begin <= value.size() && !value.empty();) {
    const size_t end = std::min(value.find(',', begin), value.size());
    const std::string part = value.substr(begin, end - begin);
    const size_t first = part.find_first_not_of(" \t"), last = part.find_last_not_of(" \t");
    if (first != std::string::npos) parts.push_back(part.substr(first, last - first + 1));
    begin = end + 1;
  }
  return parts;
}

models::Precision parse_precision(const std::string& text) {
  if (text == "float32" || text == "f32") return models::Precision::Float32;
  if (text == "bfloat16" || text == "bf16") return models::Precision::BFloat16;
  if (text == "int8" || text == "i8") return models::Precision::Int8;
  if (text == "int4" || text == "i4") return models::Precision::Int4;
  if (text == "fp8" || text == "f8") return models::Precision::Fp8;
  throw UsageError("--precision: expected float32, bfloat16, int8, int4 or fp8, got \"" + text + "\"");
}

const char* name_of(models::Precision precision) {
  constexpr const char* kNames[] = {"float32", "bfloat16", "int8", "int4", "fp8"};
  return kNames[static_cast<size_t>(precision)];
}

const Option kExactOption = {
    "exact", "", "quantised checkpoints: activations as they are, not rounded to int8 (slower, and what their authors measured)"};
const std::vector<Option> kModelOptions = {
    {"precision", "P", "float32, bfloat16, int8, int4 or fp8; of quantised checkpoints that of all else (default float32)"},
    kExactOption,
    {"threads", "N", "threads to use (default: all that this process may)"},
    {"device", "D", "cpu, cuda or cuda:1 (default cpu)"},
    {"batch", "N", "inputs per forward pass (default 32)"},
};

PipelineOptions pipeline_options(const Args& args) {
  PipelineOptions options;
  options.device = parse_device(args.text("device", "cpu"));
  options.precision = parse_precision(args.text("precision", "float32"));
  options.exact_products = args.has("exact");
  options.threads = static_cast<int>(args.number("threads", 0, 0, 4096));
  options.batch_size = static_cast<int>(args.number("batch", 32, 1, 65536));
  return options;
}

}  // namespace tenon::cli
