// The few calls of the C library that node:dgram lacks: a socket that hears the broadcasts of one interface only.
import dgram from 'node:dgram'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { type Ipv4, ipv4ToNumber } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import {
  AF_INET,
  int,
  type Libc,
  loadLibc,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
  socketAddress,
} from './libc.ts'
import { literal } from './literal.ts'

/** Of sockets that were made by the kernel's own calls. */
const descriptors = new WeakMap<dgram.Socket, number>()

/** For those who read and write past Node; only while the socket is open. */
export const descriptorOf = (socket: dgram.Socket): number | undefined => descriptors.get(socket)

/** Has the socket use a descriptor that is bound already; `listening` may come within the call. */
export function adoptDescriptor(socket: dgram.Socket, fd: number) {
  descriptors.set(socket, fd)
  socket.bind({ fd })
}

/** A rack that is switched on sends in one burst what the default of 208 KB would drop. */
export const RECEIVE_BUFFER_BYTES = 8 << 20

// asm-generic/socket.h: the same on x86, arm64 and ppc64 for these.
const SO_REUSEADDR = 2
const SO_BROADCAST = 6
const SO_RCVBUF = 8
const SO_BINDTODEVICE = 25
const SO_RCVBUFFORCE = 33
// linux/if.h
const IFF_UP = 1
const IFF_LOOPBACK = 8
const NETWORK_CLASS = '/sys/class/net'

/**
 * A UDP socket on 0.0.0.0:`port` that receives from `device` alone, by SO_BINDTODEVICE. Without koffi it is an ordinary
 * socket, which is the same on a host with one interface and refused on any other.
 */
export async function openDeviceSocket(device: string, port: number): Promise<dgram.Socket> {
  const libc = await loadLibc()
  if (!libc) refuseSeveralInterfaces(device)
  const fd = libc && boundDescriptor(libc, device, port)
  const socket = dgram.createSocket({ type: 'udp4', reuseAddr: true })
  const listening = once(socket, 'listening') // asked for first: with a descriptor it comes within the call of bind
  if (fd !== undefined) adoptDescriptor(socket, fd)
  else socket.bind({ port, address: '0.0.0.0' })
  await listening
  return socket
}

/** A UDP socket on our own address: for what is sent to us alone, and for everything that we send. */
export async function openAddressSocket(address: Ipv4, port: number): Promise<dgram.Socket> {
  try {
    const socket = await openRequestSocket(address, port, { reuseAddr: true, lookup: literal })
    socket.setBroadcast(true)
    return socket
  } catch (error) {
    throw new UserError('cannot listen', {
      what: (error as Error).message,
      allowed: 'an address of this host, a port that no other server has, and root or CAP_NET_BIND_SERVICE',
    })
  }
}

/** A UDP socket for requests to `address`:`port`; a whole rack's fit into its buffer. */
export async function openRequestSocket(
  address: Ipv4,
  port: number,
  options: Omit<dgram.SocketOptions, 'type'> = {},
): Promise<dgram.Socket> {
  const libc = await loadLibc()
  const fd = libc && requestDescriptor(libc, address, port, options.reuseAddr === true)
  const socket = dgram.createSocket({ ...options, type: 'udp4' })
  const listening = once(socket, 'listening')
  try {
    if (fd !== undefined) adoptDescriptor(socket, fd)
    else socket.bind({ port, address }) // also says why it can not be had
    await listening
  } catch (error) {
    socket.close()
    throw error
  }
  if (fd === undefined) socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES)
  return socket
}

/** undefined: it can not be had. */
function requestDescriptor(libc: Libc, address: Ipv4, port: number, reuse: boolean): number | undefined {
  const fd = libc.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
  if (fd < 0) return undefined
  if (reuse) libc.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, int(1), 4)
  enlarge(libc, fd)
  if (libc.bind(fd, socketAddress(port, ipv4ToNumber(address)), 16) >= 0) return fd
  libc.close(fd)
  return undefined
}

/** The largest packet of the interface that has this address; 1500 when that can not be told. */
export function mtuOf(address: Ipv4): number {
  const found = Object.entries(networkInterfaces()).find(([, list]) =>
    list?.some((entry) => entry.address === address),
  )
  try {
    return found ? Number(readFileSync(`${NETWORK_CLASS}/${found[0]}/mtu`, 'latin1')) : 1500
  } catch {
    return 1500
  }
}

function boundDescriptor(libc: Libc, device: string, port: number): number {
  const fd = check('socket', libc.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))
  try {
    set('SO_REUSEADDR', SO_REUSEADDR, int(1))
    set('SO_BROADCAST', SO_BROADCAST, int(1))
    set(`SO_BINDTODEVICE ${device}`, SO_BINDTODEVICE, Buffer.from(`${device}\0`))
    enlarge(libc, fd)
    check(`bind to port ${port}`, libc.bind(fd, socketAddress(port), 16))
    return fd
  } catch (error) {
    libc.close(fd)
    throw error
  }
  function set(what: string, name: number, value: Buffer) {
    check(what, libc.setsockopt(fd, SOL_SOCKET, name, value, value.length))
  }
  function check(what: string, result: number): number {
    if (result >= 0) return result
    throw new UserError('cannot listen for broadcasts', {
      what: `${what}: ${libc.errorName()}`,
      object: device,
      allowed: 'an interface that exists, a free port, and root or CAP_NET_RAW with CAP_NET_BIND_SERVICE',
    })
  }
}

/** FORCE needs root and passes net.core.rmem_max; the plain one takes what is allowed. */
function enlarge(libc: Libc, fd: number) {
  const size = int(RECEIVE_BUFFER_BYTES)
  if (libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, size, 4) < 0)
    libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, size, 4)
}

/** Without SO_BINDTODEVICE we would hear, and answer, the machines of every network of this host. */
function refuseSeveralInterfaces(device: string) {
  const up = interfacesUp()
  if (up.length === 1 && up[0] === device) return
  throw new UserError('cannot tell the networks of several interfaces apart', {
    what: `up are ${up.join(', ') || 'none'}, and the package koffi does not load`,
    object: device,
    allowed: 'npm install koffi, or a host where this interface is the only one that is up',
  })
}

/** Up, not loopback, and no port of a bridge or bond: also those without an address, since broadcasts come in there too. */
function interfacesUp(): string[] {
  return readdirSync(NETWORK_CLASS).filter((name) => {
    const flags = Number(readFileSync(`${NETWORK_CLASS}/${name}/flags`, 'latin1').trim())
    const isUp = (flags & IFF_UP) !== 0 && (flags & IFF_LOOPBACK) === 0
    return isUp && !existsSync(`${NETWORK_CLASS}/${name}/master`)
  })
}
