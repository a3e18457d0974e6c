#include "sockets.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace autoglm {

namespace {

[[noreturn]] void Fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

using AddressList = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

AddressList Resolve(const std::string& host, int port) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) throw std::runtime_error("address '" + host + "': " + gai_strerror(error));
  return AddressList(found, freeaddrinfo);
}

Fd NewSocket(const addrinfo& address) {
  Fd fd(socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, address.ai_protocol));
  if (fd.get() < 0) Fail("socket");
  return fd;
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = other.Release();
  }
  return *this;
}

int Fd::Release() {
  int fd = fd_;
  fd_ = -1;
  return fd;
}

void Fd::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Fd Listen(const std::string& host, int port, int port_end, int* bound_port) {
  for (int p = port; p < port_end; ++p) {
    AddressList address = Resolve(host, p);
    Fd fd = NewSocket(*address);
    int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd.get(), address->ai_addr, address->ai_addrlen) == 0 && listen(fd.get(), 4) == 0) {
      *bound_port = p;
      return fd;
    }
    if (errno != EADDRINUSE) Fail("cannot listen on " + host + ":" + std::to_string(p));
  }
  throw std::runtime_error("no free port on " + host + " from " + std::to_string(port) + " to " +
                           std::to_string(port_end - 1));
}

Fd Connect(const std::string& host, int port, int timeout_s) {
  AddressList address = Resolve(host, port);
  Fd fd = NewSocket(*address);
  SetTimeout(fd.get(), timeout_s);  // Linux applies the send limit to connect, too
  if (connect(fd.get(), address->ai_addr, address->ai_addrlen) != 0) {
    Fail("cannot connect to " + host + ":" + std::to_string(port));
  }
  return fd;
}

void SetTimeout(int fd, int seconds) {
  timeval limit = {};
  limit.tv_sec = seconds;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

void NoticeLostPeer(int fd) {
  const int on = 1, idle_s = 30, between_s = 10, probes = 3;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between_s, sizeof(between_s));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

std::string PeerOf(int fd) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (getpeername(fd, generic, &size) != 0 ||
      getnameinfo(generic, size, host, sizeof(host), port, sizeof(port),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "an unknown client";
  }
  return std::string(host) + ":" + port;
}

void SendAll(int fd, const void* data, size_t size) {
  const char* from = static_cast<const char*>(data);
  while (size > 0) {
    ssize_t n = send(fd, from, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) Fail("send");
    from += n;
    size -= static_cast<size_t>(n);
  }
}

void RecvAll(int fd, void* data, size_t size) {
  char* to = static_cast<char*>(data);
  while (size > 0) {
    ssize_t n = recv(fd, to, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) throw std::runtime_error("the peer closed the connection");
    if (n < 0) Fail("receive");
    to += n;
    size -= static_cast<size_t>(n);
  }
}

void SendString(int fd, const std::string& text) {
  int32_t size = static_cast<int32_t>(text.size());
  SendAll(fd, &size, sizeof(size));
  SendAll(fd, text.data(), text.size());
}

std::string RecvString(int fd, int32_t max_size) {
  int32_t size = 0;
  RecvAll(fd, &size, sizeof(size));
  if (size < 0 || size > max_size) throw std::runtime_error("a message of impossible length");
  std::string text(static_cast<size_t>(size), '\0');
  RecvAll(fd, text.data(), text.size());
  return text;
}

}  // namespace autoglm
