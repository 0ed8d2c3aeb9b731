// What firmware and loaders were seen to ask, byte by byte, and what each of them needs for an answer.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Emit } from '../../services/emit.ts'
import { textContent } from '../../services/http/content.ts'
import { type Pool, startPool } from '../../services/tftp/pool.ts'
import { startTftp } from '../../services/tftp/server.ts'
import type { Ipv4 } from '../../src/address.ts'
import { normalizeName } from '../../src/boot/names.ts'
import { openWire, type Wire } from './wire.ts'

const captured: Record<string, string> = JSON.parse(
  readFileSync(join(import.meta.dirname, '../fixtures/tftp/requests.json'), 'utf8'),
)
const file = 'x'.repeat(6000)
const there = /core|\.efi$|grub\.cfg|kpxe|c32|^boot\/x$/
const missing = /revocations|autoexec/
const events: { type: string; [field: string]: unknown }[] = []
const emit: Emit = (type, fields) => void events.push({ type, ...fields })
let pool: Pool
let server: Awaited<ReturnType<typeof startTftp>>
const wires: Wire[] = []

beforeAll(async () => {
  pool = await startPool({ workers: 1, emit })
  server = await startTftp({
    ...{ address: '127.0.0.1' as Ipv4, port: 0, pool, emit, maxBlockBytes: 1468 },
    open: async (name) => (there.test(name) && !missing.test(name) ? textContent(file) : undefined),
  })
})
afterAll(async () => {
  for (const wire of wires) wire.close()
  await server.close()
  await pool.close()
})

let last = 1
/** From an address of its own, as each machine has one. */
async function ask(bytes: Buffer) {
  const wire = await openWire(`127.0.1.${++last}`)
  wires.push(wire)
  const from = performance.now()
  wire.raw(bytes.toString('latin1'), server.port)
  const { packet, port } = await wire.next()
  return { wire, packet, port, ms: performance.now() - from }
}
const captureOf = (name: string) => Buffer.from(captured[name]!, 'hex')

// [client, OACK]; the rest of what it needs has a test of its own.
const rows: [string, Record<string, string>][] = [
  ['OVMF 2022.11 for the size', { tsize: '6000', blksize: '1468', windowsize: '4' }],
  ['OVMF 2022.11 for the data', { blksize: '1468', windowsize: '4' }],
  ['AAVMF 2022.11 for the size', { tsize: '6000', blksize: '1468', windowsize: '4' }],
  ['shim 16.1 loads GRUB', { blksize: '512', windowsize: '4' }],
  ['GRUB 2.06 x86_64-efi', { blksize: '1024', tsize: '6000' }],
  ['signed GRUB 2.06, its configuration', { blksize: '1024', tsize: '6000' }],
  ['iPXE ROM (QEMU virtio, BIOS)', { blksize: '1432', tsize: '6000' }],
  ['undionly.kpxe asked for by iPXE ROM', { blksize: '1432', tsize: '6000' }],
  ['SLOF 20220719', { blksize: '1428' }],
  ['pxelinux 6.04, its library', { tsize: '6000', blksize: '1408' }],
  ['busybox 1.35', { tsize: '6000' }],
]
for (const [client, options] of rows)
  test(`${client}: agreed is what it asks for, and nothing else`, async () => {
    const { packet, wire, port } = await ask(captureOf(client))
    expect(packet).toEqual({ op: 'oack', options })
    wire.send({ op: 'ack', block: 0 }, port)
    const window = Number(options.windowsize ?? 1)
    for (let block = 1; block <= window; block++)
      expect((await wire.next()).packet).toMatchObject({ op: 'data', block })
    wire.send({ op: 'error', code: 8, message: '' }, port)
  })

test('EDK2 asks for the size, aborts with an ERROR and asks again: no failure, and nothing of it is left', async () => {
  events.length = 0
  const { wire, port } = await ask(captureOf('OVMF 2022.11 for the size'))
  wire.send({ op: 'error', code: 8, message: 'User aborted the transfer' }, port)
  wire.raw(captureOf('OVMF 2022.11 for the data').toString('latin1'), server.port)
  const again = await wire.next()
  expect(again.packet).toMatchObject({ op: 'oack' })
  expect(again.port).not.toBe(port)
  await expect.poll(() => events.find(({ type }) => type === 'tftp.done')).toMatchObject({ why: 'aborted' })
  expect(events.filter(({ type }) => type === 'tftp.fail')).toEqual([])
  // The old transfer's port is closed: nobody answers there.
  wire.send({ op: 'ack', block: 0 }, port)
  expect((await wire.next(200))?.port).not.toBe(port)
})

for (const client of ['shim 16.1 looks for revocations', 'iPXE 2.0.0 looks for its own script'])
  test(`${client}: a miss is answered at once`, async () => {
    const { packet, ms } = await ask(captureOf(client))
    expect(packet).toMatchObject({ op: 'error', code: 1 })
    expect(ms).toBeLessThan(500)
  })

test('petitboot waits on time-outs: each of its guesses is refused at once', async () => {
  const from = performance.now()
  for (const name of ['pxelinux.cfg/01-52-54-00-00-00-01', 'pxelinux.cfg/0A4D000B', 'pxelinux.cfg/default'])
    expect((await ask(Buffer.from(`\0\x01${name}\0octet\0`, 'latin1'))).packet).toMatchObject({ code: 1 })
  expect(performance.now() - from).toBeLessThan(1000)
})

test('names as clients write them: backslashes of shim, doubled slashes of GRUB, a leading slash', async () => {
  for (const name of ['\\EFI\\BOOT\\grubx64.efi', '/boot//grub/grub.cfg', '//grub.cfg', './core.efi'])
    expect((await ask(Buffer.from(`\0\x01${name}\0octet\0`, 'latin1'))).packet).toMatchObject({ op: 'data' })
  expect(normalizeName('\\EFI\\BOOT\\grubx64.efi')).toBe('EFI/BOOT/grubx64.efi')
})

test('names that climb, or hold control bytes, or are too long, are no files', async () => {
  for (const name of ['../core.efi', 'a/../core.efi', '..\\core.efi', 'core\n.efi'])
    expect((await ask(Buffer.from(`\0\x01${name}\0octet\0`, 'latin1'))).packet).toMatchObject({ code: 1 })
  const wire = await openWire(`127.0.1.${++last}`)
  wires.push(wire)
  wire.raw(`\0\x01${'a'.repeat(600)}.efi\0octet\0`, server.port)
  expect(await wire.next(200)).toBeUndefined()
})

test('the mode is read in any case; mail and netascii get ERROR 4, a write ERROR 2', async () => {
  const modes = { OCTET: { op: 'data' }, OcTeT: { op: 'data' }, mail: { code: 4 }, netascii: { code: 4 } }
  for (const [mode, answer] of Object.entries(modes))
    expect((await ask(Buffer.from(`\0\x01core.efi\0${mode}\0`, 'latin1'))).packet).toMatchObject(answer)
  expect((await ask(captureOf('tftp-hpa 5.2 put'))).packet).toMatchObject({ op: 'error', code: 2 })
})

test('each transfer has a port of its own, which is not the one that is asked', async () => {
  const all = await Promise.all([1, 2, 3].map(() => ask(captureOf('SLOF 20220719'))))
  const ports = new Set(all.map(({ port }) => port))
  expect(ports.size).toBe(3)
  expect(ports.has(server.port)).toBe(false)
})

test('a block is never larger than the network lets through in one piece, whatever is asked', async () => {
  const { packet } = await ask(Buffer.from('\0\x01core.efi\0octet\0BLKSIZE\x0065464\0', 'latin1'))
  expect(packet).toEqual({ op: 'oack', options: { blksize: '1468' } })
})

test('a row of requests from one address does not reach its limit with those that never answered', async () => {
  const wire = await openWire('127.0.2.1')
  wires.push(wire)
  // Resets in the middle of a load, each from a new port: four are its limit, none of them will ever be answered.
  const lost = await Promise.all([1, 2, 3, 4, 5].map(() => openWire('127.0.2.1')))
  for (const each of lost) each.raw(captureOf('SLOF 20220719').toString('latin1'), server.port)
  const from = performance.now()
  wire.raw(captureOf('SLOF 20220719').toString('latin1'), server.port)
  expect((await wire.next()).packet).toMatchObject({ op: 'oack' })
  expect(performance.now() - from).toBeLessThan(1500)
  for (const each of lost) each.close()
})
