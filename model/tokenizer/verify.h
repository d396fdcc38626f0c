// Checks a tokenizer against recorded cases: one JSON object a line with text, ids, ids_special, decoded,
// decoded_skip.
#pragma once

#include <string_view>

#include "base/result.h"
#include "base/verify_report.h"

namespace causeway::model {

// Errors: an unreadable tokenizer or cases file. A wrong answer is a failed case, not an error.
Result<VerifyReport> VerifyTokenizer(std::string_view tokenizer_json, std::string_view cases_jsonl);

}  // namespace causeway::model
