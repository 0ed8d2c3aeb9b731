// The sockets of transfers by the kernel's own calls, for a thread that does nothing else: one epoll_wait for all of them, one
// recvfrom and one sendto for a block, one sendto for a window (UDP_SEGMENT); node:dgram makes twice as many calls.
import { ipv4ToNumber, parseIpv4 } from '../../src/address.ts'
import {
  AF_INET,
  int,
  type Libc,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  socketAddress,
} from '../net/libc.ts'
import type { Heard, Link, Wire } from './wire.ts'

const EPOLL_CLOEXEC = 0o2000000
const EPOLL_CTL_ADD = 1
const EPOLLIN = 1
const SOL_UDP = 17
const UDP_SEGMENT = 103
const MSG_DONTWAIT = 0x40
/** A segmented send has at most so many parts (linux/udp.h). */
const mostSegments = 64
/** struct epoll_event is packed on x86-64 alone: 32 bits of events, 64 of our own. */
const eventBytes = process.arch === 'x64' ? 12 : 16
const ownAt = eventBytes - 8
const eventsAtOnce = 256

type Slot = { fd: number; generation: number; from: { port: number; address: number }; heard: Heard }

/** `descriptors` tells other threads which ones to close when this one dies: fd + 1 by slot, 0 for none; the last is ours. */
export function openKernelWire(libc: Libc, { wake, descriptors }: { wake: number; descriptors: Int32Array }) {
  const epoll = checked('epoll_create1', libc.epollCreate(EPOLL_CLOEXEC))
  const mostSlots = descriptors.length - 1
  descriptors[mostSlots] = epoll + 1
  const events = Buffer.alloc(eventBytes * eventsAtOnce)
  const received = Buffer.alloc(1024) // requests and ACKs are 512 bytes at most
  const from = Buffer.alloc(16)
  const fromLength = int(16)
  const slots: (Slot | undefined)[] = []
  const free: number[] = []
  const wakeSlot = 0xffffffff
  const wakeCount = Buffer.alloc(8)
  let generations = 0
  listen(wake, wakeSlot, 0)

  function listen(fd: number, slot: number, generation: number) {
    const event = Buffer.alloc(eventBytes)
    event.writeUInt32LE(EPOLLIN, 0)
    event.writeUInt32LE(slot, ownAt)
    event.writeUInt32LE(generation, ownAt + 4)
    checked('epoll_ctl', libc.epollControl(epoll, EPOLL_CTL_ADD, fd, event))
  }

  function checked(call: string, result: number): number {
    if (result >= 0) return result
    throw new Error(`${call}: ${libc.errorName()}`)
  }

  const open: Wire['open'] = (ours, peer, heard) => {
    const fd = checked('socket', libc.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))
    const slot = free.pop() ?? slots.length
    if (slot >= mostSlots) {
      libc.close(fd)
      throw new Error(`more than ${mostSlots} transfers`)
    }
    const generation = ++generations % 0xffffffff
    const address = ipv4ToNumber(parseIpv4(peer.address))
    slots[slot] = { fd, generation, from: { port: peer.port, address }, heard }
    descriptors[slot] = fd + 1
    const close = () => {
      if (slots[slot]?.generation !== generation) return
      slots[slot] = undefined
      descriptors[slot] = 0
      libc.close(fd) // epoll forgets it with this
      free.push(slot)
    }
    try {
      checked('bind', libc.bind(fd, socketAddress(0, ipv4ToNumber(parseIpv4(ours))), 16))
      listen(fd, slot, generation)
    } catch (error) {
      close()
      throw error
    }
    return { send: sender(fd, socketAddress(peer.port, address)), close }
  }

  /** A datagram that the kernel has no room for is one that was lost: the timer sends it again. */
  function sender(fd: number, to: Buffer): Link['send'] {
    let cut = 0 // the kernel cuts what is longer into pieces of this size
    let cuts = true
    const put = (bytes: Buffer, length: number) => libc.sendto(fd, bytes, length, MSG_DONTWAIT, to, 16)
    function cutInto(size: number): boolean {
      if (size !== cut && libc.setsockopt(fd, SOL_UDP, UDP_SEGMENT, int(size), 4) < 0) return false
      cut = size
      return true
    }
    return (bytes, length, segment) => {
      if (length <= segment) {
        if (length > cut && cut > 0) cutInto(0)
        return void put(bytes, length)
      }
      cuts &&= cutInto(segment)
      const row = cuts ? segment * mostSegments : segment
      for (let at = 0; at < length; at += row) {
        const size = Math.min(row, length - at)
        if (put(at === 0 ? bytes : bytes.subarray(at), size) >= 0 || !cuts) continue
        if (libc.errorName() === 'EAGAIN') continue
        // A device or a path that can not cut: one by one from now on.
        cuts = false
        cutInto(0)
        for (let each = at; each < length; each += segment)
          put(bytes.subarray(each), Math.min(segment, length - each))
        return
      }
    }
  }

  function hear({ fd, from: peer, heard }: Slot) {
    fromLength.writeInt32LE(16, 0)
    const length = libc.recvfrom(fd, received, received.length, MSG_DONTWAIT, from, fromLength)
    if (length < 0) return // what made it readable was bad, or is gone
    const port = from.readUInt16BE(2)
    const address = from.readUInt32BE(4)
    if (port === peer.port && address === peer.address) return heard.receive(received, length)
    const answer = port === 0 ? undefined : heard.stranger(received, length)
    if (answer)
      libc.sendto(fd, Buffer.from(answer), answer.length, MSG_DONTWAIT, socketAddress(port, address), 16)
  }

  return {
    wire: { open } satisfies Wire,
    /** Waits for packets at most so long and hands them on; true when the thread was woken up. */
    turn(timeoutMs: number): boolean {
      const count = libc.epollWait(epoll, events, eventsAtOnce, timeoutMs)
      let woken = false
      for (let at = 0; at < count * eventBytes; at += eventBytes) {
        const slot = events.readUInt32LE(at + ownAt)
        if (slot === wakeSlot) {
          libc.read(wake, wakeCount, 8)
          woken = true
          continue
        }
        const each = slots[slot]
        // One that was closed, and perhaps opened anew, since the kernel told of it.
        if (each?.generation === events.readUInt32LE(at + ownAt + 4)) hear(each)
      }
      return woken
    },
    close() {
      for (const slot of slots) if (slot) libc.close(slot.fd)
      descriptors.fill(0)
      libc.close(epoll)
    },
  }
}
