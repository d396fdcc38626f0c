#include "server/http/http_server.h"

#include <thread>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>

#include "base/log.h"
#include "fmt/format.h"
#include "server/http/connections.h"
#include "server/http/session.h"
#include "server/metrics/metrics.h"

namespace causeway::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr int64_t kMaxRefusing = 128;  // connections over the limit that still get an answer

}  // namespace

struct HttpServer::Impl {
  Impl(App& app_ref, int threads) : app(app_ref), connections(app_ref), io(threads), acceptor(asio::make_strand(io)) {}

  Result<void> Listen(const HttpOptions& options) {
    boost::system::error_code error;
    const auto address = asio::ip::make_address(options.host == "localhost" ? "127.0.0.1" : options.host, error);
    if (error) {
      return MakeError(ErrorCode::kInvalidArgument,
                       fmt::format("--host {} is no IP address: {}", options.host, error.message()), "host");
    }
    const tcp::endpoint endpoint(address, options.port);
    acceptor.open(endpoint.protocol(), error);
    if (!error) {
      acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    }
    if (!error) {
      acceptor.bind(endpoint, error);
    }
    if (!error) {
      acceptor.listen(1024, error);
    }
    if (error) {
      return MakeError(ErrorCode::kFailedPrecondition,
                       fmt::format("cannot listen on {} port {}: {}", options.host, options.port, error.message()),
                       "port");
    }
    port = acceptor.local_endpoint().port();
    return {};
  }

  void Accept() {
    acceptor.async_accept(asio::make_strand(io), [this](boost::system::error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted || !acceptor.is_open()) {
        return;
      }
      if (error) {  // out of descriptors, say: not a reason to stop listening, nor to spin
        LOG_WARNING("accept: {}", error.message());
        retry.expires_after(std::chrono::milliseconds(100));
        return retry.async_wait([this](boost::system::error_code) { Accept(); });
      }
      Welcome(std::move(socket));
      Accept();
    });
  }

  void Welcome(tcp::socket socket) {
    const int64_t over = connections.size() - app.server_limits.max_connections;
    if (over < 0) {
      return Session::Make(connections, std::move(socket))->Run();
    }
    app.metrics.CountRejected("too_many_connections");
    LOG_WARNING("refused a connection: {} are open", connections.size());
    if (over < kMaxRefusing) {
      Session::Make(connections, std::move(socket))->RunRefusing();
    }
  }

  void WaitForSessions(Duration longest) const {
    const Instant deadline = Clock::now() + longest;
    while (connections.size() > 0 && Clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  App& app;
  Connections connections;
  asio::io_context io;
  tcp::acceptor acceptor;  // on a strand of its own, as is
  asio::steady_timer retry{acceptor.get_executor()};
  uint16_t port = 0;
  std::vector<std::thread> threads;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { Stop(Duration::zero()); }

Result<std::unique_ptr<HttpServer>> HttpServer::Start(App& app, const HttpOptions& options) {
  auto impl = std::make_unique<Impl>(app, options.io_threads);
  TRY(impl->Listen(options));
  impl->Accept();
  for (int i = 0; i < options.io_threads; ++i) {
    impl->threads.emplace_back([io = &impl->io] { io->run(); });
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));  // NOLINT: private constructor
}

uint16_t HttpServer::port() const { return impl_->port; }

void HttpServer::StopAccepting() {
  asio::post(impl_->acceptor.get_executor(), [this] {
    boost::system::error_code ignored;
    impl_->acceptor.close(ignored);
    impl_->retry.cancel();
  });
  for (const auto& session : impl_->connections.All()) {
    session->CloseWhenIdle();
  }
}

void HttpServer::Stop(Duration grace) {
  if (impl_->threads.empty()) {
    return;
  }
  StopAccepting();
  impl_->WaitForSessions(grace);
  for (const auto& session : impl_->connections.All()) {
    session->Abort();
  }
  // Aborted sessions end by themselves; what is left after a moment is cut off.
  impl_->WaitForSessions(std::chrono::seconds(2));
  impl_->io.stop();
  for (std::thread& thread : impl_->threads) {
    thread.join();
  }
  impl_->threads.clear();
}

}  // namespace causeway::server
