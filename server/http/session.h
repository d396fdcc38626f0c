// One connection. Internal to server/http.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "server/api/app.h"
#include "server/http/exchange.h"

namespace causeway::server {

// Lives while an operation on its socket is pending. Everything but Wake runs on the connection's strand.
// A read stays armed while an answer is made, so that a client that vanishes is seen at once.
class Session final : public Responder, public std::enable_shared_from_this<Session> {
 public:
  Session(App& app, boost::asio::ip::tcp::socket socket, std::atomic<int64_t>& connections);
  ~Session() override;

  void Run();
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
  void ReadRequest();
  void ReadBody();
  void OnRequest(boost::beast::error_code error);
  void OnReadError(boost::beast::error_code error);
  bool Authorized() const;
  void Dispatch();
  void WatchForClose();
  void Queue(std::string bytes);
  void WriteNext();
  void OnWritten(boost::beast::error_code error);
  void FinishAnswer();
  void Fail(const Error& error, int status);
  std::string Head(int status, std::string_view content_type) const;
  void Close();

  App& app_;
  boost::beast::tcp_stream stream_;
  std::atomic<int64_t>& connections_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<boost::beast::http::string_body>> parser_;
  std::unique_ptr<Exchange> exchange_;
  std::deque<std::string> outbox_;   // the front is being written
  size_t outbox_bytes_ = 0;
  std::atomic<bool> wake_posted_{false};
  std::string method_;
  std::string route_name_;
  std::string request_id_;
  Instant arrival_;
  int status_ = 0;
  bool keep_alive_ = true;
  bool answering_ = false;           // between a request and the end of its answer
  bool answer_complete_ = false;     // all of it is in the outbox
  bool watching_ = false;            // a read is armed while answering
  bool closing_ = false;             // no further request
  bool closed_ = false;
  bool head_only_ = false;
};

}  // namespace causeway::server
