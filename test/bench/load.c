// A rack that is switched on: N machines in one process, each of which goes through the same steps one after the other,
// all of them beginning at once. In C, so that the client is not what is measured. Prints one line of JSON.
//   load DEVICE SERVER CLIENTS SECONDS STEP...
//     dhcp                          DISCOVER, OFFER, REQUEST, ACK by broadcast; each retry waits 1, 2, 4, 8, 8 ... seconds
//     tftp WINDOW NAME              blocks of 1468 bytes; a second of silence: the last ACK again
//     http PORT BYTES PATH          %m in PATH is the machine's MAC with dashes; BYTES 0: any length will do
// Without a dhcp step client i has the address 10.77.128.1 + i; its MAC is 52:54:00:i in any case.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum kind { DHCP, TFTP, HTTP };
struct step { enum kind kind; int window, port; long bytes; const char *name; };
struct client {
  int fd, step, state, tries; // fd -1: none; state: see each step
  uint32_t address, offered, server;
  double began, deadline; // of the step; of what is waited for, 0: nothing
  long received;
  int block, since, gap; // TFTP: last block in order, blocks since the last ACK, an ACK told of a gap already
  int window; // TFTP: what the server agreed to
  char head[2048]; // HTTP
  int headBytes;
};

static struct step steps[8];
static int stepCount, clientCount, doneCount, failedCount, dhcpFd = -1, poll_;
static struct client *clients;
static uint32_t server;
static const char *device;
static long sentDhcp, retriesDhcp, retriesTftp, retriesHttp, naks, totalBytes;
static double *took[8]; // seconds of each client in each step
static double start;
static char firstError[200];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}
static void die(const char *what) { perror(what); exit(2); }
static int indexOf(struct client *c) { return (int)(c - clients); }
/** Between 0.9 and 1.1, from the client and the attempt: no two runs differ by luck. */
static double jitter(struct client *c) {
  uint32_t x = (uint32_t)indexOf(c) * 2654435761u + (uint32_t)c->tries * 40503u;
  x ^= x >> 15; x *= 2246822519u; x ^= x >> 13;
  return 0.9 + 0.2 * (x % 1000) / 1000.0;
}
static void begin(struct client *c);

static void drop(struct client *c) {
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
}
static void fail(struct client *c, const char *format, ...) {
  va_list list;
  va_start(list, format);
  if (!firstError[0]) vsnprintf(firstError, sizeof firstError, format, list);
  va_end(list);
  drop(c);
  c->deadline = 0;
  c->step = stepCount;
  failedCount++;
}
static void finish(struct client *c) {
  took[c->step][indexOf(c)] = now() - c->began;
  drop(c);
  c->deadline = 0;
  if (++c->step < stepCount) begin(c);
  else doneCount++;
}
static void watch(struct client *c, uint32_t events, int operation) {
  struct epoll_event e = { .events = events, .data.u32 = (uint32_t)indexOf(c) };
  if (epoll_ctl(poll_, operation, c->fd, &e) < 0) die("epoll_ctl");
}
static int openSocket(struct client *c, int type) {
  c->fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  struct sockaddr_in own = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(c->address) };
  if (bind(c->fd, (struct sockaddr *)&own, sizeof own) < 0) die("bind");
  return c->fd;
}
static struct sockaddr_in serverAt(int port) {
  struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(server) };
  return a;
}

// ---- DHCP: state 0 waits for an OFFER, 1 for an ACK ----

static void macOf(struct client *c, uint8_t mac[6]) {
  uint32_t n = (uint32_t)indexOf(c);
  uint8_t bytes[6] = { 0x52, 0x54, 0, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n };
  memcpy(mac, bytes, 6);
}
static void put32(uint8_t *at, uint32_t n) { n = htonl(n); memcpy(at, &n, 4); }
static uint32_t get32(const uint8_t *at) { uint32_t n; memcpy(&n, at, 4); return ntohl(n); }

/** As a BIOS network card sends it: 548 bytes, a PXE client. */
static void sendDhcp(struct client *c) {
  static const uint8_t asks[] = { 55, 24, 1, 2, 3, 5, 6, 11, 12, 13, 15, 16, 17, 18, 43, 54, 60, 67, 128, 129, 130, 131, 132, 133, 134, 135 };
  static const uint8_t pxe[] = { 57, 2, 4, 236, 93, 2, 0, 0, 94, 3, 1, 2, 1 };
  static const char class[] = "PXEClient:Arch:00000:UNDI:002001";
  uint8_t p[548] = { 1, 1, 6, 0 }, *o = p + 240;
  put32(p + 4, 0x53000000u + (uint32_t)indexOf(c));
  p[10] = 0x80; // by broadcast
  macOf(c, p + 28);
  put32(p + 236, 0x63825363);
  *o++ = 53; *o++ = 1; *o++ = c->state ? 3 : 1;
  if (c->state) {
    *o++ = 50; *o++ = 4; put32(o, c->offered); o += 4;
    *o++ = 54; *o++ = 4; put32(o, c->server); o += 4;
  }
  memcpy(o, asks, sizeof asks); o += sizeof asks;
  memcpy(o, pxe, sizeof pxe); o += sizeof pxe;
  *o++ = 97; *o++ = 17; *o++ = 0; memcpy(o, p + 28, 6); o += 16;
  *o++ = 60; *o++ = sizeof class - 1; memcpy(o, class, sizeof class - 1); o += sizeof class - 1;
  *o = 255;
  struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(67), .sin_addr.s_addr = INADDR_BROADCAST };
  sendto(dhcpFd, p, sizeof p, 0, (struct sockaddr *)&to, sizeof to); // a full buffer is a lost packet: it is sent again
  sentDhcp++;
  static const int wait[] = { 1, 2, 4, 8 };
  c->deadline = now() + wait[c->tries < 3 ? c->tries : 3] * jitter(c);
}
static void receiveDhcp(void) {
  uint8_t p[1500];
  for (ssize_t n; (n = recv(dhcpFd, p, sizeof p, 0)) > 0;) {
    uint32_t i = get32(p + 4) - 0x53000000u;
    if (n < 244 || p[0] != 2 || i >= (uint32_t)clientCount || get32(p + 236) != 0x63825363) continue;
    struct client *c = &clients[i];
    if (c->step >= stepCount || steps[c->step].kind != DHCP) continue;
    uint8_t type = 0;
    uint32_t from = 0;
    for (uint8_t *o = p + 240; o + 1 < p + n && *o != 255; o += *o ? 2 + o[1] : 1) {
      if (*o == 53) type = o[2];
      if (*o == 54) from = get32(o + 2);
    }
    if (type == 2 && c->state == 0) {
      c->offered = get32(p + 16), c->server = from, c->state = 1, c->tries = 0;
      sendDhcp(c);
    } else if (type == 5 && c->state == 1) {
      c->address = get32(p + 16);
      finish(c);
    } else if (type == 6 && c->state == 1) {
      naks++, c->state = 0, c->tries = 0;
      c->deadline = now() + 1;
    }
  }
}
static void openDhcp(void) {
  int on = 1, size = 64 << 20;
  dhcpFd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(dhcpFd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
  setsockopt(dhcpFd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  setsockopt(dhcpFd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  if (setsockopt(dhcpFd, SOL_SOCKET, SO_BINDTODEVICE, device, strlen(device) + 1) < 0) die(device);
  struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = htons(68) };
  if (bind(dhcpFd, (struct sockaddr *)&own, sizeof own) < 0) die("bind to port 68");
  struct epoll_event e = { .events = EPOLLIN, .data.u32 = UINT32_MAX };
  epoll_ctl(poll_, EPOLL_CTL_ADD, dhcpFd, &e);
}

// ---- TFTP: state 0 waits for the first answer, 1 is connected to the transfer's port ----

static void sendRead(struct client *c) {
  char p[600];
  struct step *s = &steps[c->step];
  int n = snprintf(p, sizeof p, "%c%c%s%coctet%cblksize%c1468%ctsize%c0%c", 0, 1, s->name, 0, 0, 0, 0, 0, 0);
  if (s->window > 1) n += snprintf(p + n, sizeof p - n, "windowsize%c%d%c", 0, s->window, 0);
  struct sockaddr_in to = serverAt(69);
  sendto(c->fd, p, n, 0, (struct sockaddr *)&to, sizeof to);
  c->deadline = now() + 1;
}
static void sendAck(struct client *c) {
  uint8_t p[4] = { 0, 4, (uint8_t)(c->block >> 8), (uint8_t)c->block };
  send(c->fd, p, 4, 0);
  c->since = 0;
  c->deadline = now() + 1;
}
/** RFC 7440: a server that does not know the option leaves it out of its OACK, and then each block is acknowledged. */
static int agreedWindow(const uint8_t p[128], ssize_t n) {
  static const char name[] = "windowsize";
  for (ssize_t i = 2; i + (ssize_t)sizeof name < n && i + sizeof name < 127; i++)
    if (!memcmp(p + i, name, sizeof name)) return atoi((const char *)p + i + sizeof name);
  return 1;
}
static void receiveTftp(struct client *c) {
  struct sockaddr_in from;
  uint8_t p[128] = { 0 }; // the blocks' bytes stay in the kernel; what is read ends with a 0
  int step = c->step;
  for (int i = 0; i < 64 && c->step == step; i++) {
    socklen_t length = sizeof from;
    ssize_t n = recvfrom(c->fd, p, sizeof p - 1, MSG_TRUNC, (struct sockaddr *)&from, &length);
    if (n < 4) return;
    if (c->state == 0) {
      if (connect(c->fd, (struct sockaddr *)&from, sizeof from) < 0) die("connect");
      c->state = 1, c->window = 1;
    }
    if (p[1] == 5) return fail(c, "tftp error %d: %.40s", p[3], p + 4);
    if (p[1] == 6) { if (c->block == 0) c->window = agreedWindow(p, n), sendAck(c); continue; }
    if (p[1] != 3) continue;
    int block = p[2] << 8 | p[3];
    if (block != ((c->block + 1) & 0xffff)) {
      // RFC 7440: once, so that the server goes on after the last one in order. In lockstep an old block is answered by
      // its ACK again, as loaders do.
      if (c->window == 1) { if (block == (c->block & 0xffff)) sendAck(c); }
      else if (!c->gap) c->gap = 1, sendAck(c);
      continue;
    }
    c->block++, c->since++, c->gap = 0, c->received += n - 4;
    if (n - 4 < 1468) {
      sendAck(c);
      totalBytes += c->received;
      if (steps[step].bytes && c->received != steps[step].bytes) return fail(c, "tftp: %ld bytes", c->received);
      return finish(c);
    }
    if (c->since >= c->window) sendAck(c);
  }
}

// ---- HTTP: state 0 connects, 1 reads the head, 2 the body ----

static void connectHttp(struct client *c) {
  openSocket(c, SOCK_STREAM);
  struct sockaddr_in to = serverAt(steps[c->step].port);
  if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) die("connect");
  c->state = 0, c->headBytes = 0, c->received = 0;
  c->deadline = now() + 30;
  watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}
static void againHttp(struct client *c, double seconds) {
  retriesHttp++;
  drop(c);
  c->state = 3;
  c->deadline = now() + seconds;
}
static void ask(struct client *c) {
  char path[500] = "", request[900];
  const char *name = steps[c->step].name, *mark = strstr(name, "%m");
  uint8_t m[6];
  macOf(c, m);
  if (mark) snprintf(path, sizeof path, "%.*s%02x-%02x-%02x-%02x-%02x-%02x%s", (int)(mark - name), name, m[0], m[1], m[2], m[3], m[4], m[5], mark + 2);
  else snprintf(path, sizeof path, "%s", name);
  int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n", path);
  if (send(c->fd, request, n, MSG_NOSIGNAL) != n) return againHttp(c, 1);
  c->state = 1;
  watch(c, EPOLLIN, EPOLL_CTL_MOD);
}
static int takeHead(struct client *c) {
  ssize_t n = recv(c->fd, c->head + c->headBytes, sizeof c->head - 1 - c->headBytes, 0);
  if (n < 0 && errno == EAGAIN) return 0;
  if (n <= 0) return againHttp(c, 1), 0;
  c->headBytes += n;
  c->head[c->headBytes] = 0;
  char *end = strstr(c->head, "\r\n\r\n"), *length = strcasestr(c->head, "\r\ncontent-length:");
  if (!end) return 0;
  if (!strncmp(c->head + 9, "503", 3)) {
    char *after = strcasestr(c->head, "\r\nretry-after:");
    return againHttp(c, after ? atoi(after + 14) : 1), 0;
  }
  if (strncmp(c->head + 9, "200", 3) || !length) return fail(c, "http: %.60s", c->head), 0;
  long bytes = atol(length + 17);
  if (steps[c->step].bytes && bytes != steps[c->step].bytes) return fail(c, "http: %ld bytes", bytes), 0;
  c->received = c->headBytes - (end + 4 - c->head) - bytes; // zero when all of the body is here
  totalBytes += bytes;
  c->state = 2;
  return 1;
}
static void receiveHttp(struct client *c, uint32_t events) {
  static char sink[1 << 20];
  if (c->state == 0) {
    if (events & (EPOLLERR | EPOLLHUP)) return againHttp(c, 1);
    return ask(c);
  }
  if (c->state == 1 && !takeHead(c)) return;
  if (c->state != 2) return;
  c->deadline = now() + 30;
  for (int i = 0; i < 4 && c->received < 0; i++) {
    ssize_t n = recv(c->fd, sink, sizeof sink, MSG_TRUNC); // thrown away in the kernel: the server is measured
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return fail(c, "http: the body ended %ld bytes early", -c->received);
    c->received += n;
  }
  if (c->received == 0) finish(c);
}

// ---- all of it ----

static void begin(struct client *c) {
  c->began = now();
  c->state = c->tries = c->block = c->since = c->gap = 0;
  c->received = 0;
  switch (steps[c->step].kind) {
    case DHCP: return sendDhcp(c);
    case TFTP: openSocket(c, SOCK_DGRAM); watch(c, EPOLLIN, EPOLL_CTL_ADD); return sendRead(c);
    case HTTP: return connectHttp(c);
  }
}
static void late(struct client *c) {
  c->tries++;
  switch (steps[c->step].kind) {
    case DHCP:
      retriesDhcp++;
      if (c->state == 1 && c->tries > 4) c->state = c->tries = 0; // its offer is forgotten: from the beginning
      return sendDhcp(c);
    case TFTP: retriesTftp++; return c->state == 0 ? sendRead(c) : sendAck(c);
    case HTTP: if (c->state != 3) retriesHttp++; drop(c); return connectHttp(c);
  }
}
static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}
static int readSteps(int count, char **words) {
  for (int i = 0; i < count && stepCount < 8; stepCount++) {
    struct step *s = &steps[stepCount];
    took[stepCount] = calloc(clientCount, sizeof(double));
    if (!strcmp(words[i], "dhcp")) { s->kind = DHCP; i += 1; }
    else if (!strcmp(words[i], "tftp") && i + 2 < count) { s->kind = TFTP; s->window = atoi(words[i + 1]); s->name = words[i + 2]; i += 3; }
    else if (!strcmp(words[i], "http") && i + 3 < count) { s->kind = HTTP; s->port = atoi(words[i + 1]); s->bytes = atol(words[i + 2]); s->name = words[i + 3]; i += 4; }
    else return 0;
  }
  return stepCount > 0;
}
static void report(void) {
  printf("{\"clients\":%d,\"done\":%d,\"failed\":%d,\"seconds\":%.6f,\"bytes\":%ld,\"dhcpSent\":%ld,\"dhcpRetries\":%ld,\"naks\":%ld,"
         "\"tftpRetries\":%ld,\"httpRetries\":%ld,\"error\":\"", clientCount, doneCount, failedCount, now() - start, totalBytes,
         sentDhcp, retriesDhcp, naks, retriesTftp, retriesHttp);
  for (char *c = firstError; *c; c++) if (*c >= ' ' && *c != '"' && *c != '\\' && *c < 127) putchar(*c);
  printf("\",\"steps\":[");
  for (int s = 0; s < stepCount; s++) {
    qsort(took[s], clientCount, sizeof(double), ascending);
    printf("%s{\"median\":%.6f,\"p99\":%.6f,\"most\":%.6f}", s ? "," : "", took[s][clientCount / 2],
           took[s][(int)(clientCount * 0.99)], took[s][clientCount - 1]);
  }
  printf("]}\n");
}
int main(int argc, char **argv) {
  if (argc < 6 || (clientCount = atoi(argv[3])) < 1 || !readSteps(argc - 5, argv + 5)) return fputs("usage: see load.c\n", stderr), 2;
  device = argv[1];
  server = ntohl(inet_addr(argv[2]));
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  poll_ = epoll_create1(EPOLL_CLOEXEC);
  clients = calloc(clientCount, sizeof *clients);
  if (steps[0].kind == DHCP) openDhcp();
  start = now();
  double end = start + atof(argv[4]), scanned = start;
  for (int i = 0; i < clientCount; i++) {
    clients[i].fd = -1;
    clients[i].address = (10u << 24 | 77 << 16 | 128 << 8 | 1) + i;
    begin(&clients[i]);
    if (dhcpFd >= 0 && i % 32 == 31) receiveDhcp();
  }
  struct epoll_event events[256];
  while (doneCount + failedCount < clientCount && now() < end) {
    int count = epoll_wait(poll_, events, 256, 10);
    for (int i = 0; i < count; i++) {
      if (events[i].data.u32 == UINT32_MAX) { receiveDhcp(); continue; }
      struct client *c = &clients[events[i].data.u32];
      if (c->step >= stepCount || c->fd < 0) continue;
      if (steps[c->step].kind == TFTP) receiveTftp(c);
      else if (steps[c->step].kind == HTTP) receiveHttp(c, events[i].events);
    }
    double time = now();
    if (time - scanned < 0.01) continue;
    scanned = time;
    for (int i = 0; i < clientCount; i++)
      if (clients[i].deadline && clients[i].deadline <= time) late(&clients[i]);
  }
  report();
  return doneCount == clientCount ? 0 : 1;
}
