#include <gtest/gtest.h>

#include "server/template/template.h"

namespace causeway::server {
namespace {

std::string Render(const char* source, const char* values = "{}") {
  const auto chat = ChatTemplate::Parse(source);
  if (!chat.ok()) {
    return "parse: " + chat.error().message;
  }
  TemplateContext context;
  context.values = OrderedJson::parse(values);
  const auto pieces = chat->Render(context);
  if (!pieces.ok()) {
    return "error: " + pieces.error().message;
  }
  std::string text;
  for (const TemplatePiece& piece : *pieces) {
    text += piece.text;
  }
  return text;
}

struct Case {
  const char* source;
  const char* expected;  // as Jinja2 3.1 renders it
};

TEST(TemplateRenderTest, Language) {
  const Case cases[] = {
      {"{{ 1 + 2 * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ 2 ** 10 }} {{ 1 / 2 }}", "7 3 -4 1 1024 0.5"},
      {"{{ 'a' ~ 1 ~ true ~ none }}", "a1TrueNone"},
      {"{{ [1, 'x', 2.0, {'k': none}] }}", "[1, 'x', 2.0, {'k': None}]"},
      {"{% for i in range(3) %}{{ loop.index }}{% if not loop.last %},{% endif %}{% endfor %}", "1,2,3"},
      {"{% set ns = namespace(n=0) %}{% for i in [1,2,3] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "6"},
      {"{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}", "a=1;b=2;"},
      {"{% macro f(x, y='d') %}[{{ x }}{{ y }}]{% endmacro %}{{ f('a') }}{{ f('b', y='c') }}", "[ad][bc]"},
      {"{{ 'abc'[1:] }}{{ 'abc'[::-1] }}{{ [1,2,3][-1] }}", "bccba3"},
      {"{{ undefined_name }}|{{ undefined_name is defined }}|{{ x | default('d') }}", "|False|d"},
      {"{{ 1 < 2 < 3 }} {{ 'a' in 'abc' }} {{ 2 not in [1] }}", "True True True"},
      {"{{ ['b','a'] | sort | join('-') }} {{ 'x y' | title }} {{ [1,2] | length }}", "a-b X Y 2"},
      {"{{ {'b': 1, 'a': [true]} | tojson }}", R"({"b": 1, "a": [true]})"},
      {"{%- if false %}x{% elif true %}y{% else %}z{% endif -%}  ", "y"},
      {"{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}", "013"},
      {"  {# gone #}\n{% if true %}\nline\n{% endif %}\n", "line\n"},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(Render(one.source), one.expected) << one.source;
  }
}

TEST(TemplateRenderTest, RaiseExceptionGivesTheTemplatesOwnWords) {
  EXPECT_EQ(Render("{{ raise_exception('roles must alternate') }}"), "error: roles must alternate");
}

TEST(TemplateRenderTest, LimitsEndWhatWouldNotEnd) {
  for (const char* source :
       {"{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ 'x' * 1000000000000 }}",
        "{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"}) {
    EXPECT_TRUE(Render(source).starts_with("error: ")) << source;
  }
  EXPECT_TRUE(Render(("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}").c_str())
                  .starts_with("parse: "));
}

TEST(TemplateRenderTest, SyntaxErrorsNameTheLine) {
  EXPECT_NE(Render("a\n{% if %}").find("line 2"), std::string::npos);
  EXPECT_TRUE(Render("{{ 'open }}").starts_with("parse: "));
  EXPECT_TRUE(Render("{% include 'x' %}").starts_with("parse: "));
}

}  // namespace
}  // namespace causeway::server
