// Where a model folder keeps its chat templates and special tokens.
#pragma once

#include "base/result.h"
#include "model/files.h"
#include "model/model.h"

namespace causeway::model {

// The template is that of chat_template.jinja, else chat_template.json, else tokenizer_config.json, where it is a text
// or a list of named ones: "default", and "tool_use" for conversations with tools. Special tokens are those of
// tokenizer_config.json, else special_tokens_map.json. All of these files may be missing.
Result<ChatFormat> ReadChatFormat(ModelFiles& files);

}  // namespace causeway::model
