// The C library, through koffi, for what Node's own modules lack. koffi is optional: without it, or on a machine that it
// has no build for, there is none and callers do with less.

export type Libc = {
  socket(domain: number, type: number, protocol: number): number
  setsockopt(fd: number, level: number, name: number, value: Buffer, length: number): number
  bind(fd: number, address: Buffer, length: number): number
  recvfrom(
    fd: number,
    target: Buffer,
    length: number,
    flags: number,
    from: Buffer,
    fromLength: Buffer,
  ): number
  sendto(fd: number, bytes: Buffer, length: number, flags: number, to: Buffer, toLength: number): number
  epollCreate(flags: number): number
  epollControl(epoll: number, operation: number, fd: number, event: Buffer): number
  epollWait(epoll: number, events: Buffer, most: number, timeoutMs: number): number
  eventfd(value: number, flags: number): number
  read(fd: number, target: Buffer, length: number): number
  write(fd: number, bytes: Buffer, length: number): number
  close(fd: number): number
  /** Of the call that failed just now: `EADDRINUSE`. */
  errorName(): string
}

// asm-generic: the same on x86, arm64 and ppc64 for these.
export const AF_INET = 2
export const SOCK_DGRAM = 2
export const SOCK_NONBLOCK = 0o4000
export const SOCK_CLOEXEC = 0o2000000
export const SOL_SOCKET = 1

export async function loadLibc(): Promise<Libc | undefined> {
  try {
    const { default: koffi } = await import('koffi')
    const lib = koffi.load('libc.so.6')
    const errors = Object.entries(koffi.os.errno)
    return {
      socket: lib.func('int socket(int domain, int type, int protocol)'),
      setsockopt: lib.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)'),
      bind: lib.func('int bind(int fd, const void *address, uint32_t length)'),
      recvfrom: lib.func(
        'long recvfrom(int fd, void *target, unsigned long length, int flags, void *from, void *fromLength)',
      ),
      sendto: lib.func(
        'long sendto(int fd, const void *bytes, unsigned long length, int flags, const void *to, uint32_t toLength)',
      ),
      epollCreate: lib.func('int epoll_create1(int flags)'),
      epollControl: lib.func('int epoll_ctl(int epoll, int operation, int fd, const void *event)'),
      epollWait: lib.func('int epoll_wait(int epoll, void *events, int most, int timeout)'),
      eventfd: lib.func('int eventfd(uint32_t value, int flags)'),
      read: lib.func('long read(int fd, void *target, unsigned long length)'),
      write: lib.func('long write(int fd, const void *bytes, unsigned long length)'),
      close: lib.func('int close(int fd)'),
      errorName: () => errors.find(([, code]) => code === koffi.errno())?.[0] ?? `errno ${koffi.errno()}`,
    }
  } catch {
    return undefined
  }
}

/** A C `int` in memory. */
export const int = (n: number): Buffer => Buffer.from(Int32Array.of(n).buffer)

/** struct sockaddr_in: family in the machine's order, port and address (a number) in the network's. */
export function socketAddress(port: number, address = 0): Buffer {
  const bytes = Buffer.alloc(16)
  Buffer.from(Uint16Array.of(AF_INET).buffer).copy(bytes)
  bytes.writeUInt16BE(port, 2)
  bytes.writeUInt32BE(address, 4)
  return bytes
}
