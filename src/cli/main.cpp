// The command `tenon`: finds the command, runs it, and turns errors into messages and exit codes.
#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "cli/command.h"
#include "tenon/core/version.h"

namespace tenon::cli {
namespace {

constexpr int kFailed = 1, kMisused = 2;

std::vector<Command> commands() {
  return {info_command(), classify_command(), embed_command(), generate_command(), train_command(), quantize_command(), bench_command()};
}

void print_options(const std::vector<Option>& options) {
  for (const Option& o : options) std::printf("  --%-22s %s\n", (std::string(o.name) + (*o.value ? " " : "") + o.value).c_str(), o.help);
  std::printf("  --%-22s %s\n", "help", "this text");
}

void print_help() {
  std::printf(
      "tenon %s: runs Hugging Face transformers from C++ and Python, without PyTorch.\n\n"
      "  tenon COMMAND [options]\n\nCommands\n",
      version());
  for (const Command& c : commands()) std::printf("  %-10s %s\n", c.name, c.summary);
  std::printf(
      "\nStart here\n"
      "  tenon info                                   which kernels run on this machine, and why\n"
      "  tenon info FOLDER                            what is in a checkpoint, and what it is for\n"
      "  tenon classify FOLDER \"Shares rose 5 %%\"      a label and its score\n"
      "  tenon generate FOLDER --prompt \"Once upon\"    a text, continued as you watch\n"
      "  tenon train FOLDER FILE --output TUNED       a classifier of your own, from lines of label, tab, text\n"
      "  tenon quantize FOLDER --text FILE --output SMALL   a quarter of the size, in AWQ's four bits\n"
      "  tenon bench FOLDER --precision all           how fast it runs here\n"
      "  tenon COMMAND --help                         options and examples of a command\n\n"
      "FOLDER is a checkpoint as Hugging Face publishes it: config.json, model.safetensors, and the files of its tokenizer\n"
      "or image processor. Nothing is converted and nothing is downloaded.\n\n"
      "Environment\n"
      "  TENON_ISA          ref, portable, avx2, avx512, amx or neon: forces an instruction set (see tenon info)\n"
      "  OMP_NUM_THREADS    the most threads to use\n\n"
      "Exit codes: 0 done; 1 it could not be done, the message says why; 2 the command line is wrong.\n");
}

void print_help(const Command& c) {
  std::printf("tenon %s %s\n%s\n\n%s\n\nOptions\n", c.name, c.synopsis, c.summary, c.help);
  print_options(c.options);
}

int run(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "--help";
  if (name == "--help" || name == "-h" || name == "help") return print_help(), 0;
  if (name == "--version" || name == "version") return std::printf("tenon %s\n", version()), 0;
  for (const Command& c : commands()) {
    if (name != c.name) continue;
    try {
      const Args args(argc - 2, argv + 2, c.options);
      if (args.has("help")) return print_help(c), 0;
      return c.run(args);
    } catch (const UsageError& e) {
      std::fprintf(stderr, "tenon %s: %s\nSee tenon %s --help.\n", c.name, e.what(), c.name);
      return kMisused;
    }
  }
  std::string names;
  for (const Command& c : commands()) names += std::string(names.empty() ? "" : ", ") + c.name;
  std::fprintf(stderr, "tenon: there is no command \"%s\"; there are %s. See tenon --help.\n", name.c_str(), names.c_str());
  return kMisused;
}

}  // namespace

std::string model_argument(const Args& args) {
  if (args.positional().empty()) throw UsageError("expected a checkpoint's folder");
  return args.positional().front();
}

void for_inputs(const Args& args, const std::function<void(const std::vector<std::string>&)>& f) {
  std::vector<std::string> lines(args.positional().begin() + 1, args.positional().end());
  if (!lines.empty()) return f(lines);
  if (isatty(STDIN_FILENO)) throw UsageError("expected inputs behind the folder, or lines on standard input");
  const size_t part = static_cast<size_t>(args.number("batch", 32, 1, 65536)) * 8;  // results appear while a long input is being read
  for (std::string line; std::getline(std::cin, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    lines.push_back(std::move(line));
    if (lines.size() == part) f(lines), lines.clear();
  }
  if (!lines.empty()) f(lines);
}

std::string grouped(long long n) {
  std::string digits = std::to_string(n);
  for (int i = static_cast<int>(digits.size()) - 3; i > (n < 0 ? 1 : 0); i -= 3) digits.insert(static_cast<size_t>(i), ",");
  return digits;
}

std::string bytes_text(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, bytes < 1e10 ? "%.1f MB" : "%.1f GB", bytes / (bytes < 1e10 ? 1e6 : 1e9));
  return text;
}

}  // namespace tenon::cli

int main(int argc, char** argv) {
  try {
    const int code = tenon::cli::run(argc, argv);
    if (std::fflush(stdout) == 0) return code;
    std::fprintf(stderr, "tenon: the output could not be written\n");
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "tenon: there is not enough memory\n");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "tenon: %s\n", e.what());
  }
  return tenon::cli::kFailed;
}
