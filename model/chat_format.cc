#include "model/chat_format.h"

#include <string>
#include <utility>

#include "base/json.h"

namespace causeway::model {
namespace {

// An empty object where there is no such file.
Result<Json> ReadObject(ModelFiles& files, const char* name) {
  if (!files.Has(name)) {
    return Json::object();
  }
  return ReadJsonObject(files, name);
}

std::string TextAt(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

// A special token is written as a string or as an object with a content.
std::string TokenContent(const Json& json, const char* name) {
  const auto it = json.find(name);
  return it != json.end() && it->is_object() ? TextAt(*it, "content") : TextAt(json, name);
}

void TakeTemplates(const Json& json, ChatFormat& chat) {
  const auto it = json.find("chat_template");
  if (it == json.end()) {
    return;
  }
  if (it->is_string()) {
    chat.template_source = it->get<std::string>();
  } else if (it->is_array()) {
    for (const Json& entry : *it) {
      if (!entry.is_object()) {
        continue;
      }
      const std::string name = TextAt(entry, "name");
      if (name == "default") {
        chat.template_source = TextAt(entry, "template");
      } else if (name == "tool_use") {
        chat.tool_template_source = TextAt(entry, "template");
      }
    }
  }
}

}  // namespace

Result<ChatFormat> ReadChatFormat(ModelFiles& files) {
  ChatFormat chat;
  ASSIGN_OR_RETURN(const Json config, ReadObject(files, "tokenizer_config.json"));
  ASSIGN_OR_RETURN(const Json map, ReadObject(files, "special_tokens_map.json"));
  const std::pair<const char*, std::string*> tokens[] = {{"bos_token", &chat.bos_token},
                                                         {"eos_token", &chat.eos_token},
                                                         {"pad_token", &chat.pad_token},
                                                         {"unk_token", &chat.unk_token}};
  for (const auto& [name, content] : tokens) {
    *content = TokenContent(config.contains(name) ? config : map, name);
  }
  TakeTemplates(config, chat);
  ASSIGN_OR_RETURN(const Json own, ReadObject(files, "chat_template.json"));
  TakeTemplates(own, chat);
  if (files.Has("chat_template.jinja")) {
    ASSIGN_OR_RETURN(const auto bytes, files.Open("chat_template.jinja"));
    chat.template_source = std::string(AsText(bytes));
  }
  return chat;
}

}  // namespace causeway::model
