// Which chat template of a model folder is taken.
#include "model/chat_format.h"

#include <cstdint>
#include <map>

#include <gtest/gtest.h>

namespace causeway::model {
namespace {

class MemoryFiles final : public ModelFiles {
 public:
  explicit MemoryFiles(std::map<std::string, std::string, std::less<>> files) : files_(std::move(files)) {}
  Result<std::span<const std::byte>> Open(std::string_view name) override {
    return std::as_bytes(std::span(files_.find(name)->second));
  }
  bool Has(std::string_view name) const override { return files_.contains(name); }
  std::string path() const override { return {}; }

 private:
  std::map<std::string, std::string, std::less<>> files_;
};

Result<ChatFormat> Read(std::map<std::string, std::string, std::less<>> texts) {
  MemoryFiles files(std::move(texts));
  return ReadChatFormat(files);
}

TEST(ChatFormatTest, TemplatesAreFoundInOrder) {
  const std::string config = R"({"chat_template": "in config", "bos_token": {"content": "<s>"}, "eos_token": "</s>"})";
  EXPECT_EQ(Read({{"tokenizer_config.json", config}})->template_source, "in config");
  EXPECT_EQ(Read({{"tokenizer_config.json", config}})->bos_token, "<s>");
  EXPECT_EQ(Read({{"tokenizer_config.json", config}})->eos_token, "</s>");
  const std::string own = R"({"chat_template": "of its own"})";
  EXPECT_EQ(Read({{"tokenizer_config.json", config}, {"chat_template.json", own}})->template_source, "of its own");
  EXPECT_EQ(Read({{"chat_template.json", own}, {"chat_template.jinja", "jinja"}})->template_source, "jinja");
  EXPECT_EQ(Read({})->template_source, "");
}

TEST(ChatFormatTest, AListHasOneForToolsToo) {
  const auto chat =
      Read({{"tokenizer_config.json",
             R"({"chat_template": [{"name": "rag", "template": "r"}, {"name": "tool_use", "template": "t"},
                               {"name": "default", "template": "d"}, 7, {"name": 1}]})"}});
  EXPECT_EQ(chat->template_source, "d");
  EXPECT_EQ(chat->tool_template_source, "t");
}

TEST(ChatFormatTest, SpecialTokensMayStandInTheirOwnFile) {
  const auto chat = Read({{"tokenizer_config.json", R"({"eos_token": null})"},
                          {"special_tokens_map.json", R"({"bos_token": "<b>", "eos_token": "<e>"})"}});
  EXPECT_EQ(chat->bos_token, "<b>");
  EXPECT_EQ(chat->eos_token, "");  // null in the first file says that there is none
}

TEST(ChatFormatTest, BrokenFilesAreNamed) {
  const auto broken = Read({{"chat_template.json", "{"}});
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.error().message.find("chat_template.json"), 0U) << broken.error().message;
  EXPECT_FALSE(Read({{"tokenizer_config.json", "[]"}}).ok());
}

}  // namespace
}  // namespace causeway::model
