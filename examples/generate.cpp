// Tells a story: continues a text with a decoder and shows it as it is written.
//
//     example_generate FOLDER ["Once upon a time"] [SEED]
//
// FOLDER is what Hugging Face publishes: config.json, model.safetensors, the tokenizer's files. Without a prompt the model begins on its
// own. Without a seed it always takes the likeliest token, so that the story is the same each time; with one it is another each time.
#include <tenon/tenon.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

int main(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    std::fprintf(stderr, "usage: %s FOLDER [PROMPT] [SEED]\n", argv[0]);
    return 2;
  }
  try {
    const tenon::TextGeneration tell(argv[1]);
    const std::string prompt = argc > 2 ? argv[2] : "";

    // The options have Transformers' names; those that are not set here are the checkpoint's.
    tenon::TextGenerationOptions options{.config = tell.config()};
    options.config.max_new_tokens = 200;
    if (argc > 3) {
      options.config.do_sample = true;
      options.config.temperature = 0.9;
      options.config.top_p = 0.95;
      options.seed = std::strtoull(argv[3], nullptr, 10);
    }

    std::printf("%s", prompt.c_str());
    tell.stream(prompt, options, [](std::string_view piece) {
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    });
    std::printf("\n");
  } catch (const tenon::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
