// Preloaded into arm64 programs of the simulated phone: 127.0.0.1 is the phone's own address, so that
// phone and computer can have the same ports, as they can in life.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

typedef int (*Call)(int, const struct sockaddr*, socklen_t);

static int Redirected(Call real, int fd, const struct sockaddr* address, socklen_t size) {
  struct sockaddr_in own;
  if (address->sa_family == AF_INET && size >= sizeof(own)) {
    memcpy(&own, address, sizeof(own));
    if (own.sin_addr.s_addr == htonl(INADDR_LOOPBACK)) {
      own.sin_addr.s_addr = inet_addr(getenv("PHONE_ADDRESS"));
      return real(fd, (const struct sockaddr*)&own, sizeof(own));
    }
  }
  return real(fd, address, size);
}

int bind(int fd, const struct sockaddr* address, socklen_t size) {
  return Redirected((Call)dlsym(RTLD_NEXT, "bind"), fd, address, size);
}

int connect(int fd, const struct sockaddr* address, socklen_t size) {
  return Redirected((Call)dlsym(RTLD_NEXT, "connect"), fd, address, size);
}
