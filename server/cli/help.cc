#include "server/cli/help.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include "fmt/format.h"
#include "fmt/ranges.h"

#include "server/config/environment.h"
#include "server/config/nearest.h"

namespace causeway::server {
namespace {

constexpr size_t kNameColumns = 30;

std::string Placeholder(const std::string& type) {
  if (type == "INT" || type == "UINT") {
    return "N";
  }
  return type == "FLOAT" ? "X" : type;
}

// "INT:INT in [0 - 1024]" to what stands behind the name and what is added to the description.
struct TypeHelp {
  std::string placeholder;
  std::string range;
};
TypeHelp DescribeType(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t colon = std::min(type.find(':'), type.size());
  TypeHelp help{Placeholder(type.substr(0, colon)), {}};
  const std::string check = type.substr(std::min(colon + 1, type.size()));
  if (check.size() > 2 && check.front() == '{') {  // IsMember: {a,b}
    help.placeholder = check.substr(1, check.size() - 2);
    std::replace(help.placeholder.begin(), help.placeholder.end(), ',', '|');
  } else if (const size_t bracket = check.find('['); bracket != std::string::npos) {  // Range: [a - b]
    std::string bounds = check.substr(bracket + 1, check.find(']') - bracket - 1);
    const size_t dash = bounds.find(" - ");
    help.range = dash == std::string::npos ? bounds : bounds.replace(dash, 3, " to ");
  }
  return help;
}

class HelpFormatter final : public CLI::Formatter {
 public:
  explicit HelpFormatter(size_t width) : width_(width) {
    column_width(kNameColumns);
    label("Positionals", "Arguments");
    label("SUBCOMMAND", "COMMAND");
  }

  std::string make_option(const CLI::Option* option, bool is_positional) const override {
    const TypeHelp type = DescribeType(*option);
    const bool takes_value = option->get_type_size() != 0;
    std::string name = is_positional ? option->get_name(true, false) : Names(*option);
    if (takes_value && !is_positional) {
      name += " " + type.placeholder;
    }
    std::string text = option->get_description();
    if (is_positional && !option->get_lnames().empty()) {
      text = "The same as --" + option->get_lnames().front();
    } else if (takes_value) {
      text += type.range.empty() ? "" : fmt::format(" ({})", type.range);
      const std::string fallback = option->get_default_str();
      text += fallback.empty() ? "" : fmt::format(" [{}]", Unbracketed(fallback));
    }
    return Row(name, text);
  }

  std::string make_subcommand(const CLI::App* command) const override {
    return Row(command->get_display_name(true), command->get_description());
  }

  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override {
    std::string text = CLI::Formatter::make_help(app, std::move(name), mode);
    for (size_t at = 0; (at = text.find("\n\n\n", at)) != std::string::npos;) {
      text.erase(at, 1);
    }
    text.erase(text.find_last_not_of('\n') + 1);
    return text + "\n";
  }

 private:
  static std::string Unbracketed(const std::string& text) {  // CLI11 shows the default of a list as [1,4]
    return text.size() > 2 && text.front() == '[' ? text.substr(1, text.size() - 2) : text;
  }

  static std::string Names(const CLI::Option& option) {
    std::vector<std::string> names;
    for (const std::string& name : option.get_snames()) {
      names.push_back("-" + name);
    }
    for (const std::string& name : option.get_lnames()) {
      names.push_back("--" + name);
    }
    const bool is_switch = !option.get_fnames().empty();
    return fmt::format("{}", fmt::join(names, is_switch ? " / " : ", "));
  }

  std::string Row(const std::string& name, const std::string& text) const {
    std::string row = "  " + name;
    if (row.size() + 2 > kNameColumns && !text.empty()) {
      row += '\n' + std::string(kNameColumns, ' ');
    } else {
      row.resize(std::max(kNameColumns, row.size()), ' ');
    }
    return row + WrapText(text, kNameColumns, width_) + '\n';
  }

  const size_t width_;
};

// The innermost command that was named, and its full name.
const CLI::App& Innermost(const CLI::App& root, std::string& name) {
  const CLI::App* command = &root;
  name = root.get_name();
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    name += " " + command->get_name();
  }
  return *command;
}

std::vector<std::string> CommandNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* const one : command.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(one->get_name());
  }
  return names;
}

std::vector<std::string> FlagNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* const option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      names.push_back("--" + name);
    }
  }
  return names;
}

std::string Suggestion(const std::string& given, const std::vector<std::string>& known) {
  const std::vector<std::string_view> views(known.begin(), known.end());
  const std::string_view near = NearestName(given, views);
  return near.empty() ? "" : fmt::format("; is it {}?", near);
}

// What is wrong, for the command that was named.
std::string Complaint(const CLI::App& root, const CLI::App& command, const CLI::ParseError& error) {
  const std::vector<std::string> left = root.remaining(true);
  const std::vector<std::string> commands = CommandNames(command);
  // Not by the error's name: CLI11 calls this one after the command.
  const bool extras = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError);
  if (extras || (error.get_name() == "RequiredError" && !left.empty())) {
    for (const std::string& one : left) {
      if (one.starts_with('-')) {
        const std::string flag = one.substr(0, one.find('='));
        return fmt::format("unknown option {}{}", flag, Suggestion(flag, FlagNames(command)));
      }
    }
    if (!left.empty() && !commands.empty()) {
      return fmt::format("unknown command '{}'{}", left.front(), Suggestion(left.front(), commands));
    }
    if (extras && !left.empty()) {
      return fmt::format("unexpected argument '{}'", left.front());
    }
  }
  if (error.get_name() == "RequiredError" && !commands.empty()) {
    return fmt::format("a command is missing: {}", fmt::join(commands, ", "));
  }
  std::string text = error.what();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace

std::string WrapText(const std::string& text, size_t indent, size_t width) {
  const size_t columns = std::max<size_t>(width, indent + 20) - indent;
  std::string out;
  size_t used = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    const size_t size = end - at;
    if (used > 0 && used + 1 + size > columns) {
      out += '\n' + std::string(indent, ' ');
      used = 0;
    }
    out += used > 0 ? " " : "";
    out.append(text, at, size);
    used += size + (used > 0 ? 1 : 0);
    at = end + 1;
  }
  return out;
}

void SetUpHelp(CLI::App& root) { root.formatter(std::make_shared<HelpFormatter>(StdoutColumns())); }

ParseEnd DescribeParseEnd(const CLI::App& root, const CLI::ParseError& error) {
  std::string name;
  const CLI::App& command = Innermost(root, name);
  if (error.get_name() == "CallForVersion") {
    return {fmt::format("{}\n", error.what()), 0};
  }
  if (error.get_exit_code() == 0) {
    const bool all = error.get_name() == "CallForAllHelp";
    return {root.help("", all ? CLI::AppFormatMode::All : CLI::AppFormatMode::Normal), 0};
  }
  return {fmt::format("{}: {} (see {} --help)\n", name, Complaint(root, command, error), name), 2};
}

}  // namespace causeway::server
