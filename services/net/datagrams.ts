// One UDP socket for many small requests and their answers. Node's own socket tells of the first packet; those behind it
// are then taken, and answers are sent, by the kernel's own calls where they are to be had: node:dgram needs about three
// times the CPU for each, and a rack that starts sends tens of thousands at once.
import type dgram from 'node:dgram'
import { type Ipv4, ipv4FromNumber, ipv4ToNumber } from '../../src/address.ts'
import { AF_INET, type Libc, loadLibc } from './libc.ts'
import { descriptorOf } from './linux.ts'

export type Peer = { address: Ipv4; port: number }
export type Datagrams = {
  /** Each packet in a buffer of its own. What `receive` throws goes to nobody: it must not. */
  listen(receive: (bytes: Buffer, peer: Peer) => void, failed: (error: Error) => void): void
  /** `failed` is told why the kernel did not take it; that may be later. Nothing is sent once it is closed. */
  send(bytes: Buffer, to: Peer, failed: (why: string) => void): void
  close(): Promise<void>
}

const MSG_DONTWAIT = 0x40
/** Longer ones arrive cut; nothing that DHCP or TFTP send is. */
const LONGEST = 9216
/** libuv takes up to 32 packets before it looks at anything else, and these behind each of them. */
const BEHIND = 16

/** Takes the socket over. */
export async function openDatagrams(socket: dgram.Socket): Promise<Datagrams> {
  const fd = descriptorOf(socket)
  const libc = fd === undefined ? undefined : await loadLibc()
  const put = libc && fd !== undefined ? sendDirectly(libc, fd, socket) : sendBy(socket)
  let closed = false
  return {
    listen(receive, failed) {
      const rest = libc && fd !== undefined ? takeRest(libc, fd, receive, () => !closed) : () => {}
      socket.on('message', (bytes, { address, port }) => {
        receive(bytes, { address: address as Ipv4, port })
        rest()
      })
      socket.on('error', failed)
    },
    // An answer that waited for the disk may come late: its descriptor is somebody else's then.
    send: (bytes, to, failed) => (closed ? failed('closed') : put(bytes, to, failed)),
    close() {
      closed = true
      return new Promise<void>((done) => socket.close(done))
    },
  }
}

/** Hands on what waits in the socket, up to a number. */
function takeRest(
  libc: Libc,
  fd: number,
  receive: (bytes: Buffer, peer: Peer) => void,
  isOpen: () => boolean,
) {
  const target = Buffer.allocUnsafeSlow(LONGEST)
  const from = socketName()
  const fromLength = Buffer.from(Int32Array.of(from.length).buffer)
  return () => {
    for (let count = 0; count < BEHIND && isOpen(); count++) {
      const length = libc.recvfrom(fd, target, LONGEST, MSG_DONTWAIT, from, fromLength)
      if (length < 0) return // nothing is left, or what is wrong comes up as an error of the socket
      const peer = { address: ipv4FromNumber(from.readUInt32BE(4)), port: from.readUInt16BE(2) }
      receive(Buffer.from(target.subarray(0, length)), peer)
    }
  }
}

function sendDirectly(libc: Libc, fd: number, socket: dgram.Socket): Datagrams['send'] {
  const name = socketName()
  const later = sendBy(socket)
  return (bytes, to, failed) => {
    name.writeUInt16BE(to.port, 2)
    name.writeUInt32BE(ipv4ToNumber(to.address), 4)
    if (libc.sendto(fd, bytes, bytes.length, MSG_DONTWAIT, name, name.length) >= 0) return
    const why = libc.errorName()
    // No room now: Node's own socket waits for it.
    if (why === 'EAGAIN') later(bytes, to, failed)
    else failed(why)
  }
}

const sendBy =
  (socket: dgram.Socket): Datagrams['send'] =>
  (bytes, { address, port }, failed) =>
    socket.send(bytes, port, address, (error) => {
      if (error) failed(error.message)
    })

/** struct sockaddr_in, to be filled in: the family in the machine's order. */
function socketName(): Buffer {
  const name = Buffer.alloc(16)
  Buffer.from(Uint16Array.of(AF_INET).buffer).copy(name)
  return name
}
