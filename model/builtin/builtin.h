// The built-in model's files, and its evaluation data, as they lie in the binary.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace causeway::model {

// Empty if there is no such file. Names: those of a Hugging Face folder, eval/valid.txt,
// eval/retrieval.jsonl.
std::span<const std::byte> BuiltinFile(std::string_view name);

}  // namespace causeway::model
