// TCP with a time limit on every wait.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace autoglm {

// Owns one file descriptor.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.Release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { Close(); }
  int get() const { return fd_; }
  int Release();
  void Close();

 private:
  int fd_;
};

// All of these throw std::runtime_error on failure, on a closed peer and when time runs out.
Fd Listen(const std::string& host, int port, int port_end, int* bound_port);
Fd Connect(const std::string& host, int port, int timeout_s);
void SetTimeout(int fd, int seconds);  // for each later send and receive; 0: wait for ever
void NoticeLostPeer(int fd);           // fail after a minute without a sign of life
std::string PeerOf(int fd);            // its address, for messages
void SendAll(int fd, const void* data, size_t size);
void RecvAll(int fd, void* data, size_t size);
// A length (int32, the byte order of both ends) and as many bytes.
void SendString(int fd, const std::string& text);
std::string RecvString(int fd, int32_t max_size);

}  // namespace autoglm
