// The tables of stages: what a tokenizer.json may name, and who makes it. A new stage is a header and a line here.
#include <array>
#include <span>
#include <string>

#include "tenon/text/decoders/byte_level.h"
#include "tenon/text/decoders/simple.h"
#include "tenon/text/decoders/word_piece.h"
#include "tenon/text/models/bpe.h"
#include "tenon/text/models/unigram.h"
#include "tenon/text/models/word_level.h"
#include "tenon/text/models/word_piece.h"
#include "tenon/text/normalizers/bert.h"
#include "tenon/text/normalizers/byte_level.h"
#include "tenon/text/normalizers/lowercase.h"
#include "tenon/text/normalizers/precompiled.h"
#include "tenon/text/normalizers/replace.h"
#include "tenon/text/normalizers/sequence.h"
#include "tenon/text/normalizers/strip.h"
#include "tenon/text/normalizers/unicode_form.h"
#include "tenon/text/post_processors/bert.h"
#include "tenon/text/post_processors/byte_level.h"
#include "tenon/text/post_processors/template.h"
#include "tenon/text/pre_tokenizers/bert.h"
#include "tenon/text/pre_tokenizers/byte_level.h"
#include "tenon/text/pre_tokenizers/metaspace.h"
#include "tenon/text/pre_tokenizers/punctuation.h"
#include "tenon/text/pre_tokenizers/sequence.h"
#include "tenon/text/pre_tokenizers/split.h"
#include "tenon/text/pre_tokenizers/unicode_scripts.h"
#include "tenon/text/pre_tokenizers/whitespace.h"

namespace tenon::text {
namespace {

template <class Kind>
struct Row {
  const char* name;
  std::unique_ptr<Kind> (*make)(const Json&);
};

template <class Kind, class Stage>
std::unique_ptr<Kind> make(const Json& spec) {
  return std::make_unique<Stage>(spec);
}

constexpr Row<Normalizer> kNormalizers[] = {
    {"BertNormalizer", make<Normalizer, BertNormalizer>},
    {"ByteLevel", make<Normalizer, ByteLevelNormalizer>},
    {"Lowercase", make<Normalizer, Lowercase>},
    {"NFC", make<Normalizer, UnicodeForm<NormalForm::NFC>>},
    {"NFD", make<Normalizer, UnicodeForm<NormalForm::NFD>>},
    {"NFKC", make<Normalizer, UnicodeForm<NormalForm::NFKC>>},
    {"NFKD", make<Normalizer, UnicodeForm<NormalForm::NFKD>>},
    {"Nmt", make<Normalizer, Nmt>},
    {"Precompiled", make<Normalizer, Precompiled>},
    {"Prepend", make<Normalizer, Prepend>},
    {"Replace", make<Normalizer, Replace>},
    {"Sequence", make<Normalizer, NormalizerSequence>},
    {"Strip", make<Normalizer, Strip>},
    {"StripAccents", make<Normalizer, StripAccents>},
};

constexpr Row<PreTokenizer> kPreTokenizers[] = {
    {"BertPreTokenizer", make<PreTokenizer, BertPreTokenizer>},
    {"ByteLevel", make<PreTokenizer, ByteLevel>},
    {"CharDelimiterSplit", make<PreTokenizer, CharDelimiterSplit>},
    {"Digits", make<PreTokenizer, Digits>},
    {"FixedLength", make<PreTokenizer, FixedLength>},
    {"Metaspace", make<PreTokenizer, Metaspace>},
    {"Punctuation", make<PreTokenizer, Punctuation>},
    {"Sequence", make<PreTokenizer, PreTokenizerSequence>},
    {"Split", make<PreTokenizer, Split>},
    {"UnicodeScripts", make<PreTokenizer, UnicodeScripts>},
    {"Whitespace", make<PreTokenizer, Whitespace>},
    {"WhitespaceSplit", make<PreTokenizer, WhitespaceSplit>},
};

constexpr Row<PostProcessor> kPostProcessors[] = {
    {"BertProcessing", make<PostProcessor, BertProcessing>},         {"ByteLevel", make<PostProcessor, ByteLevelProcessing>},
    {"RobertaProcessing", make<PostProcessor, RobertaProcessing>},   {"Sequence", make<PostProcessor, ProcessorSequence>},
    {"TemplateProcessing", make<PostProcessor, TemplateProcessing>},
};

constexpr Row<Decoder> kDecoders[] = {
    {"BPEDecoder", make<Decoder, BpeDecoder>},
    {"ByteFallback", make<Decoder, ByteFallback>},
    {"ByteLevel", make<Decoder, ByteLevelDecoder>},
    {"CTC", make<Decoder, CtcDecoder>},
    {"Fuse", make<Decoder, Fuse>},
    {"Metaspace", make<Decoder, MetaspaceDecoder>},
    {"Replace", make<Decoder, ReplaceDecoder>},
    {"Sequence", make<Decoder, DecoderSequence>},
    {"Strip", make<Decoder, StripDecoder>},
    {"WordPiece", make<Decoder, WordPieceDecoder>},
};

struct ModelRow {
  const char* name;
  std::unique_ptr<Model> (*make)(const Json&, const ModelData&);
};

template <class Kind>
std::unique_ptr<Model> make_one_model(const Json& spec, const ModelData& data) {
  return std::make_unique<Kind>(spec, data);
}

constexpr ModelRow kModels[] = {
    {"BPE", make_one_model<Bpe>},
    {"Unigram", make_one_model<Unigram>},
    {"WordLevel", make_one_model<WordLevel>},
    {"WordPiece", make_one_model<WordPiece>},
};

// The row of the stage that the description names.
template <class AnyRow>
const AnyRow& find_row(std::span<const AnyRow> rows, const Json& spec, std::string_view kind) {
  spec.as_object(kind);
  const std::string& name = spec.at("type").as_string("type");
  std::string known;
  for (const AnyRow& row : rows) {
    if (name == row.name) return row;
    known += known.empty() ? "" : ", ";
    known += row.name;
  }
  fail(ErrorCode::Format, "tokenizer.json", kind, " type: expected one of ", known, ", got '", name, "'");
}

template <class Kind>
std::unique_ptr<Kind> make_stage(std::span<const Row<Kind>> rows, const Json& spec, std::string_view kind) {
  return spec.is_null() ? nullptr : find_row(rows, spec, kind).make(spec);
}

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const Json& spec) { return make_stage<Normalizer>(kNormalizers, spec, "normalizer"); }
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& spec) {
  return make_stage<PreTokenizer>(kPreTokenizers, spec, "pre_tokenizer");
}
std::unique_ptr<PostProcessor> make_post_processor(const Json& spec) {
  return make_stage<PostProcessor>(kPostProcessors, spec, "post_processor");
}
std::unique_ptr<Decoder> make_decoder(const Json& spec) { return make_stage<Decoder>(kDecoders, spec, "decoder"); }
std::unique_ptr<Model> make_model(const Json& spec, const ModelData& data) {
  return find_row<ModelRow>(kModels, spec, "model").make(spec, data);
}

}  // namespace tenon::text
