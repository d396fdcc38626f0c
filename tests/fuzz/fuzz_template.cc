// A chat template, and after a NUL byte the JSON values that it renders: an error or a text within the
// limits, and every byte of the text is one that some piece owns.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "server/template/template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace causeway;  // NOLINT: one function
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t cut = std::min(text.find('\0'), text.size());
  server::TemplateLimits limits;  // small, so that a run tries many templates
  limits.max_steps = 200'000;
  limits.max_loop_iterations = 20'000;
  limits.max_output_bytes = size_t{1} << 20;
  const auto chat = server::ChatTemplate::Parse(text.substr(0, cut), limits);
  if (!chat.ok()) {
    CHECK(!chat.error().message.empty());
    return 0;
  }
  server::TemplateContext context;
  const auto values = ParseOrderedJson(
      cut < text.size() ? text.substr(cut + 1)
                        : R"({"messages":[{"role":"user","content":"h\u00e9 <s>"}],"add_generation_prompt":true,)"
                          R"("bos_token":"<s>","tools":null})");
  if (values.ok() && values->is_object()) {
    context.values = *values;
  }
  context.trusted_names = {"bos_token"};
  const auto pieces = chat->Render(context);
  if (pieces.ok()) {
    size_t bytes = 0;
    for (const server::TemplatePiece& piece : *pieces) {
      bytes += piece.text.size();
    }
    CHECK(bytes <= limits.max_output_bytes);
  }
  return 0;
}
