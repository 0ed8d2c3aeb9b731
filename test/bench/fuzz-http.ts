// HTTP of two places: loader texts and nodes (port 80), and the blob workers' (8081), where every byte of a body is known.
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { ipv4FromNumber, ipv4ToNumber } from '../../src/address.ts'
import type { FuzzTask, Judge } from './fuzz-client.ts'
import { firstClient, serverAddress } from './lan.ts'
import { mutated, type Random } from './mutate.ts'

const AT_ONCE = 32
const PER_CHECK = 1000
const SILENCE_MS = 3000
const ANSWERED_MS = 5

const statuses = [200, 206, 400, 403, 404, 405, 408, 409, 411, 413, 414, 415, 416, 417, 431, 501, 503, 505]
const mac = '52-54-00-00-00-00' // of the first node

/**
 * `good` is what a good client asks for; `faultOf`: what is wrong with an answer, as far as it can be known.
 * `together`: requests of one connection, answered one after the other until one of them is beyond reading. A worker drops
 * with that one what it has not answered yet, as it does when the client closes its side: that is done `endMs` after the
 * request, or a little after an answer.
 */
type Place = {
  port: number
  together: number
  endMs: number
  requests: Buffer[]
  good: string
  faultOf?: (head: string, body: Buffer) => string | undefined
}

/** As loaders and our ramdisk ask; GRUB and EDK2 write their heads like this. */
const textRequests = [
  `GET /boot/ipxe/${mac} HTTP/1.1\r\nHost: ${serverAddress}\r\nUser-Agent: iPXE/1.21.1\r\nConnection: keep-alive\r\n\r\n`,
  `GET /boot/grub/grub.cfg-01-${mac} HTTP/1.1\r\nHost: ${serverAddress}\r\nUser-Agent: GRUB 2.06\r\n\r\n`,
  `GET /boot/grub/x86_64-efi/core.efi HTTP/1.1\r\nHost: ${serverAddress}\r\nRange: bytes=0-511\r\n\r\n`,
  `HEAD /boot/grub/x86_64-efi/core.efi HTTP/1.1\r\nHost: ${serverAddress}\r\nAccept: */*\r\nUser-Agent: UefiHttpBoot/1.0\r\n\r\n`,
  `GET /tftpboot//boot\\ipxe/${mac} HTTP/1.0\r\n\r\n`,
  `POST /node/start HTTP/1.1\r\nHost: ${serverAddress}\r\nContent-Type: application/json\r\nContent-Length: 56\r\n\r\n{"token":"00","nonce":"00","facts":{"disks":[],"a":"b"}}`,
  `GET /node/time HTTP/1.1\r\nHost: ${serverAddress}\r\n\r\n`,
].map((text) => Buffer.from(text, 'latin1'))
const texts: Place = { port: 80, together: 5, endMs: 0, requests: textRequests, good: `/boot/ipxe/${mac}` }

export const fuzzHttp = (task: FuzzTask, random: Random, judge: Judge) =>
  fuzzPlace(texts, task, random, judge)
export const fuzzBlobs = (task: FuzzTask, random: Random, judge: Judge) =>
  fuzzPlace(blobsOf(task.site), task, random, judge)

/** Of the loaders' blobs the smallest: a request that loses its range gets the whole. */
function blobsOf({ folder }: FuzzTask['site']): Place {
  const blobs = join(folder, 'state/bootfiles/blobs/sha256')
  const files = new Map(readdirSync(blobs).map((hex) => [hex, readFileSync(join(blobs, hex))]))
  const [hex] = [...files].reduce((least, each) => (each[1].length < least[1].length ? each : least))
  const path = `/blobs/sha256/${hex}`
  const rest = `Host: ${serverAddress}\r\n\r\n`
  const requests = [
    `GET ${path} HTTP/1.1\r\nRange: bytes=0-511\r\n${rest}`,
    `GET ${path} HTTP/1.1\r\nUser-Agent: GRUB 2.06\r\nRange: bytes=1000-\r\n${rest}`,
    `GET ${path} HTTP/1.1\r\nRange: bytes=-100\r\nIf-Range: "sha256:${hex}"\r\n${rest}`,
    `GET ${path} HTTP/1.1\r\nUser-Agent: iPXE/1.21.1\r\nConnection: keep-alive\r\n${rest}`,
    `HEAD ${path} HTTP/1.1\r\n${rest}`,
    `GET /tftpboot//blobs\\sha256/${hex} HTTP/1.0\r\n\r\n`,
    `GET /blobs/sha256/${'0'.repeat(64)} HTTP/1.1\r\n${rest}`,
  ].map((text) => Buffer.from(text, 'latin1'))
  const faultOf = (head: string, body: Buffer) => blobFault(files, head, body)
  return { port: 8081, together: 1, endMs: 100, requests, good: path, faultOf }
}

/** A body is the bytes of the blob that the head names, from where the head says; HEAD has none. */
function blobFault(files: ReadonlyMap<string, Buffer>, head: string, body: Buffer): string | undefined {
  if (!/^HTTP\/1\.1 20[06] /.test(head)) return undefined
  const file = files.get(/^etag: "sha256:([0-9a-f]{64})"/im.exec(head)?.[1] ?? '')
  if (!file) return 'bytes of no blob'
  const [, first, last, bytes] = /^content-range: bytes (\d+)-(\d+)\/(\d+)/im.exec(head) ?? []
  const length = Number(/^content-length: (\d+)/im.exec(head)?.[1])
  const [start, end] = first === undefined ? [0, file.length] : [Number(first), Number(last) + 1]
  if (end - start !== length || end > file.length || Number(bytes ?? file.length) !== file.length)
    return "a length that is not the blob's"
  const isHead = body.length === 0 || body.subarray(0, 9).toString('latin1') === 'HTTP/1.1 '
  const got = body.subarray(0, length)
  return isHead || got.equals(file.subarray(start, start + got.length))
    ? undefined
    : "other bytes than the blob's"
}

async function fuzzPlace(place: Place, { count }: FuzzTask, random: Random, judge: Judge) {
  const { requests, good, together, faultOf = () => undefined } = place
  const right = await goodAnswer()
  if (!right.startsWith('HTTP/1.1 200')) throw new Error(`${good} is not there: ${right.slice(0, 200)}`)
  let checked = 0
  await Promise.all(Array.from({ length: AT_ONCE }, work))

  async function work() {
    while (judge.sent < count) {
      await connection()
      if (judge.sent - checked < PER_CHECK) continue
      checked = judge.sent
      const text = await goodAnswer()
      if (bodyOf(text) !== bodyOf(right)) judge.wrongly(`another text: ${text.slice(0, 300)}`)
      judge.alive += 1
    }
  }

  async function connection() {
    const parts = Array.from({ length: together }, () => mutated(requests, random))
    judge.sent += parts.length
    const from = ipv4ToNumber(firstClient) + random.below(20_000)
    const answer = await exchange(Buffer.concat(parts), from, place)
    // A body may hold anything, the line before a head may not: the first answer is judged, and how many came.
    for (const [line, status] of answer.matchAll(/HTTP\/1\.1 (\d{3}) [ -~]*\r\n/g)) {
      judge.answered += 1
      if (!statuses.includes(Number(status)))
        judge.wrongly(`${line.trim()} to ${parts[0]!.toString('latin1')}`)
    }
    if (answer !== '' && !answer.startsWith('HTTP/1.1 ')) judge.wrongly(`no head: ${answer.slice(0, 100)}`)
    const why = faultOf(headOf(answer), Buffer.from(bodyOf(answer).slice(4), 'latin1'))
    if (why) judge.wrongly(`${why}: ${headOf(answer)} to ${parts[0]!.toString('latin1')}`)
  }

  function goodAnswer() {
    const request = `GET ${good} HTTP/1.1\r\nHost: ${serverAddress}\r\nConnection: close\r\n\r\n`
    return exchange(Buffer.from(request), ipv4ToNumber(firstClient), { ...place, endMs: SILENCE_MS })
  }
}

const headOf = (answer: string) => answer.slice(0, answer.indexOf('\r\n\r\n'))
const bodyOf = (answer: string) => answer.slice(answer.indexOf('\r\n\r\n'))

/** Everything that comes back until the server closes or is silent; the connection is then reset, so that no port stays. */
async function exchange(bytes: Buffer, from: number, { port, endMs }: Place): Promise<string> {
  const socket = net.connect({ host: serverAddress, port, localAddress: ipv4FromNumber(from) })
  const parts: Buffer[] = []
  let length = 0
  socket.on('data', (part) => {
    endAfter(ANSWERED_MS)
    length += part.length
    if (length < 1 << 20) parts.push(part)
  })
  socket.on('error', () => {})
  const closed = once(socket, 'close').catch(() => {})
  // Where our side is still open, its end is on its way now and a reset would fail: the close comes by itself.
  const ended = endMs > 0 ? closed : Promise.race([closed, once(socket, 'end').catch(() => {})])
  socket.setTimeout(SILENCE_MS, () => socket.destroy())
  // The last request may be cut: what is missing never comes.
  socket.write(bytes)
  let timer: NodeJS.Timeout | undefined
  endAfter(endMs)
  await ended
  clearTimeout(timer)
  socket.resetAndDestroy()
  return Buffer.concat(parts).toString('latin1')

  function endAfter(ms: number) {
    clearTimeout(timer)
    if (ms === 0) socket.end()
    else timer = setTimeout(() => socket.resetAndDestroy(), ms)
  }
}
