// Real TFTP clients: over two network namespaces with an Ethernet's MTU, without and with packets lost by nftables, and over a
// wire that doubles and delays packets.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fileContent } from '../../services/http/content.ts'
import { startPool } from '../../services/tftp/pool.ts'
import { startTftp } from '../../services/tftp/server.ts'
import { parseIpv4 } from '../../src/address.ts'
import { type Fate, openRelay } from './relay.ts'

const folder = mkdtempSync(join(tmpdir(), 'sysclone-tftp-clients-'))
const spaces = { server: `sctftps${process.pid}`, client: `sctftpc${process.pid}` }
const address = '10.98.0.1'
const sizes = {
  small: 700,
  border: 1024 * 8,
  loader: 1_000_000,
  medium: 300_000,
  big: 512 * 65_536 + 77,
}
let server: ChildProcess

const ip = (...words: string[]) => execFileSync('ip', words)
beforeAll(async () => {
  for (const [name, bytes] of Object.entries(sizes))
    writeFileSync(join(folder, name), Buffer.alloc(bytes, Buffer.from(`${name} of sysclone's `)))
  for (const space of Object.values(spaces)) {
    ip('netns', 'add', space)
    ip('-n', space, 'link', 'set', 'lo', 'up')
  }
  ip(
    '-n',
    spaces.server,
    'link',
    'add',
    'eth0',
    'type',
    'veth',
    'peer',
    'name',
    'eth0',
    'netns',
    spaces.client,
  )
  for (const [space, own] of [
    [spaces.server, address],
    [spaces.client, '10.98.0.2'],
  ] as const) {
    ip('-n', space, 'addr', 'add', `${own}/24`, 'dev', 'eth0')
    ip('-n', space, 'link', 'set', 'eth0', 'up')
  }
  await startServer()
})
async function startServer() {
  const script = join(import.meta.dirname, 'serve.ts')
  const argv = ['netns', 'exec', spaces.server, process.execPath, script, address, folder]
  server = spawn('ip', argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  await new Promise<void>((ready) => {
    server.stdout!.on('data', (text) => String(text).includes('ready\n') && ready())
  })
}
afterAll(async () => {
  const gone = once(server, 'exit')
  server.kill('SIGKILL')
  await gone
  for (const space of Object.values(spaces)) ip('netns', 'del', space)
  rmSync(folder, { recursive: true })
})

type Get = { host: string; port: string; file: string; target: string }
const clients: Record<string, (get: Get) => [string, string[]]> = {
  'tftp-hpa, no options': ({ host, port, file, target }) => [
    'tftp',
    ['-m', 'octet', host, port, '-c', 'get', file, target],
  ],
  'atftp, no options': ({ host, port, file, target }) => [
    'atftp',
    ['-g', '-r', file, '-l', target, host, port],
  ],
  'atftp, blksize, tsize and windowsize': ({ host, port, file, target }) => [
    'atftp',
    [
      ...['--option', 'blksize 1428', '--option', 'tsize 0', '--option', 'windowsize 8'],
      '-g',
      '-r',
      file,
      '-l',
      target,
      host,
      port,
    ],
  ],
  'busybox, blksize': ({ host, port, file, target }) => [
    'busybox',
    ['tftp', '-b', '1468', '-g', '-r', file, '-l', target, host, port],
  ],
  curl: ({ host, port, file, target }) => [
    'curl',
    ['-s', '-m', '60', '-o', target, `tftp://${host}:${port}/${file}`],
  ],
  'curl, blksize': ({ host, port, file, target }) => [
    'curl',
    ['-s', '-m', '60', '--tftp-blksize', '1428', '-o', target, `tftp://${host}:${port}/${file}`],
  ],
}

let count = 0
const targetFile = () => {
  const target = join(folder, `got${++count}`)
  writeFileSync(target, '')
  return target
}
/** Whether the file came whole, and what the client said. */
async function get(command: [string, string[]], file: string, target: string, inside: string[] = []) {
  const [name, ...argv] = [...inside, command[0], ...command[1]]
  const child = spawn(name!, argv, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (text) => (said += text))
  await once(child, 'close')
  const got = readFileSync(target)
  rmSync(target)
  return { whole: got.equals(readFileSync(join(folder, file))), said }
}
const overWire = (client: string, file: keyof typeof sizes) => {
  const target = targetFile()
  const command = clients[client]!({ host: address, port: '69', file, target })
  return get(command, file, target, ['ip', 'netns', 'exec', spaces.client])
}
/**
 * When its ACK of the OACK is lost the OACK comes again (RFC 2347), and atftp gives up, whoever the server is. That it
 * said so is the one failure for which it may try again.
 */
async function overLossyWire(client: string, file: keyof typeof sizes): Promise<boolean> {
  for (let tries = 0; tries < 8; tries++) {
    const { whole, said } = await overWire(client, file)
    if (whole || !said.includes('unexpected OACK')) return whole
  }
  return false
}

for (const client of Object.keys(clients))
  test(`${client}: small, on a border of blocks, a loader`, async () => {
    for (const file of ['small', 'border', 'loader'] as const)
      expect((await overWire(client, file)).whole).toBe(true)
  })

test('tftp-hpa: block numbers wrap after 32 MiB of 512-byte blocks', async () => {
  expect((await overWire('tftp-hpa, no options', 'big')).whole).toBe(true)
})

for (const percent of [1, 10])
  test(`${percent} % of all packets lost, either way: all clients get it whole`, async () => {
    // What comes in is lost: what is lost on its way out is an error of `sendto`.
    const nft = (text: string) => {
      for (const space of Object.values(spaces))
        execFileSync('ip', ['netns', 'exec', space, 'nft', '-f', '-'], { input: text })
    }
    const lose = `meta l4proto udp numgen random mod 100 < ${percent} drop`
    nft(`table inet lossy {\n chain in {\n type filter hook input priority 0\n ${lose}\n }\n }\n`)
    try {
      const names = Object.keys(clients)
      // They have one address: beyond four at once the queue lets none be silent for long, and a lost packet is silence.
      for (const some of [names.slice(0, 3), names.slice(3)]) {
        const got = await Promise.all(
          some.map((client) => overLossyWire(client, percent === 1 ? 'medium' : 'border')),
        )
        expect(Object.fromEntries(got.map((whole, i) => [some[i], whole]))).toEqual(
          Object.fromEntries(some.map((name) => [name, true])),
        )
      }
    } finally {
      nft('delete table inet lossy')
    }
  })

test('packets doubled and delayed: all clients get it whole', async () => {
  const host = '127.0.0.1'
  const emit = () => {}
  const pool = await startPool({ workers: 1, emit })
  const open = (name: string) => fileContent(join(folder, name), { contentType: 'x' })
  const server = await startTftp({ address: parseIpv4(host), port: 0, open, pool, emit, maxBlockBytes: 1468 })
  let packets = 0
  const fate = (): Fate => {
    packets++
    return packets % 5 === 0 ? 'twice' : packets % 13 === 0 ? 'late' : 'pass'
  }
  for (const client of Object.keys(clients)) {
    const relay = await openRelay(server.port, fate)
    const target = targetFile()
    const command = clients[client]!({ host, port: String(relay.port), file: 'border', target })
    expect([client, (await get(command, 'border', target)).whole]).toEqual([client, true])
    relay.close()
  }
  await server.close()
  await pool.close()
})
