// How `--help` and wrong usage look.
#pragma once

#include <string>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace causeway::server {

// Help of this command and those added to it later: wrapped to the terminal, ranges and defaults in brackets
// behind the description, `--name / --no-name` for switches.
void SetUpHelp(CLI::App& root);

// What to print for a parse that ended early.
struct ParseEnd {
  std::string text;
  int exit_code = 0;  // 0: help or version, for standard output; 2: one line for standard error
};
ParseEnd DescribeParseEnd(const CLI::App& root, const CLI::ParseError& error);

// `text` broken at spaces into lines of at most `width` columns, all but the first behind `indent` spaces.
std::string WrapText(const std::string& text, size_t indent, size_t width);

}  // namespace causeway::server
