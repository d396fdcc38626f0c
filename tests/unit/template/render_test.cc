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
      {"{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% "
       "endfor %}",
       "013"},
      {"  {# gone #}\n{% if true %}\nline\n{% endif %}\n", "line\n"},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(Render(one.source), one.expected) << one.source;
  }
}

// Constructs that published templates lean on, each as Jinja2 3.1 renders it in the sandbox that chats use.
TEST(TemplateRenderTest, Corners) {
  const Case cases[] = {
      {"{% macro o(x) %}[{{ caller(x) }}]{% endmacro %}{% call(v) o(3) %}v={{ v }}{% endcall %}", "[v=3]"},
      {"{% macro m(a, b='x') %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, k=6) }}",
       "12(3,){'k': 6}"},
      {"{% set b %}a {{ 1 }}{% endset %}{{ b }}{% set u | upper %}x{% endset %}{{ u }}", "a 1X"},
      {"{% for x in [[1, 2], 3] recursive %}[{% if x is iterable %}{{ loop(x) }}{% else %}{{ loop.depth }}{% endif %}]"
       "{% endfor %}",
       "[[2][2]][1]"},
      {"{% for i in range(3) %}{% for j in range(3) %}{% if j == 1 %}{% break %}{% endif %}{{ i }}{{ j }}{% endfor %}"
       "{% if i == 1 %}{% continue %}{% endif %}-{% endfor %}",
       "00-1020-"},
      {"{% for i in [3, 1] %}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.revindex0 }};{% "
       "endfor %}",
       "1a1;3b0;"},
      {"{% set x = 1 %}{% for i in [1] %}{% set x = 3 %}{{ x }}{% endfor %}{{ x }}", "31"},
      {"{{ 'a</t>b'.split('</t>')[-1] }}{{ 'Straße'.casefold() }}{{ 'ab'[5:] }}{{ 'abc'[::-2] }}", "bstrasseca"},
      {"{{ [{'n': 'a', 'g': 1}, {'n': 'b', 'g': 2}] | selectattr('g', 'gt', 1) | map(attribute='n') | list }}",
       "['b']"},
      {"{{ '<é>' | tojson }}{{ {'b': [1, {}]} | tojson(indent=1) }}", "\"<é>\"{\n \"b\": [\n  1,\n  {}\n ]\n}"},
      {"a\n  {%- if true %} b {% endif -%}\n  c\n    {%+ if true %}d{% endif +%}\ne", "a b c\n    d\ne"},
      {"{{ '%s-%05.1f' % ('x', 2.25) }} {{ '{:>3}|{a!r}'.format(1, a='q') }}", "x-002.2   1|'q'"},
      {"{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 1 if false }}|{{ not 1 == 2 }}", "64 4 |True"},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(Render(one.source), one.expected) << one.source;
  }
}

TEST(TemplateRenderTest, ASecondTemplateRendersConversationsWithTools) {
  auto chat = ChatTemplate::Parse("plain").value();
  chat.UseForTools(ChatTemplate::Parse("tools {{ tools | length }}").value());
  const auto render = [&](const char* values) {
    TemplateContext context;
    context.values = OrderedJson::parse(values);
    return chat.Render(context).value().front().text;
  };
  EXPECT_EQ(render(R"({"tools": [{}, {}]})"), "tools 2");
  for (const char* const without : {"{}", R"({"tools": null})", R"({"tools": []})"}) {
    EXPECT_EQ(render(without), "plain") << without;
  }
}

TEST(TemplateRenderTest, RaiseExceptionGivesTheTemplatesOwnWords) {
  EXPECT_EQ(Render("{{ raise_exception('roles must alternate') }}"), "error: roles must alternate");
}

TEST(TemplateRenderTest, LimitsEndWhatWouldNotEnd) {
  for (const char* source : {"{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
                             "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ 'x' * 1000000000000 }}",
                             "{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(64) %}{% set ns.s = ns.s "
                             "~ ns.s %}{% endfor %}"}) {
    EXPECT_TRUE(Render(source).starts_with("error: ")) << source;
  }
  EXPECT_TRUE(
      Render(("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}").c_str()).starts_with("parse: "));
}

TEST(TemplateRenderTest, SourcesThatAreNotUtf8AreRefused) {
  for (const char* source : {"{% f\xeb", "{{ a.b[-\xfe\x31:] }}", "\xff", "{{ '\xed\xa0\x80' }}"}) {
    EXPECT_EQ(Render(source), "parse: the chat template is not valid UTF-8") << source;
  }
}

TEST(TemplateRenderTest, SyntaxErrorsNameTheLine) {
  EXPECT_NE(Render("a\n{% if %}").find("line 2"), std::string::npos);
  EXPECT_TRUE(Render("{{ 'open }}").starts_with("parse: "));
  EXPECT_TRUE(Render("{% include 'x' %}").starts_with("parse: "));
}

}  // namespace
}  // namespace causeway::server
