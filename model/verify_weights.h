// Checks dequantized weights and containers against golden.json, beside the logits that verify.h checks.
#pragma once

#include <string>

#include "base/json.h"
#include "base/result.h"
#include "base/verify_report.h"
#include "model/checkpoint.h"
#include "model/tokenizer/tokenizer.h"

namespace causeway::model {

// `dequant_sha256` of golden.json: for each tensor, by the name in its file, the SHA-256 of all its values as
// little-endian float32, in the file's order of rows. Equal bit for bit, or the case fails with the names.
Result<VerifyCase> VerifyDequantized(const Json& golden, const Checkpoint& checkpoint);

// `tokenize` of golden.json: texts and their ids without the begin-of-text token.
Result<VerifyCase> VerifyTexts(const Json& golden, const Tokenizer& tokenizer);

// A golden.json that only says of files in its folder "must load" or "must be refused": one case a file.
bool IsAboutFiles(const Json& golden);
Result<VerifyReport> VerifyFiles(const Json& golden, const std::string& folder);

}  // namespace causeway::model
