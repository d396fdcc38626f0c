// Patterns are those of the tokenizer.json of the models that the names stand for; which name stands for which model is
// llama.cpp's (src/llama-vocab.cpp).
#include "model/gguf/pre_tokenizers.h"

#include <algorithm>

#include "fmt/format.h"

namespace causeway::model::gguf {
namespace {

#define CAUSEWAY_CONTRACTIONS R"((?i:'s|'t|'re|'ve|'m|'ll|'d))"
#define CAUSEWAY_SPACES R"(|\s+(?!\S)|\s+)"
#define CAUSEWAY_UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define CAUSEWAY_LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"

constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+)" CAUSEWAY_SPACES;
constexpr std::string_view kLlama3 = CAUSEWAY_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)" CAUSEWAY_SPACES;
constexpr std::string_view kQwen2 =
    CAUSEWAY_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)" CAUSEWAY_SPACES;
constexpr std::string_view kDigit = R"(\p{N})";
constexpr std::string_view kThreeDigits = R"(\p{N}{1,3})";
constexpr std::string_view kLines = R"([^\n]+|[\n]+)";
constexpr std::string_view kHanAndKana = "[一-龥぀-ゟ゠-ヿ]+";
constexpr std::string_view kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*)"
    R"(|\s*[\r\n]+)" CAUSEWAY_SPACES;
constexpr std::string_view kSpark2 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n])" CAUSEWAY_SPACES;
constexpr std::string_view kBloom = " ?[^(\\s|.,!?…。，、।۔،)]+";
// o200k_base: words end where a capital follows a small letter.
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?)" CAUSEWAY_UPPER "*" CAUSEWAY_LOWER "+" CAUSEWAY_CONTRACTIONS
    R"(?|[^\r\n\p{L}\p{N}]?)" CAUSEWAY_UPPER "+" CAUSEWAY_LOWER "*" CAUSEWAY_CONTRACTIONS
    R"(?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+)" CAUSEWAY_SPACES;
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?)" CAUSEWAY_UPPER "*" CAUSEWAY_LOWER R"(+|[^\r\n\p{L}\p{N}]?)" CAUSEWAY_UPPER
    "+" CAUSEWAY_LOWER R"(*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+)" CAUSEWAY_SPACES;

constexpr std::string_view kGpt2Names[] = {"gpt-2",      "phi-2",      "jina-es",  "jina-de",        "gigachat",
                                           "jina-v2-es", "jina-v2-de", "a.x-4.0",  "mellum",         "modern-bert",
                                           "exaone4",    "jais",       "trillion", "granite-docling"};
constexpr std::string_view kRobertaNames[] = {"jina-v1-en", "jina-v2-code", "roberta-bpe"};
constexpr std::string_view kGpt2Patterns[] = {kGpt2};
constexpr std::string_view kLlama3Names[] = {"llama3",  "llama-v3", "llama-bpe", "falcon3",     "falcon-h1",
                                             "pixtral", "midm-2.0", "lfm2",      "jina-v5-nano"};
constexpr std::string_view kLlama3Patterns[] = {kLlama3};
constexpr std::string_view kDbrxNames[] = {"dbrx", "smaug-bpe", "chatglm-bpe"};
constexpr std::string_view kGlmNames[] = {"glm4", "glm5"};
constexpr std::string_view kQwen2Names[] = {"deepseek-r1-qwen", "kormo",      "openpangu", "f2llmv2",
                                            "hunyuan",          "solar-open", "megrez",    "grok-2"};
constexpr std::string_view kQwen2ComposedNames[] = {"qwen2", "stablelm2"};
constexpr std::string_view kNeoXNames[] = {"mpt", "olmo"};
constexpr std::string_view kQwen2Patterns[] = {kQwen2};
constexpr std::string_view kQwen35Names[] = {"qwen35"};
constexpr std::string_view kQwen35Patterns[] = {
    CAUSEWAY_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+)" CAUSEWAY_SPACES};
constexpr std::string_view kDigitsNames[] = {"starcoder", "refact", "command-r",  "smollm",
                                             "codeshell", "exaone", "minerva-7b", "mellum2"};
constexpr std::string_view kDigitsPatterns[] = {kDigit, kGpt2};
constexpr std::string_view kFalconNames[] = {"falcon"};
constexpr std::string_view kFalconPatterns[] = {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, "[0-9][0-9][0-9]"};
constexpr std::string_view kDefaultNames[] = {"default", ""};
constexpr std::string_view kDefaultPatterns[] = {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2, R"(\p{N}+)", "[0-9][0-9][0-9]"};
constexpr std::string_view kDeepSeekCoderNames[] = {"deepseek-coder"};
constexpr std::string_view kDeepSeekCoderPatterns[] = {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)",
                                                       "[一-龥ࠀ-一가-퟿]+", kDigit};
constexpr std::string_view kDeepSeekLlmNames[] = {"deepseek-llm"};
constexpr std::string_view kDeepSeekLlmPatterns[] = {
    R"([\r\n])",
    "\\s?[A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}"
    "\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}"
    "\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-"
    "\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}"
    "\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}"
    "-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-"
    "\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-"
    "\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-"
    "\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}"
    "\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}"
    "\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-"
    "\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}"
    "\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-"
    "\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}]+",
    "\\s?[!-/:-~！-／：-～‘-‟　-。]+",
    R"(\s+$)",
    "[一-龥ࠀ-一가-퟿]+",
    R"(\p{N}+)"};
constexpr std::string_view kDeepSeek3Names[] = {"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"};
constexpr std::string_view kDeepSeek3Patterns[] = {kThreeDigits, kHanAndKana, kDeepSeek3};
constexpr std::string_view kSpark2Names[] = {"spark2_5"};
constexpr std::string_view kSpark2Patterns[] = {kThreeDigits, kHanAndKana, kSpark2, kDigit};
// Numbers in threes from their end, then scripts that have no spaces.
constexpr std::string_view kAfmoeNames[] = {"afmoe"};
constexpr std::string_view kAfmoePatterns[] = {
    R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))",
    R"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{8C48}-\x{FAFF}\x{3040}-\x{30FF}\x{FF65}-\x{FF9F}\x{2F00}-\x{2FDF})"
    R"(\x{E40}-\x{EFF}\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF})"
    R"(\x{1100}-\x{11FF}]+)",
    kDeepSeek3};
constexpr std::string_view kBloomNames[] = {"bloom", "poro-chat", "gpt3-finnish"};
constexpr std::string_view kBloomPatterns[] = {kBloom};
constexpr std::string_view kVikingNames[] = {"viking"};
constexpr std::string_view kVikingPatterns[] = {kBloom, kDigit};
constexpr std::string_view kTekkenNames[] = {"tekken"};
constexpr std::string_view kTekkenPatterns[] = {kTekken};
constexpr std::string_view kGpt4oNames[] = {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"};
constexpr std::string_view kGpt4oPatterns[] = {kGpt4o};
// Words as in o200k_base, but none with a Han character, whose runs are words of their own.
#define CAUSEWAY_NOT_HAN "(?:(?!\\p{Han})"
constexpr std::string_view kKimiNames[] = {"kimi-k2"};
constexpr std::string_view kKimiPatterns[] = {R"(\p{Han}+|[^\r\n\p{L}\p{N}]?)" CAUSEWAY_NOT_HAN CAUSEWAY_UPPER
                                              ")*" CAUSEWAY_NOT_HAN CAUSEWAY_LOWER ")+" CAUSEWAY_CONTRACTIONS
                                              R"(?|[^\r\n\p{L}\p{N}]?)" CAUSEWAY_NOT_HAN CAUSEWAY_UPPER
                                              ")+" CAUSEWAY_NOT_HAN CAUSEWAY_LOWER ")*" CAUSEWAY_CONTRACTIONS
                                              R"(?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)" CAUSEWAY_SPACES};
constexpr std::string_view kSuperBpeNames[] = {"superbpe"};
// The second one matches nothing: it only cuts, in front of each three digits from the end.
constexpr std::string_view kSuperBpePatterns[] = {R"(\p{N}+)", R"((?=(\d{3})+(?!\d)))"};
constexpr std::string_view kGemma4Names[] = {"gemma4"};
constexpr std::string_view kMarkedSpacesNames[] = {"granite-embed-multi-311m", "sarvam-moe"};
constexpr std::string_view kWhitespaceNames[] = {"whitespace"};
constexpr std::string_view kGraniteMultiNames[] = {"granite-embed-multi-97m"};
constexpr std::string_view kAyaNames[] = {"tiny_aya", "cohere2moe", "cohere2_moe"};
constexpr std::string_view kAyaPatterns[] = {R"(\d{1,3}(?=(?:\d{3})*\b))", kGpt4o};
constexpr std::string_view kChameleonNames[] = {"chameleon"};
constexpr std::string_view kChameleonPatterns[] = {"<sentinel:[0-9]+>",       "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
                                                   "([\\t\\n]|    |  )",      kDigit,
                                                   R"([\p{P}!-/:-@\[-`{-~])", kGpt2};
constexpr std::string_view kBailingNames[] = {"bailingmoe", "bailingmoe2", "llada-moe"};
constexpr std::string_view kBailingPatterns[] = {
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n])" CAUSEWAY_SPACES};
constexpr std::string_view kSeedNames[] = {"seed-coder"};
constexpr std::string_view kSeedPatterns[] = {
    CAUSEWAY_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+)" CAUSEWAY_SPACES};
constexpr std::string_view kUfakzekaNames[] = {"ufakzeka"};
constexpr std::string_view kUfakzekaPatterns[] = {
    R"([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)" CAUSEWAY_SPACES};
constexpr std::string_view kLagunaNames[] = {"laguna"};
constexpr std::string_view kLagunaPatterns[] = {kLines, kQwen2};
constexpr std::string_view kExaoneMoeNames[] = {"exaone-moe"};
constexpr std::string_view kExaoneMoePatterns[] = {
    CAUSEWAY_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n])" CAUSEWAY_SPACES};
constexpr std::string_view kMiniCpm5Names[] = {"minicpm5"};
constexpr std::string_view kMiniCpm5Patterns[] = {
    kThreeDigits,
    CAUSEWAY_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)" CAUSEWAY_SPACES};
constexpr std::string_view kJais2Names[] = {"jais-2"};
constexpr std::string_view kJais2Patterns[] = {
    CAUSEWAY_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S))"
    R"(|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})"};
constexpr std::string_view kYoutuNames[] = {"youtu"};
constexpr std::string_view kYoutuPatterns[] = {
    "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
    R"([^\r\n\p{L}\p{N}]?)" CAUSEWAY_UPPER "*" CAUSEWAY_LOWER "+" CAUSEWAY_CONTRACTIONS
    R"(?|[^\r\n\p{L}\p{N}]?)" CAUSEWAY_UPPER "+" CAUSEWAY_LOWER "*" CAUSEWAY_CONTRACTIONS
    R"(?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+)" CAUSEWAY_SPACES};

constexpr PreTokenizer kPreTokenizers[] = {
    {.names = kDefaultNames, .patterns = kDefaultPatterns},
    {.names = kGpt2Names, .patterns = kGpt2Patterns},
    {.names = kRobertaNames, .patterns = kGpt2Patterns, .add_separator = true},
    {.names = kLlama3Names, .patterns = kLlama3Patterns, .ignore_merges = true, .add_bos = true},
    {.names = kDbrxNames, .patterns = kLlama3Patterns},
    {.names = kGlmNames, .patterns = kLlama3Patterns, .ignore_merges = true},
    {.names = kNeoXNames, .patterns = kGpt2Patterns, .compose = true},
    {.names = kQwen2Names, .patterns = kQwen2Patterns},
    {.names = kQwen2ComposedNames, .patterns = kQwen2Patterns, .compose = true},
    {.names = kQwen35Names, .patterns = kQwen35Patterns},
    {.names = kDigitsNames, .patterns = kDigitsPatterns},
    {.names = kFalconNames, .patterns = kFalconPatterns},
    {.names = kDeepSeekCoderNames, .patterns = kDeepSeekCoderPatterns},
    {.names = kDeepSeekLlmNames, .patterns = kDeepSeekLlmPatterns},
    {.names = kDeepSeek3Names, .patterns = kDeepSeek3Patterns},
    {.names = kSpark2Names, .patterns = kSpark2Patterns},
    {.names = kAfmoeNames, .patterns = kAfmoePatterns},
    {.names = kBloomNames, .patterns = kBloomPatterns},
    {.names = kVikingNames, .patterns = kVikingPatterns},
    {.names = kTekkenNames, .patterns = kTekkenPatterns, .ignore_merges = true, .add_bos = true},
    {.names = kGpt4oNames, .patterns = kGpt4oPatterns},
    {.names = kKimiNames, .patterns = kKimiPatterns},
    {.names = kSuperBpeNames, .patterns = kSuperBpePatterns},
    {.names = kGraniteMultiNames, .patterns = kGpt4oPatterns, .ignore_merges = true},
    {.names = kAyaNames, .patterns = kAyaPatterns},
    {.names = kChameleonNames, .patterns = kChameleonPatterns, .add_bos = true},
    {.names = kBailingNames, .patterns = kBailingPatterns},
    {.names = kSeedNames, .patterns = kSeedPatterns},
    {.names = kUfakzekaNames, .patterns = kUfakzekaPatterns},
    {.names = kLagunaNames, .patterns = kLagunaPatterns},
    {.names = kExaoneMoeNames, .patterns = kExaoneMoePatterns},
    {.names = kMiniCpm5Names, .patterns = kMiniCpm5Patterns, .ignore_merges = true},
    {.names = kJais2Names, .patterns = kJais2Patterns},
    {.names = kYoutuNames, .patterns = kYoutuPatterns, .ignore_merges = true},
    {.names = kGemma4Names, .add_bos = true, .spelling = Spelling::kMarkedSpaces},
    {.names = kMarkedSpacesNames, .spelling = Spelling::kMarkedSpaces},
    {.names = kWhitespaceNames, .spelling = Spelling::kWords},
};

}  // namespace

std::span<const PreTokenizer> PreTokenizers() { return kPreTokenizers; }

Result<const PreTokenizer*> FindPreTokenizer(std::string_view name) {
  std::string known;
  for (const PreTokenizer& row : kPreTokenizers) {
    if (std::find(row.names.begin(), row.names.end(), name) != row.names.end()) {
      return &row;
    }
    for (const std::string_view one : row.names) {
      known += one.empty() ? "" : (known.empty() ? "" : ", ") + std::string(one);
    }
  }
  return MakeError(ErrorCode::kUnsupported,
                   fmt::format("tokenizer.ggml.pre '{}' is not served; known: {}", name, known));
}

Json StageOf(const PreTokenizer& pre_tokenizer) {
  if (pre_tokenizer.spelling == Spelling::kWords) {
    return {{"type", "WhitespaceSplit"}};
  }
  Json stages = Json::array();
  for (const std::string_view pattern : pre_tokenizer.patterns) {
    stages.push_back({{"type", "Split"},
                      {"pattern", {{"Regex", std::string(pattern)}}},
                      {"behavior", "Isolated"},
                      {"invert", false}});
  }
  if (pre_tokenizer.spelling == Spelling::kMarkedSpaces) {
    return stages.empty() ? Json() : Json{{"type", "Sequence"}, {"pretokenizers", std::move(stages)}};
  }
  stages.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", std::move(stages)}};
}

Json NormalizerOf(const PreTokenizer& pre_tokenizer) {
  if (pre_tokenizer.spelling == Spelling::kMarkedSpaces) {
    return ReplaceStage(" ", kSpaceMark);
  }
  return pre_tokenizer.compose ? Json{{"type", "NFC"}} : Json();
}

Json DecoderOf(const PreTokenizer& pre_tokenizer) {
  const Json bytes = {{"type", "ByteFallback"}};
  const Json fuse = {{"type", "Fuse"}};
  switch (pre_tokenizer.spelling) {
    case Spelling::kBytes:  // the decoder needs none of its fields, but the reference wants to see them
      return {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
    case Spelling::kMarkedSpaces:
      return {{"type", "Sequence"}, {"decoders", Json::array({ReplaceStage(kSpaceMark, " "), bytes, fuse})}};
    case Spelling::kWords: return {{"type", "Sequence"}, {"decoders", Json::array({bytes, fuse})}};
  }
  return {};
}

Json ReplaceStage(const char* from, const char* to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

}  // namespace causeway::model::gguf
