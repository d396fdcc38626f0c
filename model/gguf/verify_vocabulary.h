// Checks a vocabulary against the texts and ids that llama.cpp publishes beside it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "base/verify_report.h"

namespace causeway::model::gguf {

// `texts`: the contents of NAME.gguf.inp, texts separated by lines that say __ggml_vocab_test__. `ids`: those of
// NAME.gguf.out, a line of ids for each text, without special tokens around it. One case a text.
Result<VerifyReport> VerifyVocabulary(const std::string& path, std::string_view texts, std::string_view ids);

}  // namespace causeway::model::gguf
