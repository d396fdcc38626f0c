// The runner against a small real server on a loopback port, which answers as the path or the body
// tells it.
#include "server/cli/bench_serve/runner.h"

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

namespace causeway::server::bench {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

constexpr char kHeader[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

std::string Chunked(const std::string& text) {
  char size[16];
  const int length = std::snprintf(size, sizeof(size), "%zx\r\n", text.size());
  return std::string(size, static_cast<size_t>(length)) + text + "\r\n";
}

std::string Stream(int tokens) {
  std::string text = kHeader;
  for (int i = 0; i < tokens; ++i) {
    text += Chunked("data: {\"choices\":[{\"text\":\" w\",\"delta\":{\"content\":\"\"}}]}\n\n");
  }
  text +=
      Chunked("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":" + std::to_string(tokens) +
              "}}\n\n");
  return text + Chunked("data: [DONE]\n\n") + "0\r\n\r\n";
}

// Answers every request of every connection with `answer(body)`; a thread a connection.
class FakeServer {
 public:
  explicit FakeServer(std::function<std::string(const Json&)> answer)
      : answer_(std::move(answer)), acceptor_(io_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {
    thread_ = std::thread([this] { Accept(); });
  }

  ~FakeServer() {
    stopping_ = true;
    boost::system::error_code ignored;
    tcp::socket poke(io_);
    poke.connect(acceptor_.local_endpoint(), ignored);
    thread_.join();
    for (std::thread& thread : connections_) {
      thread.join();
    }
  }

  Target target() const { return {"127.0.0.1", std::to_string(acceptor_.local_endpoint().port()), "", ""}; }
  int peak() const { return peak_; }
  int accepted() const { return accepted_; }

 private:
  void Accept() {
    for (;;) {
      tcp::socket socket(io_);
      acceptor_.accept(socket);
      if (stopping_) {
        return;
      }
      ++accepted_;
      connections_.emplace_back([this, s = std::move(socket)]() mutable { Serve(s); });
    }
  }

  void Serve(tcp::socket& socket) {
    boost::beast::flat_buffer buffer;
    boost::system::error_code code;
    for (;;) {
      http::request<http::string_body> request;
      http::read(socket, buffer, request, code);
      if (code) {
        return;
      }
      const int now = ++active_;
      int peak = peak_;
      while (now > peak && !peak_.compare_exchange_weak(peak, now)) {
      }
      const std::string reply = answer_(Json::parse(request.body()));
      --active_;
      asio::write(socket, asio::buffer(reply), code);
      const bool cut_short =
          reply.find("chunked") != std::string::npos && reply.find("\r\n0\r\n\r\n") == std::string::npos;
      if (code || cut_short) {
        return;
      }
    }
  }

  std::function<std::string(const Json&)> answer_;
  asio::io_context io_;
  tcp::acceptor acceptor_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> active_{0}, peak_{0}, accepted_{0};
  std::thread thread_;
  std::vector<std::thread> connections_;
};

std::vector<RequestRecord> RunAgainst(const FakeServer& server, RunOptions options, const WorkloadOptions& work = {}) {
  options.target = server.target();
  options.model = "m";
  options.timeout = std::chrono::seconds(20);
  const auto workload = Workload::Make(work);
  EXPECT_TRUE(workload.ok());
  const auto records = Run(options, *workload, [](const Progress&) {});
  EXPECT_TRUE(records.ok());
  return records.ok() ? *records : std::vector<RequestRecord>{};
}

TEST(RunnerTest, CountsTokensAndChunksAndReusesConnections) {
  FakeServer server([](const Json& body) { return Stream(body["max_tokens"].get<int>()); });
  RunOptions options;
  options.num_prompts = 20;
  options.concurrency = 2;
  const auto records = RunAgainst(server, options);
  ASSERT_EQ(records.size(), 20U);
  for (const RequestRecord& record : records) {
    EXPECT_TRUE(record.ok()) << record.error_kind << ": " << record.error_message;
    EXPECT_EQ(record.output_tokens, 64);
    EXPECT_EQ(record.prompt_tokens, 3);
    EXPECT_EQ(record.gaps.size(), 63U);
    EXPECT_LE(record.start, record.first_text);
    EXPECT_LE(record.first_text, record.last_text);
    EXPECT_LE(record.last_text, record.end);
  }
  EXPECT_LE(server.accepted(), 3);  // two slots, and the probe that found the address
}

TEST(RunnerTest, KeepsTheConcurrencyAndReachesIt) {
  FakeServer server([](const Json&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    return Stream(1);
  });
  RunOptions options;
  options.num_prompts = 24;
  options.concurrency = 4;
  EXPECT_EQ(RunAgainst(server, options).size(), 24U);
  EXPECT_EQ(server.peak(), 4);
}

TEST(RunnerTest, FixedRateSendsOnTime) {
  FakeServer server([](const Json&) { return Stream(1); });
  RunOptions options;
  options.num_prompts = 11;
  options.request_rate = 50;
  options.arrivals = ArrivalKind::kFixed;
  const auto records = RunAgainst(server, options);
  ASSERT_EQ(records.size(), 11U);
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_GE(records[i].start, 0.02 * static_cast<double>(i));
  }
}

TEST(RunnerTest, EveryKindOfFailureIsNamed) {
  int turn = 0;
  FakeServer server([&turn](const Json&) -> std::string {
    switch (turn++) {
      case 0: return "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nfull";
      case 1:
        return std::string(kHeader) + Chunked("data: {\"error\":{\"message\":\"boom\"}}\n\n") +
               Chunked("data: [DONE]\n\n") + "0\r\n\r\n";
      case 2: return std::string(kHeader) + Chunked("data: {\"choices\":[]}\n\n") + "0\r\n\r\n";
      case 3: return std::string(kHeader) + Chunked("data: nonsense\n\n") + Chunked("data: [DONE]\n\n") + "0\r\n\r\n";
      case 4: return std::string(kHeader) + Chunked("data: {\"choices\":[{\"text\":\"a\"}]}\n\n");
      default: return Stream(2);
    }
  });
  RunOptions options;
  options.num_prompts = 6;
  options.concurrency = 1;
  const auto records = RunAgainst(server, options);
  std::vector<std::string> kinds;
  for (const RequestRecord& record : records) {
    kinds.push_back(record.error_kind);
  }
  EXPECT_THAT(kinds, testing::ElementsAre("http_429", "error_event", "truncated", "bad_stream", "broken", ""));
}

TEST(RunnerTest, TurnsCarryTheConversation) {
  std::vector<Json> bodies;
  FakeServer server([&bodies](const Json& body) {
    bodies.push_back(body);
    return Stream(2);
  });
  RunOptions options;
  options.num_prompts = 1;
  options.concurrency = 1;
  WorkloadOptions work;
  work.kind = WorkloadKind::kMultiTurn;
  work.turns = 3;
  EXPECT_EQ(RunAgainst(server, options, work).size(), 3U);
  ASSERT_EQ(bodies.size(), 3U);
  const std::string first = bodies[0]["prompt"];
  const std::string second = bodies[1]["prompt"];
  EXPECT_EQ(second.substr(0, first.size() + 4), first + " w w");

  bodies.clear();
  options.chat = true;
  EXPECT_EQ(RunAgainst(server, options, work).size(), 3U);
  ASSERT_EQ(bodies.size(), 3U);
  EXPECT_EQ(bodies[2]["messages"].size(), 5U);
  EXPECT_EQ(bodies[2]["messages"][1]["role"], "assistant");
  EXPECT_EQ(bodies[2]["messages"][1]["content"], " w w");
}

TEST(RunnerTest, NobodyThereIsOneClearError) {
  tcp::endpoint free_port;
  {
    asio::io_context io;
    free_port = tcp::acceptor(io, tcp::endpoint(asio::ip::address_v4::loopback(), 0)).local_endpoint();
  }
  RunOptions options;
  options.target = {"127.0.0.1", std::to_string(free_port.port()), "", ""};
  const auto workload = Workload::Make({});
  const auto records = bench::Run(options, *workload, [](const Progress&) {});
  ASSERT_FALSE(records.ok());
  EXPECT_NE(records.error().message.find("cannot reach 127.0.0.1"), std::string::npos);
}

TEST(ParseUrlTest, HostPortAndBasePath) {
  const auto url = ParseUrl("http://localhost:8000/v1/");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->host, "localhost");
  EXPECT_EQ(url->port, "8000");
  EXPECT_EQ(url->base_path, "");
  EXPECT_EQ(ParseUrl("http://h/proxy/v1")->base_path, "/proxy");
  EXPECT_EQ(ParseUrl("http://h")->port, "80");
  EXPECT_EQ(ParseUrl("http://[::1]:9")->host, "::1");
  for (const char* text :
       {"", "localhost:8000", "https://h", "http://", "http://:80", "http://h:x", "http://h:123456"}) {
    EXPECT_FALSE(ParseUrl(text).ok()) << text;
  }
}

}  // namespace
}  // namespace causeway::server::bench
