// One connection. Internal to server/http.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "server/http/connections.h"
#include "server/http/exchange.h"

namespace causeway::server {

// Lives while an operation on its socket is pending or an exchange is under way. Everything but Wake runs on the
// connection's strand. Phases: kIdle (no byte of a request yet) -> kHeader -> kBody -> kAnswer -> kIdle, or kLinger, or
// closed. A read stays armed while an answer is made, so that a client that vanishes is seen at once. Only one deadline
// holds at a time: that of the write under way, else that of the phase.
class Session final : public Responder, public std::enable_shared_from_this<Session> {
 public:
  static std::shared_ptr<Session> Make(Connections& connections, boost::asio::ip::tcp::socket socket);
  ~Session() override;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void Run();
  // Answers 503 to whatever comes, and closes: there are too many connections.
  void RunRefusing();
  // Closes now if idle, else when the answer is out.
  void CloseWhenIdle();
  void Abort();

  // Responder
  void Send(HttpResponse response) override;
  void StartEvents() override;
  void Event(std::string_view data) override;
  void EndEvents() override;
  void Wake() noexcept override;

 private:
  enum class Phase : uint8_t { kIdle, kHeader, kBody, kAnswer, kLinger };
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;

  Session(Connections& connections, boost::asio::ip::tcp::socket socket);

  // Reading
  void NextRequest();
  void ReadBytes();
  void OnBytes(boost::beast::error_code error, size_t bytes);
  void ReadHeader();
  void OnHeader(boost::beast::error_code error);
  void ReadBody();
  void OnBody(boost::beast::error_code error);
  void OnReadError(boost::beast::error_code error);
  void BeginAnswer();
  void Dispatch();
  void SendOptions(const std::string& path);
  void Fail(const Error& error, int status);
  // Answering
  std::string Head(int status, std::string_view content_type) const;
  void Queue(std::string bytes);
  void WriteNext();
  void OnWritten(boost::beast::error_code error, size_t bytes);
  void FinishAnswer();
  void Linger();
  void DropBody();
  void Close();
  // Time
  void SetDeadline(Duration duration);
  void ClearDeadline() { deadline_ = kNever; }
  void WaitForDeadline();
  void OnDeadline();

  Connections& connections_;
  App& app_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  Instant timer_at_ = kNever;  // when the pending wait ends; kNever: none is pending
  Instant deadline_ = kNever;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::unique_ptr<Exchange> exchange_;
  std::shared_ptr<Session> alive_;  // itself, while an exchange is under way
  std::deque<std::string> outbox_;  // the front is being written
  size_t written_ = 0;              // bytes of the front
  size_t outbox_bytes_ = 0;
  int64_t body_bytes_ = 0;  // held from connections_
  std::atomic<bool> wake_posted_{false};
  // Of the request that is being read or answered.
  std::string method_;  // a metrics label
  std::string path_;
  std::string route_name_;
  std::string request_id_;
  Instant arrival_;
  memory::TenantId tenant_ = memory::kDefaultTenant;
  int status_ = 0;
  size_t answer_bytes_ = 0;
  bool keep_alive_ = true;
  bool head_only_ = false;
  bool chunked_ = true;           // the client knows chunks: HTTP/1.1
  bool answer_complete_ = false;  // all of it is in the outbox

  Phase phase_ = Phase::kIdle;
  bool reading_ = false;  // ReadBytes is pending
  bool closing_ = false;  // no further request
  bool closed_ = false;
};

}  // namespace causeway::server
