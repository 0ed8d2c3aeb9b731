import { once } from 'node:events'
import net from 'node:net'
import { ipv4FromNumber, ipv4ToNumber } from '../../src/address.ts'
import type { FuzzTask, Judge } from './fuzz-client.ts'
import { firstClient, serverAddress } from './lan.ts'
import { mutated, type Random } from './mutate.ts'

const AT_ONCE = 32
/** Requests of one connection: they are answered one after the other until one of them is beyond reading. */
const TOGETHER = 5
const PER_CHECK = 1000
const SILENCE_MS = 3000

const statuses = [200, 206, 400, 403, 404, 405, 408, 409, 411, 413, 414, 415, 416, 417, 431, 501, 503, 505]
const mac = '52-54-00-00-00-00' // of the first node

/** As loaders and our ramdisk ask; GRUB and EDK2 write their heads like this. */
const requests = [
  `GET /boot/ipxe/${mac} HTTP/1.1\r\nHost: ${serverAddress}\r\nUser-Agent: iPXE/1.21.1\r\nConnection: keep-alive\r\n\r\n`,
  `GET /boot/grub/grub.cfg-01-${mac} HTTP/1.1\r\nHost: ${serverAddress}\r\nUser-Agent: GRUB 2.06\r\n\r\n`,
  `GET /boot/grub/x86_64-efi/core.efi HTTP/1.1\r\nHost: ${serverAddress}\r\nRange: bytes=0-511\r\n\r\n`,
  `HEAD /boot/grub/x86_64-efi/core.efi HTTP/1.1\r\nHost: ${serverAddress}\r\nAccept: */*\r\nUser-Agent: UefiHttpBoot/1.0\r\n\r\n`,
  `GET /tftpboot//boot\\ipxe/${mac} HTTP/1.0\r\n\r\n`,
  `POST /node/start HTTP/1.1\r\nHost: ${serverAddress}\r\nContent-Type: application/json\r\nContent-Length: 56\r\n\r\n{"token":"00","nonce":"00","facts":{"disks":[],"a":"b"}}`,
  `GET /node/time HTTP/1.1\r\nHost: ${serverAddress}\r\n\r\n`,
].map((text) => Buffer.from(text, 'latin1'))

export async function fuzzHttp({ count }: FuzzTask, random: Random, judge: Judge) {
  const right = await textOfNode()
  if (!right.startsWith('HTTP/1.1 200')) throw new Error(`the node has no text: ${right.slice(0, 200)}`)
  let checked = 0
  await Promise.all(Array.from({ length: AT_ONCE }, work))

  async function work() {
    while (judge.sent < count) {
      await connection()
      if (judge.sent - checked < PER_CHECK) continue
      checked = judge.sent
      const text = await textOfNode()
      if (bodyOf(text) !== bodyOf(right)) judge.wrongly(`another text: ${text.slice(0, 300)}`)
      judge.alive += 1
    }
  }

  async function connection() {
    const parts = Array.from({ length: TOGETHER }, () => mutated(requests, random))
    judge.sent += parts.length
    const answer = await exchange(Buffer.concat(parts), ipv4ToNumber(firstClient) + random.below(20_000))
    // A body may hold anything, the line before a head may not: the first answer is judged, and how many came.
    for (const [line, status] of answer.matchAll(/HTTP\/1\.1 (\d{3}) [ -~]*\r\n/g)) {
      judge.answered += 1
      if (!statuses.includes(Number(status)))
        judge.wrongly(`${line.trim()} to ${parts[0]!.toString('latin1')}`)
    }
    if (answer !== '' && !answer.startsWith('HTTP/1.1 ')) judge.wrongly(`no head: ${answer.slice(0, 100)}`)
  }
}

const textOfNode = () =>
  exchange(
    Buffer.from(`GET /boot/ipxe/${mac} HTTP/1.1\r\nHost: ${serverAddress}\r\nConnection: close\r\n\r\n`),
    ipv4ToNumber(firstClient),
  )
const bodyOf = (answer: string) => answer.slice(answer.indexOf('\r\n\r\n'))

/** Everything that comes back until the server closes or is silent; the connection is then reset, so that no port stays. */
async function exchange(bytes: Buffer, from: number): Promise<string> {
  const socket = net.connect({ host: serverAddress, port: 80, localAddress: ipv4FromNumber(from) })
  const parts: Buffer[] = []
  let length = 0
  socket.on('data', (part) => {
    length += part.length
    if (length < 1 << 20) parts.push(part)
  })
  socket.on('error', () => {})
  const ended = Promise.race([once(socket, 'close').catch(() => {}), once(socket, 'end').catch(() => {})])
  socket.setTimeout(SILENCE_MS, () => socket.destroy())
  // The last request may be cut: what is missing never comes.
  socket.end(bytes)
  await ended
  socket.resetAndDestroy()
  return Buffer.concat(parts).toString('latin1')
}
