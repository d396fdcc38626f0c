// The tokenizer, the chat template and the generation defaults inside a GGUF file.
#pragma once

#include <memory>

#include "base/result.h"
#include "model/gguf/reader.h"
#include "model/model.h"
#include "model/tokenizer/tokenizer.h"

namespace causeway::model::gguf {

// SentencePiece's model ("llama"), BPE ("gpt2", "gemma4", "whitespace") with its pre-tokenizer, or WordPiece ("bert").
// Null where the file has none
// ("no_vocab", "none", or no key). kUnsupported for other models and unknown pre-tokenizers, with the names known.
Result<std::unique_ptr<const Tokenizer>> ReadTokenizer(const File& file);

// The template of tokenizer.chat_template, that for tools beside it, and the texts of the special tokens.
Result<ChatFormat> ReadChatFormat(const File& file);

// End tokens: those that keys name, and tokens whose text is known to end a turn, because files of chat models often
// name only the one that ends a document. Sampling: general.sampling.*.
Result<GenerationDefaults> ReadGeneration(const File& file);

}  // namespace causeway::model::gguf
