// The tokenizer, the chat template and the generation defaults inside a GGUF file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/gguf/reader.h"
#include "model/model.h"
#include "model/tokenizer/tokenizer.h"

namespace causeway::model::gguf {

// SentencePiece's model ("llama"), BPE ("gpt2", "gemma4", "whitespace") with its pre-tokenizer, or WordPiece ("bert").
// Null where the file has none
// ("no_vocab", "none", or no key). kUnsupported for other models and unknown pre-tokenizers, with the names known.
Result<std::unique_ptr<const Tokenizer>> ReadTokenizer(const File& file);

enum class Algorithm : uint8_t { kSentencePieces, kBpe, kWordPieces };

// tokenizer.ggml.token_type, as SentencePiece numbers them.
enum class TokenType : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// The lists that all kinds have, checked against each other; views of the file.
struct Vocabulary {
  std::vector<std::string_view> texts;
  std::vector<TokenType> types;
};

// What ReadTokenizer puts together.
struct TokenizerDescription {
  Algorithm algorithm = Algorithm::kBpe;
  Vocabulary vocabulary;
  std::optional<Token> unknown;
  // Of BPE.
  bool ignore_merges = false;
  bool byte_fallback = false;
  TokenizerParts parts;
};
// None where the file has no tokenizer; errors are those of ReadTokenizer.
Result<std::optional<TokenizerDescription>> DescribeTokenizer(const File& file);

// The template of tokenizer.chat_template, that for tools beside it, and the texts of the special tokens.
Result<ChatFormat> ReadChatFormat(const File& file);

// End tokens: those that keys name, and tokens whose text is known to end a turn, because files of chat models often
// name only the one that ends a document. Sampling: general.sampling.*.
Result<GenerationDefaults> ReadGeneration(const File& file);

}  // namespace causeway::model::gguf
