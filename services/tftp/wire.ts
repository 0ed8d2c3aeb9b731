// Sockets of transfers as transfers see them: each has a port of its own on our address, which is its TID (RFC 1350 4).
import dgram from 'node:dgram'
import { literal } from '../net/literal.ts'

export type Peer = { address: string; port: number }
export type Heard = {
  /** `length` bytes of the peer; valid until it returns. */
  receive(bytes: Buffer, length: number): void
  /** Of somebody else; what it gives back goes to them. */
  stranger(bytes: Buffer, length: number): Uint8Array | undefined
  failed(error: Error): void
}
export type Link = {
  /** Datagrams of `segment` bytes, the last one shorter, out of the first `length` bytes; they may be changed afterwards. */
  send(bytes: Buffer, length: number, segment: number): void
  close(): void
}
/** Throws when there is no socket to be had. */
export type Wire = { open(ours: string, peer: Peer, heard: Heard): Link }

/** By node:dgram, where the kernel can not be asked directly. */
export const dgramWire: Wire = {
  open(ours, peer, heard) {
    const socket = dgram.createSocket({ type: 'udp4', lookup: literal })
    let closed = false
    socket.on('error', (error) => closed || heard.failed(error))
    socket.on('message', (bytes, from) => {
      if (closed) return
      if (from.port === peer.port && from.address === peer.address) return heard.receive(bytes, bytes.length)
      const answer = from.port === 0 ? undefined : heard.stranger(bytes, bytes.length)
      if (answer) socket.send(answer, from.port, from.address, () => {})
    })
    socket.bind(0, ours)
    return {
      send(bytes, length, segment) {
        if (closed) return
        for (let at = 0; at < length; at += segment)
          socket.send(
            Buffer.from(bytes.subarray(at, Math.min(length, at + segment))),
            peer.port,
            peer.address,
          )
      },
      close() {
        closed = true
        socket.close()
      },
    }
  },
}
