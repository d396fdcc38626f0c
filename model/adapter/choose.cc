// PEFT's rules of which modules an adapter is for, and with which rank and alpha.
#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "fmt/format.h"
#include "model/adapter/config.h"
#include "model/tokenizer/regex.h"

namespace causeway::model::adapter {
namespace {

using tokenizer::Regex;

Error Bad(const std::string& message) {
  return MakeError(ErrorCode::kInvalidArgument, "adapter_config.json: " + message);
}

// An expression of the configuration, by the field that holds it.
class Expression {
 public:
  static Result<Expression> Compile(const char* field, const std::string& text, const std::string& pattern) {
    auto regex = Regex::Compile(pattern);
    if (!regex.ok()) {
      return Bad(fmt::format("{} '{}' is no regular expression: {}", field, text, regex.error().message));
    }
    return Expression(field, text, std::move(regex).value());
  }

  Result<bool> Matches(const std::string& name) {
    if (const auto done = regex_.FindAll(name, matches_); !done.ok()) {
      return Bad(fmt::format("{} '{}' is too much work: {}", field_, text_, done.error().message));
    }
    return !matches_.empty();
  }

 private:
  Expression(const char* field, std::string text, Regex regex)
      : field_(field), text_(std::move(text)), regex_(std::move(regex)) {}

  const char* field_;
  std::string text_;
  Regex regex_;
  std::vector<tokenizer::Match> matches_;
};

bool EndsSo(const std::string& name, const std::string& end) {
  return name == end || (name.size() > end.size() && name.ends_with(end) && name[name.size() - end.size() - 1] == '.');
}

// One flag a module.
Result<std::vector<bool>> MatchNames(const char* field, const Config::Names& names,
                                     std::span<const std::string> modules, bool must_match) {
  std::vector<bool> matched(modules.size());
  for (const std::string& end : names.ends) {
    bool any = false;
    for (size_t i = 0; i < modules.size(); ++i) {
      if (EndsSo(modules[i], end)) {
        matched[i] = true;
        any = true;
      }
    }
    if (!any && must_match) {
      return Bad(fmt::format("{} '{}' matches nothing in this model", field, end));
    }
  }
  if (names.expression) {
    ASSIGN_OR_RETURN(Expression expression,
                     Expression::Compile(field, *names.expression, "\\A(?:" + *names.expression + ")\\z"));
    for (size_t i = 0; i < modules.size(); ++i) {
      ASSIGN_OR_RETURN(const bool one, expression.Matches(modules[i]));
      matched[i] = one;
    }
    if (must_match && std::find(matched.begin(), matched.end(), true) == matched.end()) {
      return Bad(fmt::format("{} '{}' matches nothing in this model", field, *names.expression));
    }
  }
  return matched;
}

// "model.layers.12.mlp.up_proj" -> 12: the first number between dots whose front a pattern matches, or that has two
// names before it where there are no patterns; -1: none.
Result<int64_t> LayerOf(const std::string& module, std::vector<Expression>& patterns, bool any_front) {
  size_t names = 0;
  for (size_t begin = 0; begin < module.size(); ++names) {
    const size_t end = module.find('.', begin);
    if (end == std::string::npos) {
      break;  // a number that ends the name is none
    }
    const std::string_view part = std::string_view(module).substr(begin, end - begin);
    const bool digits = !part.empty() && part.size() <= 7 &&
                        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    bool front = any_front && names >= 2;
    for (size_t i = 0; digits && names > 0 && !front && i < patterns.size(); ++i) {
      ASSIGN_OR_RETURN(front, patterns[i].Matches(module.substr(0, begin - 1)));
    }
    if (digits && front) {
      return std::stoll(std::string(part));
    }
    begin = end + 1;
  }
  return -1;
}

// Takes away the targets of other layers, but for those that are named in full.
Result<void> KeepLayers(const Config& config, std::span<const std::string> modules, std::vector<bool>& chosen) {
  if (config.layers.empty() || config.all_linear) {  // which stands for all their full names
    return {};
  }
  std::vector<Expression> patterns;
  for (const std::string& pattern : config.layer_patterns) {
    ASSIGN_OR_RETURN(Expression expression,
                     Expression::Compile("layers_pattern", pattern, "\\A(?:.*\\.)?(?:" + pattern + ")\\z"));
    patterns.push_back(std::move(expression));
  }
  const std::set<std::string> in_full(config.targets.ends.begin(), config.targets.ends.end());
  const std::set<int64_t> wanted(config.layers.begin(), config.layers.end());
  std::set<int64_t> missing = wanted;
  bool asked = false;
  for (size_t i = 0; i < modules.size(); ++i) {
    if (!chosen[i] || in_full.contains(modules[i])) {
      continue;
    }
    ASSIGN_OR_RETURN(const int64_t layer, LayerOf(modules[i], patterns, patterns.empty()));
    missing.erase(layer);
    chosen[i] = wanted.contains(layer);
    asked = true;
  }
  if (asked && !missing.empty()) {
    return Bad(fmt::format("layers_to_transform {} matches nothing in this model", *missing.begin()));
  }
  return {};
}

// The value of the first pattern that matches each module's end; none: `otherwise`. A pattern that matches nothing is
// no error: the adapter was trained with the very same rule.
Result<std::vector<double>> ValuesOf(const char* field, const std::vector<Config::Pattern>& patterns, double otherwise,
                                     std::span<const std::string> modules, const std::vector<bool>& chosen) {
  std::vector<double> values(modules.size(), otherwise);
  std::vector<bool> found(modules.size());
  for (const Config::Pattern& pattern : patterns) {
    ASSIGN_OR_RETURN(Expression expression,
                     Expression::Compile(field, pattern.expression, "\\A(?:.*\\.)?(?:" + pattern.expression + ")\\z"));
    for (size_t i = 0; i < modules.size(); ++i) {
      if (!chosen[i] || found[i]) {
        continue;
      }
      ASSIGN_OR_RETURN(const bool matches, expression.Matches(modules[i]));
      if (matches) {
        found[i] = true;
        values[i] = pattern.value;
      }
    }
  }
  return values;
}

}  // namespace

Result<std::vector<Choice>> ChooseModules(const Config& config, std::span<const std::string> modules,
                                          std::string_view head) {
  std::vector<bool> chosen(modules.size());
  if (config.all_linear) {
    std::transform(modules.begin(), modules.end(), chosen.begin(),
                   [&](const std::string& name) { return name != head; });
  } else {
    ASSIGN_OR_RETURN(chosen, MatchNames("target_modules", config.targets, modules, true));
  }
  ASSIGN_OR_RETURN(const std::vector<bool> excluded, MatchNames("exclude_modules", config.excluded, modules, false));
  for (size_t i = 0; i < modules.size(); ++i) {
    chosen[i] = chosen[i] && !excluded[i];
  }
  TRY(KeepLayers(config, modules, chosen));
  const auto rank = static_cast<double>(config.rank);
  ASSIGN_OR_RETURN(const auto ranks, ValuesOf("rank_pattern", config.rank_patterns, rank, modules, chosen));
  ASSIGN_OR_RETURN(const auto alphas, ValuesOf("alpha_pattern", config.alpha_patterns, config.alpha, modules, chosen));
  std::vector<Choice> choices;
  for (size_t i = 0; i < modules.size(); ++i) {
    if (chosen[i]) {
      const double divisor = config.rank_stabilized ? std::sqrt(ranks[i]) : ranks[i];
      choices.push_back({i, static_cast<int64_t>(ranks[i]), alphas[i] / divisor});
    }
  }
  if (choices.empty()) {
    return Bad("target_modules without exclude_modules match nothing in this model");
  }
  return choices;
}

}  // namespace causeway::model::adapter
