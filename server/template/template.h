// Chat templates: the Jinja2 that published templates are written in, rendered as the transformers library
// does (trim_blocks, lstrip_blocks, loop controls, an immutable sandbox).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "server/template/limits.h"

namespace causeway::server {

// A run of the rendered text. Untrusted bytes came from the client; the tokenizer never makes a special
// token of them.
struct TemplatePiece {
  std::string text;
  bool trusted = false;
};

struct TemplateContext {
  OrderedJson values = OrderedJson::object();  // messages, tools, bos_token, add_generation_prompt, ...
  std::vector<std::string> trusted_names;      // top-level values that the server wrote (bos_token, ...)
  int64_t now_unix_seconds = 0;                // for strftime_now
};

// Immutable but for UseForTools, so safe from any thread once it is set up.
class ChatTemplate {
 public:
  // kInvalidArgument with the line for a syntax error, kUnsupported for inheritance and imports.
  static Result<ChatTemplate> Parse(std::string_view source, const TemplateLimits& limits = {});
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // Renders conversations with tools by another template, for models that come with two.
  void UseForTools(ChatTemplate other);

  // kInvalidArgument with the template's own words where it calls raise_exception, and for every error of
  // evaluation. A message's role is trusted if it is one of the roles that everyone knows.
  Result<std::vector<TemplatePiece>> Render(const TemplateContext& context) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
  std::unique_ptr<const Impl> tool_impl_;  // null: one for all
};

}  // namespace causeway::server
