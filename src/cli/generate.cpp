// tenon generate: continues or translates texts, and shows them as they are written.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>

#include "cli/command.h"
#include "tenon/tasks/text_generation.h"

namespace tenon::cli {
namespace {

std::atomic<bool> g_cancel = false;

/// A number. Errors: UsageError.
double real(const Args& args, const std::string& name) {
  const std::string value = args.text(name);
  char* end = nullptr;
  const double x = std::strtod(value.c_str(), &end);
  if (value.empty() || *end) throw UsageError("--" + name + ": expected a number, got \"" + value + "\"");
  return x;
}

GenerationConfig read_options(const Args& args, GenerationConfig config) {
  constexpr long kMost = 1L << 30;
  config.max_new_tokens = args.number("max-new-tokens", 256, 1, kMost);
  if (args.has("temperature")) config.temperature = real(args, "temperature");
  if (args.has("top-k")) config.top_k = args.number("top-k", 50, 0, kMost);
  if (args.has("top-p")) config.top_p = real(args, "top-p");
  if (args.has("min-p")) config.min_p = real(args, "min-p");
  if (args.has("repetition-penalty")) config.repetition_penalty = real(args, "repetition-penalty");
  if (args.has("no-repeat-ngram")) config.no_repeat_ngram_size = args.number("no-repeat-ngram", 0, 0, kMost);
  if (args.has("stop")) config.stop_strings = {args.text("stop")};
  if (args.has("beams")) config.num_beams = args.number("beams", 1, 1, 1 << 16);
  if (args.has("kv-cache")) config.kv_cache_dtype = args.text("kv-cache");
  config.use_mtp = config.use_mtp || args.has("mtp");
  if (args.has("lookup")) config.prompt_lookup_num_tokens = args.number("lookup", 10, 1, 1 << 16);
  for (const char* option : {"temperature", "top-k", "top-p", "min-p", "seed"}) config.do_sample = config.do_sample || args.has(option);
  if (args.has("greedy")) config.do_sample = false;
  return config;
}

std::vector<std::string> prompts_of(const Args& args) {
  if (args.has("prompt")) {
    if (args.positional().size() > 1) throw UsageError("the prompt is given twice: with --prompt and behind the folder");
    return {args.text("prompt")};
  }
  std::vector<std::string> prompts;
  for_inputs(args, [&](const std::vector<std::string>& lines) { prompts.insert(prompts.end(), lines.begin(), lines.end()); });
  return prompts;
}

Json messages_of(const Args& args, const std::string& prompt) {
  Json::Array messages;
  if (args.has("system")) messages.push_back(Json::Object{{"role", "system"}, {"content", args.text("system")}});
  messages.push_back(Json::Object{{"role", "user"}, {"content", prompt}});
  return messages;
}

void put(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

int run(const Args& args) {
  const std::string folder = model_argument(args);
  const std::vector<std::string> prompts = prompts_of(args);
  if (args.has("system") && !args.has("chat")) throw UsageError("--system: only with --chat");
  const TextGeneration generator(folder, pipeline_options(args));
  TextGenerationOptions options{.config = read_options(args, generator.config())};
  options.seed = static_cast<uint64_t>(args.number("seed", 0, 0, std::numeric_limits<long>::max()));
  options.cancel = &g_cancel;
  options.add_special_tokens = !args.has("chat");
  const bool echo = !args.has("answer-only") && !args.has("chat") && !generator.model().config().value("is_encoder_decoder", false);
  std::signal(SIGINT, [](int) {
    if (g_cancel.exchange(true)) std::_Exit(130);  // a second time: at once
  });
  int64_t tokens = 0;
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& given : prompts) {
    const std::string prompt = args.has("chat") ? generator.chat_prompt(messages_of(args, given)) : given;
    std::string begin = echo ? prompt : "";  // printed with the first piece: not before an error
    const auto show = [&](std::string_view piece) { put(std::exchange(begin, "")), put(piece); };
    if (options.config.num_beams > 1)
      show(generator(prompt, options));
    else
      tokens += generator.stream(prompt, options, show);
    put(begin);
    put("\n");
    if (g_cancel) return 130;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (args.has("stats") && tokens > 0)
    std::fprintf(stderr, "%lld tokens in %.2f s, %.1f per second\n", static_cast<long long>(tokens), seconds,
                 static_cast<double>(tokens) / seconds);
  return 0;
}

}  // namespace

Command generate_command() {
  std::vector<Option> options = {
      {"prompt", "TEXT", "the text to go on from (or behind the folder, or lines of standard input)"},
      {"chat", "", "the prompt is a message to a chat model, put into the checkpoint's chat template; only the answer is printed"},
      {"system", "TEXT", "with --chat: the system's message"},
      {"max-new-tokens", "N", "the most tokens to write (default 256)"},
      {"temperature", "T", "sample: below 1 bolder choices are rarer, above 1 commoner"},
      {"top-k", "K", "sample among the K likeliest tokens, 0: all (default 50)"},
      {"top-p", "P", "sample among the likeliest tokens that together have probability P"},
      {"min-p", "P", "sample among tokens at least P times as likely as the likeliest"},
      {"seed", "N", "sample reproducibly: the same seed gives the same text (default 0)"},
      {"greedy", "", "always the likeliest token, even where the checkpoint says to sample"},
      {"beams", "N", "search N texts side by side for the likeliest (for translation)"},
      {"repetition-penalty", "X", "above 1: tokens that are there already become less likely"},
      {"no-repeat-ngram", "N", "no N tokens in a row appear twice"},
      {"stop", "TEXT", "end where the text ends with this"},
      {"lookup", "N", "speculation: guess up to N tokens from the text so far (the same text, sooner)"},
      {"mtp", "", "speculation by the block that DeepSeek-V3 stores for it (the same text, sooner)"},
      {"kv-cache", "TYPE", "auto, int8 or fp8: how keys and values of the text so far are kept (default auto, the precision's own)"},
      {"answer-only", "", "do not print the prompt"},
      {"stats", "", "tokens per second, on standard error"},
      {"precision", "P", "float32, bfloat16, int8, int4 or fp8; of quantised checkpoints that of all else (default float32)"},
      kExactOption,
      {"threads", "N", "threads to use (default: all that this process may)"},
  };
  return {"generate",
          "FOLDER [PROMPT...]",
          "text, continued or translated",
          "Continues each prompt with a decoder (GPT-2, Llama, Mistral, Qwen, Mixtral, DeepSeek, ...), or gives the answer of an\n"
          "encoder-decoder (Marian, M2M100, T5). Text appears as it is written; Ctrl-C ends it. Options that are not given are those of\n"
          "the checkpoint's generation_config.json; without any the likeliest token is taken.\n\n"
          "Examples\n"
          "  tenon generate stories260K --prompt \"Once upon a time\" --max-new-tokens 100\n"
          "  tenon generate qwen3 \"def fibonacci(n):\" --temperature 0.7 --top-p 0.9 --seed 1\n"
          "  tenon generate qwen3 --chat \"Why is the sky blue?\" --system \"Answer in one sentence.\"\n"
          "  tenon generate opus-mt-de-en --beams 4 < german.txt > english.txt\n"
          "  tenon generate mixtral --prompt \"The report says\" --precision int8 --stats",
          options,
          run};
}

}  // namespace tenon::cli
