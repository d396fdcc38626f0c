// OpenAI's requests: every field's type, range and null; errors name the field; and the one table of statuses.
#include <string>

#include "fmt/format.h"
#include "server/api/json_fields.h"
#include "server/api/openai_request.h"
#include "server/api/status.h"
#include "tests/support/test_folder.h"
#include "tests/unit/server/app_fixture.h"

namespace causeway::server {
namespace {

class RequestTest : public AppTest {
 public:
  Result<CompletionRequest> Completion(std::string_view fields) {
    return DecodeCompletion(app(), fmt::format(R"({{"prompt":"a"{}{}}})", fields.empty() ? "" : ",", fields));
  }
  Result<CompletionRequest> Chat(std::string_view fields) {
    return DecodeChat(app(), fmt::format(R"({{"messages":[{{"role":"user","content":"a"}}]{}{}}})",
                                         fields.empty() ? "" : ",", fields));
  }
  static void ExpectBad(const Result<CompletionRequest>& result, const std::string& param) {
    ASSERT_FALSE(result.ok()) << param;
    EXPECT_EQ(result.error().param, param) << result.error().message;
    EXPECT_NE(StatusOf(result.error().code).http, 500);
  }
};

struct FieldCase {
  const char* field;
  const char* good;  // a JSON value that is taken
  std::vector<const char*> bad;
};

TEST_F(RequestTest, EveryFieldIsCheckedAndNullIsAbsent) {
  const FieldCase kCases[] = {
      {"temperature", "0.5", {"-1", "101", "\"1\"", "true", "[]"}},
      {"top_p", "1", {"-0.1", "1.1", "{}"}},
      {"top_k", "-1", {"-2", "1.5", "4294967296", "\"x\""}},
      {"min_p", "0", {"-1", "2"}},
      {"presence_penalty", "-2", {"-2.5", "3"}},
      {"frequency_penalty", "2", {"-2.5", "3"}},
      {"repetition_penalty", "1.1", {"0", "-1", "1e9"}},
      {"seed", "-9223372036854775808", {"9223372036854775808", "1.5", "\"1\""}},
      {"n", "8", {"0", "9", "-1", "1.0", "18446744073709551615"}},
      {"max_tokens", "0", {"-1", "1.5", "\"1\""}},
      {"min_tokens", "0", {"-1"}},
      {"prompt_logprobs", "5", {"-1", "6"}},
      {"ignore_eos", "true", {"1", "\"true\""}},
      {"include_stop_str_in_output", "true", {"1"}},
      {"skip_special_tokens", "false", {"0"}},
      {"return_token_ids", "true", {"0"}},
      {"priority", "-5", {"1.5", "\"high\""}},
      {"stop", "[\"a\",\"b\"]", {"1", "[1]", "{}"}},
      {"stop_token_ids", "[1]", {"1", "[\"a\"]", "[1.5]", "[9223372036854775808]"}},
      {"logit_bias", "{\"1\":-5}", {"[]", "{\"x\":1}", "{\"1\":\"a\"}", "{\"1 \":1}"}},
      {"model", "\"alias\"", {"\"other\"", "1"}},
      {"best_of", "1", {"2", "-1"}},
      {"response_format", "{\"type\":\"text\"}", {"{\"type\":\"json_object\"}", "\"text\"", "{}"}},
      {"stream_options", "null", {"{}"}},
      {"guided_json", "null", {"{}", "\"x\""}},
      {"structured_outputs", "null", {"{\"json\":{}}"}},
      {"use_beam_search", "false", {"true"}},
      {"bad_words", "[]", {"[\"x\"]"}},
  };
  for (const FieldCase& each : kCases) {
    SCOPED_TRACE(each.field);
    for (auto decode : {&RequestTest::Completion, &RequestTest::Chat}) {
      const auto with = [&](const char* value) {
        return (this->*decode)(fmt::format(R"("{}":{})", each.field, value));
      };
      EXPECT_TRUE(with(each.good).ok()) << each.good << ": " << with(each.good).error().message;
      EXPECT_TRUE(with("null").ok());
      for (const char* const value : each.bad) {
        SCOPED_TRACE(value);
        ExpectBad(with(value), each.field);
      }
    }
  }
}

TEST_F(RequestTest, ListsAreCountedBeforeTheyAreCopied) {
  std::string bias;
  for (int i = 0; i < 1025; ++i) {
    bias += fmt::format("{}\"{}\":1", i == 0 ? "" : ",", i);
  }
  ExpectBad(Completion("\"logit_bias\":{" + bias + "}"), "logit_bias");
  std::string ids = "1";
  for (int i = 0; i < 128; ++i) {
    ids += ",1";
  }
  ExpectBad(Completion("\"stop_token_ids\":[" + ids + "]"), "stop_token_ids");
  std::string stops = "\"x\"";
  for (int i = 0; i < 16; ++i) {
    stops += ",\"x\"";
  }
  ExpectBad(Completion("\"stop\":[" + stops + "]"), "stop");
}

TEST_F(RequestTest, ValuesArrive) {
  const auto request = Completion(
      R"("temperature":0.25,"top_k":7,"seed":-3,"n":2,"max_tokens":9,"stop":"x","logit_bias":{"12":-1.5},
         "logprobs":3,"echo":true,"stream":true,"stream_options":{"include_usage":true},"priority":1)");
  ASSERT_TRUE(request.ok()) << request.error().message;
  const SamplingFields& sampling = request->calls.at(0).sampling;
  EXPECT_EQ(sampling.temperature, 0.25);
  EXPECT_EQ(sampling.top_k, 7);
  EXPECT_EQ(sampling.seed, -3);
  EXPECT_EQ(sampling.n, 2);
  EXPECT_EQ(sampling.max_tokens, 9);
  EXPECT_EQ(sampling.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(sampling.logit_bias, (std::vector<std::pair<int64_t, double>>{{12, -1.5}}));
  EXPECT_EQ(sampling.logprobs, 3);
  EXPECT_EQ(sampling.prompt_logprobs, 3) << "echo with logprobs scores the prompt";
  EXPECT_TRUE(request->echo && request->wants_logprobs && !request->wants_prompt_logprobs);
  EXPECT_TRUE(request->stream.stream && request->stream.include_usage && !request->stream.continuous_usage);
  EXPECT_EQ(request->calls[0].priority, scheduler::Priority::kLow);
}

TEST_F(RequestTest, PromptForms) {
  const auto prompts = [&](const char* json) {
    return DecodeCompletion(app(), fmt::format(R"({{"prompt":{}}})", json));
  };
  EXPECT_EQ(prompts(R"("a")")->calls.size(), 1U);
  EXPECT_EQ(prompts(R"(["a","b"])")->calls.size(), 2U);
  EXPECT_EQ(prompts("[1,2,3]")->calls.size(), 1U);
  EXPECT_EQ(prompts("[[1],[2,3]]")->calls.size(), 2U);
  EXPECT_EQ(std::get<std::vector<int64_t>>(prompts("[[1],[2,3]]")->calls[1].prompt), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(prompts(R"(["a",[1]])")->calls.size(), 2U);
  for (const char* const bad : {"null", "[]", "[[]]", "7", "{}", "[null]", "[1.5]", "[1,\"a\"]", "[[1],[\"a\"]]",
                                "[9223372036854775808]", R"(["a","b","c","d"])"}) {
    SCOPED_TRACE(bad);
    ExpectBad(prompts(bad), "prompt");
  }
}

TEST_F(RequestTest, BestOfMayEqualN) {
  EXPECT_TRUE(Completion(R"("n":3,"best_of":3)").ok());
  ExpectBad(Completion(R"("n":3,"best_of":4)"), "best_of");
}

TEST_F(RequestTest, StreamOptionsNeedAStream) {
  EXPECT_TRUE(Completion(R"("stream":true,"stream_options":{"include_usage":null,"other":1})").ok());
  ExpectBad(Completion(R"("stream":true,"stream_options":[])"), "stream_options");
  ExpectBad(Completion(R"("stream":true,"stream_options":{"include_usage":1})"), "include_usage");
  ExpectBad(Completion(R"("stream":true,"prompt_logprobs":1)"), "prompt_logprobs");
}

TEST_F(RequestTest, ChatHasFieldsOfItsOwn) {
  EXPECT_EQ(Chat(R"("max_tokens":3,"max_completion_tokens":5)")->calls[0].sampling.max_tokens, 5);
  EXPECT_EQ(Chat(R"("logprobs":true,"top_logprobs":2)")->calls[0].sampling.logprobs, 2);
  EXPECT_EQ(Chat(R"("logprobs":true)")->calls[0].sampling.logprobs, 0);
  EXPECT_FALSE(Chat(R"("logprobs":false)")->calls[0].sampling.logprobs.has_value());
  ExpectBad(Chat(R"("top_logprobs":2)"), "top_logprobs");
  ExpectBad(Chat(R"("logprobs":true,"top_logprobs":6)"), "top_logprobs");
  ExpectBad(Chat(R"("logprobs":2)"), "logprobs");
  ExpectBad(Chat(R"("echo":true)"), "echo");
  ExpectBad(Chat(R"("chat_template":"x")"), "chat_template");
  ExpectBad(Chat(R"("continue_final_message":true,"add_generation_prompt":true)"), "continue_final_message");
}

TEST_F(RequestTest, ToolsNeedATemplateThatTakesThem) {
  const char* const tools = R"("tools":[{"type":"function","function":{"name":"f"}}])";
  ExpectBad(Chat(tools), "tools");
  EXPECT_TRUE(Chat(R"("tools":[])").ok());
  app().template_takes_tools = true;
  EXPECT_EQ(std::get<ChatPrompt>(Chat(tools)->calls[0].prompt).tools.size(), 1U);
  EXPECT_TRUE(
      std::get<ChatPrompt>(Chat(fmt::format(R"({},"tool_choice":"none")", tools))->calls[0].prompt).tools.is_null());
  ExpectBad(Chat(fmt::format(R"({},"tool_choice":"required")", tools)), "tool_choice");
  ExpectBad(Chat(R"("tools":[1,2,3])"), "tools");
}

TEST_F(RequestTest, MessagesAreShaped) {
  const auto messages = [&](const char* json) { return DecodeChat(app(), fmt::format(R"({{"messages":{}}})", json)); };
  for (const char* const bad :
       {"null", "[]", "{}", "\"x\"", "[1]", "[{}]", R"([{"role":1,"content":"a"}])", R"([{"role":"user","content":7}])",
        R"([{"role":"user","content":[{"type":"image_url","image_url":{}}]}])"}) {
    SCOPED_TRACE(bad);
    ExpectBad(messages(bad), "messages");
  }
  const auto parts =
      messages(R"([{"role":"user","name":null,"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}])");
  ASSERT_TRUE(parts.ok());
  EXPECT_EQ(std::get<ChatPrompt>(parts->calls[0].prompt).messages,
            OrderedJson::parse(R"([{"role":"user","content":"ab"}])"));
}

TEST_F(RequestTest, TokenizeAndDetokenize) {
  EXPECT_TRUE(DecodeTokenize(app(), R"({"prompt":"a"})").ok());
  EXPECT_TRUE(DecodeTokenize(app(), R"({"messages":[{"role":"user","content":"a"}]})").ok());
  EXPECT_EQ(DecodeTokenize(app(), "{}").error().param, "prompt");
  EXPECT_EQ(*DecodeDetokenize(app(), R"({"tokens":[1,2]})"), (std::vector<Token>{1, 2}));
  for (const char* const bad :
       {"{}", R"({"tokens":1})", R"({"tokens":[-1]})", R"({"tokens":[999999]})", R"({"tokens":["a"]})"}) {
    EXPECT_EQ(DecodeDetokenize(app(), bad).error().param, "tokens") << bad;
  }
}

TEST(JsonFieldsTest, TheFirstErrorSticks) {
  const OrderedJson json = OrderedJson::parse(R"({"a":1,"b":"x","c":null})");
  JsonFields fields(json);
  EXPECT_EQ(fields.Int("a", 0, 5), 1);
  EXPECT_EQ(fields.Find("c"), nullptr);
  EXPECT_FALSE(fields.Text("missing").has_value());
  EXPECT_TRUE(fields.Finish().ok());
  EXPECT_FALSE(fields.Flag("a").has_value());
  EXPECT_FALSE(fields.Number("b", 0, 1).has_value());
  EXPECT_EQ(fields.Finish().error().param, "a");
}

TEST(StatusTest, EveryCodeHasAStatusAndTheBodyHasFourKeys) {
  constexpr ErrorCode kCodes[] = {
      ErrorCode::kInvalidArgument,   ErrorCode::kNotFound,           ErrorCode::kTooLarge,
      ErrorCode::kContextLength,     ErrorCode::kUnauthenticated,    ErrorCode::kUnavailable,
      ErrorCode::kResourceExhausted, ErrorCode::kDeadlineExceeded,   ErrorCode::kCancelled,
      ErrorCode::kUnsupported,       ErrorCode::kFailedPrecondition, ErrorCode::kInternal};
  for (const ErrorCode code : kCodes) {
    const Status status = StatusOf(code);
    EXPECT_GE(status.http, 400);
    EXPECT_GT(status.grpc, 0);
    const OrderedJson body = OrderedJson::parse(ErrorBody(MakeError(code, "secret detail", "field")));
    EXPECT_EQ(body["error"].size(), 4U);
    EXPECT_EQ(body["error"]["message"] == "secret detail", code != ErrorCode::kInternal) << "logs only";
  }
  EXPECT_EQ(OrderedJson::parse(ErrorBody(MakeError(ErrorCode::kNotFound, "x", "model")))["error"]["code"],
            "model_not_found");
}

TEST(AdapterSpecTest, NamesAndPaths) {
  EXPECT_EQ(ParseAdapterSpec("a=/x/y=z")->path, "/x/y=z");
  EXPECT_EQ(ParseAdapterSpec(R"({"name":"a","path":"/x","base_model_name":"b"})")->name, "a");
  for (const char* const bad : {"", "a", "=x", "a=", "{", "{}", R"({"name":"a"})", R"({"name":"a","path":1})",
                                R"({"name":"a","path":"/x","rank":"8"})"}) {
    EXPECT_FALSE(ParseAdapterSpec(bad).ok()) << bad;
  }
}

TEST(AdapterSpecTest, NoPathLeadsOutOfTheFolder) {
  const TestFolder folder;
  folder.Write("in/x", "");
  std::filesystem::create_symlink("/", folder.path() + "/in/out");
  const std::string in = folder.path() + "/in";
  EXPECT_EQ(*PlaceInFolder("", "/any/where"), "/any/where");
  EXPECT_EQ(*PlaceInFolder(in, "x"), in + "/x");
  EXPECT_EQ(*PlaceInFolder(in + "/", in + "/x"), in + "/x");
  for (const char* const bad : {"..", "../in2", "x/../../y", "/etc", "out/etc"}) {
    EXPECT_FALSE(PlaceInFolder(in, bad).ok()) << bad;
  }
}

TEST(AdapterUseTest, CountsOncePerRequest) {
  const auto adapter = std::make_shared<const LoadedAdapter>();
  AdapterUse none{nullptr};
  none.Run();
  {
    AdapterUse first(adapter);
    AdapterUse second(adapter);
    EXPECT_EQ(adapter->waiting, 2);
    first.Run();
    first.Run();
    EXPECT_EQ(adapter->waiting, 1);
    EXPECT_EQ(adapter->running, 1);
    AdapterUse moved = std::move(first);
    second.End();
    EXPECT_EQ(adapter->waiting, 0);
    EXPECT_EQ(adapter->running, 1);
    EXPECT_EQ(adapter.use_count(), 2);
  }
  EXPECT_EQ(adapter->running, 0);
  EXPECT_EQ(adapter.use_count(), 1);
}

}  // namespace
}  // namespace causeway::server
