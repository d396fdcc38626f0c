#include "base/json.h"

#include <string>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

namespace causeway {
namespace {

constexpr size_t kMaxSearched = 200'000'000;  // about a second

// Counts depth and nodes in front of nlohmann's DOM builder; the first fault stops the parse.
template <typename J>
class LimitedBuilder : public nlohmann::json_sax<J> {
 public:
  using number_integer_t = typename J::number_integer_t;
  using number_unsigned_t = typename J::number_unsigned_t;
  using number_float_t = typename J::number_float_t;
  using string_t = typename J::string_t;
  using binary_t = typename J::binary_t;

  LimitedBuilder(J& root, const JsonLimits& limits) : builder_(root, false), limits_(limits) {}

  bool null() override { return Node() && builder_.null(); }
  bool boolean(bool v) override { return Node() && builder_.boolean(v); }
  bool number_integer(number_integer_t v) override { return Node() && builder_.number_integer(v); }
  bool number_unsigned(number_unsigned_t v) override { return Node() && builder_.number_unsigned(v); }
  bool number_float(number_float_t v, const string_t& s) override { return Node() && builder_.number_float(v, s); }
  bool string(string_t& v) override { return Node() && builder_.string(v); }
  bool binary(binary_t& v) override { return Node() && builder_.binary(v); }
  bool start_object(size_t n) override {
    objects_.emplace_back();
    return Enter() && builder_.start_object(n);
  }
  bool key(string_t& v) override { return Node() && Key(v) && builder_.key(v); }
  bool end_object() override {
    objects_.pop_back();
    return Leave() && builder_.end_object();
  }
  bool start_array(size_t n) override { return Enter() && builder_.start_array(n); }
  bool end_array() override { return Leave() && builder_.end_array(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    error_ = "byte " + std::to_string(position) + ": " + Reason(e.what());
    return false;
  }

  const std::string& error() const { return error_; }

 private:
  // nlohmann's text is "[json.exception.x.N] reason"; the reason is what a person needs.
  static std::string Reason(std::string_view what) {
    const size_t end = what.find("] ");
    return std::string(end == std::string_view::npos ? what : what.substr(end + 2));
  }
  bool Node() {
    if (++nodes_ > limits_.max_nodes) {
      error_ = "more than " + std::to_string(limits_.max_nodes) + " values";
      return false;
    }
    return true;
  }
  bool Key(const string_t& name) {
    Object& object = objects_.back();
    searched_ += object.keys++;
    if (std::is_same_v<J, OrderedJson> && searched_ > kMaxSearched) {
      error_ = "objects of too many keys";
      return false;
    }
    if (limits_.unique_keys && !object.names.insert(name).second) {
      error_ = "the key '" + name.substr(0, 200) + "' stands twice in one object";
      return false;
    }
    return true;
  }
  bool Enter() {
    if (++depth_ > limits_.max_depth) {
      error_ = "nested deeper than " + std::to_string(limits_.max_depth) + " levels";
      return false;
    }
    return Node();
  }
  bool Leave() {
    --depth_;
    return true;
  }

  nlohmann::detail::json_sax_dom_parser<J> builder_;
  const JsonLimits limits_;
  size_t depth_ = 0;
  size_t nodes_ = 0;
  struct Object {
    size_t keys = 0;
    std::unordered_set<std::string> names;  // only for unique_keys
  };
  std::vector<Object> objects_;  // those under construction
  size_t searched_ = 0;          // keys compared while finding each key's place in an ordered object
  std::string error_;
};

template <typename J>
Result<J> Parse(std::string_view text, const JsonLimits& limits) {
  J root;
  LimitedBuilder<J> builder(root, limits);
  if (!J::sax_parse(text.begin(), text.end(), &builder)) {
    return MakeError(ErrorCode::kInvalidArgument, "invalid JSON: " + builder.error());
  }
  return root;
}

template <typename J>
std::string Dump(const J& value) {
  return value.dump(-1, ' ', false, J::error_handler_t::replace);
}

}  // namespace

Result<Json> ParseJson(std::string_view text, const JsonLimits& limits) { return Parse<Json>(text, limits); }
Result<OrderedJson> ParseOrderedJson(std::string_view text, const JsonLimits& limits) {
  return Parse<OrderedJson>(text, limits);
}
std::string DumpJson(const Json& value) { return Dump(value); }
std::string DumpJson(const OrderedJson& value) { return Dump(value); }

}  // namespace causeway
