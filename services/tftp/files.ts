// What transfers read, without a buffer or a descriptor of their own: a file is opened once however many clients load it,
// and the pieces of all files share one bounded cache. Reading is synchronous: this runs in threads that do nothing else.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

export type Body = {
  bytes: number
  /** Copies `length` bytes from `offset` to `target` at `at`; throws when they can not be read. */
  copy(target: Buffer, at: number, offset: number, length: number): void
  close(): void
}
export type BodySource = { text: Uint8Array } | { path: string }

const pieceBytes = 64 << 10

type File = { path: string; fd: number; bytes: number; users: number; pieces: (Piece | undefined)[] }
type Piece = { file: File; index: number; data: Buffer; used: boolean }

export function makeFiles(cacheBytes = 32 << 20) {
  const files = new Map<string, File>()
  const most = Math.max(1, Math.floor(cacheBytes / pieceBytes))
  const ring: Piece[] = []
  let hand = 0

  function open(path: string): Body | undefined {
    const file = files.get(path) ?? openFile(path)
    if (!file) return undefined
    files.set(path, file)
    file.users++
    let closed = false
    return {
      bytes: file.bytes,
      copy: (target, at, offset, length) => copy(file, target, at, offset, length),
      close() {
        if (closed) return
        closed = true
        file.users--
        if (file.users === 0) forget(file)
      },
    }
  }

  function copy(file: File, target: Buffer, at: number, offset: number, length: number) {
    let done = 0
    while (done < length) {
      const index = Math.floor((offset + done) / pieceBytes)
      const piece = file.pieces[index] ?? load(file, index)
      piece.used = true
      const from = offset + done - index * pieceBytes
      const count = Math.min(length - done, piece.data.length - from)
      if (count <= 0) throw new Error(`${file.path} became shorter while it was sent`)
      piece.data.copy(target, at + done, from, from + count)
      done += count
    }
  }

  function load(file: File, index: number): Piece {
    const data = Buffer.allocUnsafeSlow(Math.min(pieceBytes, file.bytes - index * pieceBytes))
    const count = readFully(file.fd, data, index * pieceBytes)
    const piece: Piece = { file, index, data: data.subarray(0, count), used: true }
    file.pieces[index] = piece
    if (ring.length < most) ring.push(piece)
    else replace(piece)
    return piece
  }

  /** The next piece that nobody used since the hand came by last gives way. */
  function replace(piece: Piece) {
    for (;;) {
      const old = ring[hand]!
      if (old.used && old !== piece) old.used = false
      else {
        if (old.file.pieces[old.index] === old) old.file.pieces[old.index] = undefined
        ring[hand] = piece
        hand = (hand + 1) % most
        return
      }
      hand = (hand + 1) % most
    }
  }

  function forget(file: File) {
    files.delete(file.path)
    closeSync(file.fd)
    for (let i = ring.length - 1; i >= 0; i--) if (ring[i]!.file === file) ring.splice(i, 1)
    hand = 0
  }

  return {
    /** undefined: there is no such regular file. */
    open: (source: BodySource): Body | undefined =>
      'text' in source ? textBody(source.text) : open(source.path),
    /** Descriptors and bytes that are held now. */
    held: () => ({ files: files.size, bytes: ring.reduce((sum, { data }) => sum + data.length, 0) }),
  }
}

function textBody(bytes: Uint8Array): Body {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return {
    bytes: text.length,
    copy: (target, at, offset, length) => void text.copy(target, at, offset, offset + length),
    close() {},
  }
}

function openFile(path: string): File | undefined {
  const fd = tryOpen(path)
  if (fd === undefined) return undefined
  try {
    const stat = fstatSync(fd)
    if (stat.isFile()) return { path, fd, bytes: stat.size, users: 0, pieces: [] }
  } catch (error) {
    closeSync(fd)
    throw error
  }
  closeSync(fd)
  return undefined
}

function tryOpen(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw error
  }
}

function readFully(fd: number, target: Buffer, offset: number): number {
  let done = 0
  while (done < target.length) {
    const count = readSync(fd, target, done, target.length - done, offset + done)
    if (count === 0) break
    done += count
  }
  return done
}
