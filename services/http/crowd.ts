// The connections of one HTTP server. One machine, or a few that make up addresses, may open as many as they like: they push
// out their own, so that a machine that boots always gets in. Who takes no byte of what it asked for is let go.
import type { Server } from 'node:http'
import type { Socket } from 'node:net'

/** `ofPeer`: far more than any loader, installer or machine behind a router opens. */
const usual = { most: 4000, ofPeer: 256, stallMs: 180_000, lookMs: 15_000 }
/** What has to get through within `stallMs`; less is a machine that is gone, or one that only wants to hold its place. */
const PROGRESS_BYTES = 64 << 10
/** Connections that the kernel hands over before those that were closed are gone. */
const SLACK = 1100

export const TOO_MANY = 'too many connections at once: the ones that stood still longest were closed'

type Limits = Partial<typeof usual>
/** `movedAt`: when it last asked or took something; `freeAt`: when it last did, or had nothing to take. */
type Entry = { socket: Socket; read: number; written: number; movedAt: number; freeAt: number }
type Own = Map<Socket, Entry>

/** `crowded` is told which peer lost connections to its own newer ones or to others, once a `lookMs` at most. */
export function limitCrowd(server: Server, crowded: (peer: string) => void, limits: Limits = {}) {
  const { most, ofPeer, stallMs, lookMs } = { ...usual, ...limits }
  const byPeer = new Map<string, Own>()
  const told = new Set<string>()
  let total = 0
  server.maxConnections = most + SLACK
  server.on('connection', enter)
  const timer = setInterval(look, lookMs)

  function enter(socket: Socket) {
    const peer = socket.remoteAddress
    if (peer === undefined) return socket.destroy()
    const count = byPeer.get(peer)?.size ?? 0
    if (count >= ofPeer) letGo(peer, 1)
    if (total >= most && !makeRoom(count)) {
      tell(peer)
      return socket.destroy()
    }
    const own: Own = byPeer.get(peer) ?? new Map()
    const now = performance.now()
    byPeer.set(peer, own.set(socket, { socket, read: 0, written: 0, movedAt: now, freeAt: now }))
    total++
    socket.once('close', () => forget(peer, socket))
  }

  /** Whoever has most gives a quarter, so that it is not looked for again with each of a flood. */
  function makeRoom(newcomerHas: number): boolean {
    let [greediest, size] = ['', 0]
    for (const [peer, own] of byPeer) if (own.size > size) [greediest, size] = [peer, own.size]
    if (size <= newcomerHas + 1) return false
    letGo(greediest, Math.max(1, size >> 2))
    return true
  }

  /** Those that moved longest ago. */
  function letGo(peer: string, count: number) {
    tell(peer)
    const own = [...byPeer.get(peer)!.values()].sort((a, b) => a.movedAt - b.movedAt)
    for (const { socket } of own.slice(0, count)) {
      forget(peer, socket)
      socket.destroy()
    }
  }

  function forget(peer: string, socket: Socket) {
    const own = byPeer.get(peer)
    if (!own?.delete(socket)) return
    total--
    if (own.size === 0) byPeer.delete(peer)
  }

  function look() {
    told.clear()
    for (const own of byPeer.values()) for (const entry of own.values()) lookAt(entry)
  }

  /** Who is slow to ask is Node's to judge, and so is one that waits for us. */
  function lookAt(entry: Entry) {
    const { socket } = entry
    const [read, written] = [socket.bytesRead, socket.bytesWritten - socket.writableLength]
    const now = performance.now()
    if (read > entry.read || written >= entry.written + PROGRESS_BYTES)
      Object.assign(entry, { read, written, movedAt: now, freeAt: now })
    else if (socket.writableLength === 0) entry.freeAt = now
    else if (now - entry.freeAt >= stallMs) socket.destroy()
  }

  function tell(peer: string) {
    if (told.has(peer)) return
    told.add(peer)
    crowded(peer.replace(/^::ffff:/, ''))
  }

  return { count: () => total, close: () => clearInterval(timer) }
}
