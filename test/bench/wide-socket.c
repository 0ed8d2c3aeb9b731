// To be preloaded: sockets with room for 8 MB. perfdhcp stands for thousands of machines, each of which would have a
// buffer of its own; what its one socket drops, no server has lost.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>

int socket(int domain, int type, int protocol) {
  static int (*real)(int, int, int);
  if (!real) real = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
  int fd = real(domain, type, protocol), bytes = 8 << 20;
  if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  return fd;
}
