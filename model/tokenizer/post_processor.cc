#include "model/tokenizer/post_processor.h"

#include "model/tokenizer/stage_json.h"
#include "model/tokenizer/stages.h"

namespace causeway::model::tokenizer {
namespace {

Error Bad(const char* what) { return MakeError(ErrorCode::kInvalidArgument, std::string("post_processor: ") + what); }

// ["<s>", 0], as BERT and RoBERTa write their two.
Result<Token> IdOfPair(const Json& json, const char* name) {
  const auto it = json.find(name);
  if (it == json.end() || !it->is_array() || it->size() != 2 || !(*it)[1].is_number_unsigned() ||
      (*it)[1].get<uint64_t>() > INT32_MAX) {
    return Bad("no token and id for sep or cls");
  }
  return (*it)[1].get<Token>();
}

// The ids that a template's special token stands for.
Result<std::vector<Token>> IdsOfSpecial(const Json& json, const std::string& name) {
  const auto specials = json.find("special_tokens");
  if (specials == json.end() || !specials->is_object() || !specials->contains(name)) {
    return Bad("a template uses a special token that it does not define");
  }
  const Json& special = (*specials)[name];
  if (!special.is_object() || !special.contains("ids") || !special["ids"].is_array()) {
    return Bad("a special token has no ids");
  }
  std::vector<Token> ids;
  for (const Json& id : special["ids"]) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX) {
      return Bad("a special token's id is no number");
    }
    ids.push_back(id.get<Token>());
  }
  return ids;
}

}  // namespace

Result<PostProcessor> PostProcessor::FromJson(const Json& json) {
  PostProcessor post;
  if (!json.is_null()) {
    TRY(post.Read(json, 0));
  }
  return post;
}

Result<void> PostProcessor::Read(const Json& json, int depth) {
  const std::string type = StageType(json);
  if (type == "Sequence") {
    const auto it = json.find("processors");
    if (it == json.end() || !it->is_array() || depth >= kMaxStageDepth) {
      return Bad("Sequence: no list, or nested too deep");
    }
    for (const Json& part : *it) {
      TRY(Read(part, depth + 1));
    }
    return {};
  }
  if (type == "ByteLevel") {
    return {};
  }
  if (type == "TemplateProcessing") {
    return ReadTemplate(json);
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    return ReadPair(json);
  }
  return MakeError(ErrorCode::kUnsupported,
                   "post-processor '" + type +
                       "' is not served; known: Sequence, ByteLevel, TemplateProcessing, BertProcessing, "
                       "RobertaProcessing");
}

Result<void> PostProcessor::ReadTemplate(const Json& json) {
  const auto single = json.find("single");
  if (single == json.end() || !single->is_array()) {
    return Bad("TemplateProcessing: no single template");
  }
  std::vector<Token> before;
  std::vector<Token> behind;
  bool seen = false;
  for (const Json& item : *single) {
    if (item.is_object() && item.contains("Sequence")) {
      if (seen) {
        return MakeError(ErrorCode::kUnsupported, "post_processor: a template that repeats the text");
      }
      seen = true;
      continue;
    }
    if (!item.is_object() || !item.contains("SpecialToken") || !item["SpecialToken"].is_object() ||
        !item["SpecialToken"].contains("id") || !item["SpecialToken"]["id"].is_string()) {
      return Bad("TemplateProcessing: an item is neither a sequence nor a special token");
    }
    ASSIGN_OR_RETURN(const auto ids, IdsOfSpecial(json, item["SpecialToken"]["id"].get<std::string>()));
    std::vector<Token>& side = seen ? behind : before;
    side.insert(side.end(), ids.begin(), ids.end());
  }
  // A later processor of a sequence wraps what the earlier ones made.
  before_.insert(before_.begin(), before.begin(), before.end());
  behind_.insert(behind_.end(), behind.begin(), behind.end());
  return {};
}

Result<void> PostProcessor::ReadPair(const Json& json) {
  ASSIGN_OR_RETURN(const Token cls, IdOfPair(json, "cls"));
  ASSIGN_OR_RETURN(const Token sep, IdOfPair(json, "sep"));
  before_.insert(before_.begin(), cls);
  behind_.push_back(sep);
  return {};
}

void PostProcessor::Apply(std::vector<Token>& ids) const {
  ids.insert(ids.begin(), before_.begin(), before_.end());
  ids.insert(ids.end(), behind_.begin(), behind_.end());
}

}  // namespace causeway::model::tokenizer
