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
constexpr std::string_view kBloom = " ?[^(\\s|.,!?…。，、।۔،)]+";
// o200k_base: words end where a capital follows a small letter.
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?)" CAUSEWAY_UPPER "*" CAUSEWAY_LOWER "+" CAUSEWAY_CONTRACTIONS
    R"(?|[^\r\n\p{L}\p{N}]?)" CAUSEWAY_UPPER "+" CAUSEWAY_LOWER "*" CAUSEWAY_CONTRACTIONS
    R"(?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+)" CAUSEWAY_SPACES;
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?)" CAUSEWAY_UPPER "*" CAUSEWAY_LOWER R"(+|[^\r\n\p{L}\p{N}]?)" CAUSEWAY_UPPER
    "+" CAUSEWAY_LOWER R"(*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+)" CAUSEWAY_SPACES;

constexpr std::string_view kGpt2Names[] = {"gpt-2",       "phi-2",          "jina-es",  "jina-de",    "gigachat",
                                           "jina-v2-es",  "jina-v2-de",     "a.x-4.0",  "mellum",     "modern-bert",
                                           "exaone4",     "jais",           "trillion", "jina-v1-en", "jina-v2-code",
                                           "roberta-bpe", "granite-docling"};
constexpr std::string_view kGpt2Patterns[] = {kGpt2};
constexpr std::string_view kLlama3Names[] = {"llama3",  "llama-v3", "llama-bpe", "falcon3",     "falcon-h1",
                                             "pixtral", "midm-2.0", "lfm2",      "jina-v5-nano"};
constexpr std::string_view kLlama3Patterns[] = {kLlama3};
constexpr std::string_view kDbrxNames[] = {"dbrx", "smaug-bpe", "chatglm-bpe"};
constexpr std::string_view kGlmNames[] = {"glm4", "glm5"};
constexpr std::string_view kQwen2Names[] = {"deepseek-r1-qwen", "kormo",  "f2llmv2", "hunyuan",
                                            "solar-open",       "megrez", "grok-2"};
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
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-"
    "Ἕἠ-"
    "ὅὈ-"
    "Ὅὐ-"
    "ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝ"
    "ℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-"
    "𐓻𐲀-"
    "𐲲𐳀-"
    "𐳲𑢠-"
    "𑣟𞤀-𞥃]+",
    "\\s?[!-/:-~！-／：-～‘-‟　-。]+",
    R"(\s+$)",
    "[一-龥ࠀ-一가-퟿]+",
    R"(\p{N}+)"};
constexpr std::string_view kDeepSeek3Names[] = {"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"};
constexpr std::string_view kDeepSeek3Patterns[] = {kThreeDigits, kHanAndKana, kDeepSeek3};
constexpr std::string_view kBloomNames[] = {"bloom", "poro-chat", "gpt3-finnish"};
constexpr std::string_view kBloomPatterns[] = {kBloom};
constexpr std::string_view kVikingNames[] = {"viking"};
constexpr std::string_view kVikingPatterns[] = {kBloom, kDigit};
constexpr std::string_view kTekkenNames[] = {"tekken"};
constexpr std::string_view kTekkenPatterns[] = {kTekken};
constexpr std::string_view kGpt4oNames[] = {"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"};
constexpr std::string_view kGpt4oPatterns[] = {kGpt4o};
constexpr std::string_view kGraniteMultiNames[] = {"granite-embed-multi-97m"};
constexpr std::string_view kAyaNames[] = {"tiny_aya", "cohere2moe"};
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
    {kDefaultNames, kDefaultPatterns},
    {kGpt2Names, kGpt2Patterns},
    {kLlama3Names, kLlama3Patterns, true, true},
    {kDbrxNames, kLlama3Patterns},
    {kGlmNames, kLlama3Patterns, true},
    {kNeoXNames, kGpt2Patterns, false, false, true},
    {kQwen2Names, kQwen2Patterns},
    {kQwen2ComposedNames, kQwen2Patterns, false, false, true},
    {kQwen35Names, kQwen35Patterns, false, false, true},
    {kDigitsNames, kDigitsPatterns},
    {kFalconNames, kFalconPatterns},
    {kDeepSeekCoderNames, kDeepSeekCoderPatterns},
    {kDeepSeekLlmNames, kDeepSeekLlmPatterns},
    {kDeepSeek3Names, kDeepSeek3Patterns},
    {kBloomNames, kBloomPatterns},
    {kVikingNames, kVikingPatterns},
    {kTekkenNames, kTekkenPatterns, true, true},
    {kGpt4oNames, kGpt4oPatterns},
    {kGraniteMultiNames, kGpt4oPatterns, true},
    {kAyaNames, kAyaPatterns},
    {kChameleonNames, kChameleonPatterns, false, true},
    {kBailingNames, kBailingPatterns},
    {kSeedNames, kSeedPatterns},
    {kUfakzekaNames, kUfakzekaPatterns},
    {kLagunaNames, kLagunaPatterns},
    {kExaoneMoeNames, kExaoneMoePatterns},
    {kMiniCpm5Names, kMiniCpm5Patterns, true},
    {kJais2Names, kJais2Patterns},
    {kYoutuNames, kYoutuPatterns, true},
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
  Json stages = Json::array();
  for (const std::string_view pattern : pre_tokenizer.patterns) {
    stages.push_back({{"type", "Split"},
                      {"pattern", {{"Regex", std::string(pattern)}}},
                      {"behavior", "Isolated"},
                      {"invert", false}});
  }
  stages.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}});
  return {{"type", "Sequence"}, {"pretokenizers", std::move(stages)}};
}

Json NormalizerOf(const PreTokenizer& pre_tokenizer) { return pre_tokenizer.compose ? Json{{"type", "NFC"}} : Json(); }

}  // namespace causeway::model::gguf
