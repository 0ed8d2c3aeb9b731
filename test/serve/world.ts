// A whole server in a network namespace of its own, and machines that talk to it from their own addresses.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openImages } from '../../services/images/store.ts'
import type { ImageName } from '../../src/address.ts'
import type { Event } from '../../src/events.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { sampleImage } from '../install/sample-image.ts'

const main = join(import.meta.dirname, '../../services/cli/main.ts')
const cache = process.env.SYSCLONE_CACHE || '/var/cache/sysclone'
export const addresses = { server: '10.99.0.1', n1: '10.99.0.11', thief: '10.99.0.66' }
export const mac = '52:54:00:99:00:11'

export type World = Awaited<ReturnType<typeof openWorld>>

/**
 * @param network more keys of the one network, as `pool: ...`
 * @param preload a module for every process of the server
 * @param primary the interface's first address; ours is a secondary one then
 */
export async function openWorld({ network = '', preload = '', primary = '' } = {}) {
  const folder = mkdtempSync('/var/tmp/sysclone-serve-')
  const namespace = `scserve${process.pid}`
  const inside = ['ip', 'netns', 'exec', namespace]
  const sh = (argv: string[]) => execFileSync(argv[0]!, argv.slice(1), { encoding: 'utf8' })
  sh(['ip', 'netns', 'add', namespace])
  sh([...inside, 'ip', 'link', 'set', 'lo', 'up'])
  sh([...inside, 'ip', 'link', 'add', 'br0', 'type', 'bridge'])
  sh([...inside, 'ip', 'link', 'set', 'br0', 'up'])
  for (const address of [...(primary ? [primary] : []), ...Object.values(addresses)])
    sh([...inside, 'ip', 'addr', 'add', `${address}/24`, 'dev', 'br0'])

  const stateDir = join(folder, 'state')
  const socket = join(folder, 'api.sock')
  const configFile = join(folder, 'server.yaml')
  writeFileSync(
    configFile,
    [
      `stateDir: ${stateDir}`,
      `networks: [{ interface: br0, subnet: 10.99.0.0/24, address: ${addresses.server}${network && `, ${network}`} }]`,
      'http: { workers: 1 }',
      `api: { socket: ${socket} }`,
      '',
    ].join('\n'),
  )
  let server: ChildProcess | undefined
  let output = ''

  /** Starts the server as a person does; resolves when its processes are ready. */
  async function start() {
    output = ''
    const env = {
      ...{ ...process.env, SYSCLONE_CACHE: cache },
      ...(preload && { NODE_OPTIONS: `--import ${join(import.meta.dirname, preload)}` }),
    }
    // Looking for other DHCP servers takes seconds, and has tests of its own.
    const argv = [...inside.slice(1), process.execPath, main, 'serve', '--coexist', '--config', configFile]
    const child = spawn(inside[0]!, argv, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    server = child
    for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (text) => (output += text))
    await until('the server is ready', () => {
      if (child.exitCode !== null) throw new Error(`the server ended: ${output}`)
      return new Set(events('serve.start').map((e) => e.process)).size >= 3
    })
  }

  /** Sends a signal and waits for the end. */
  async function stop(signal: NodeJS.Signals = 'SIGTERM') {
    const child = server
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((done) => child.once('exit', done))
    child.kill(signal)
    await gone
  }

  const events = <T extends Event['type']>(type: T) =>
    output
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Event<T>)
      .filter((event) => event.type === type)

  /** The command line as a person uses it. */
  const sysclone = (...words: string[]) => command([process.execPath, main, ...words])
  /** The same, while other things happen; `read` is what it has said. */
  function spawnSysclone(...words: string[]) {
    const env = { ...process.env, SYSCLONE_SERVER: socket }
    const child = spawn(process.execPath, [main, ...words], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    const said = { out: '', err: '' }
    child.stdout.on('data', (text) => (said.out += text))
    child.stderr.on('data', (text) => (said.err += text))
    const ended = new Promise<number | null>((done) => child.once('close', done))
    return { said, ended }
  }
  /** A machine that takes connections and says nothing, until it is killed. */
  async function spawnSilent(address: string, port: number) {
    const code = `require('net').createServer(() => {}).listen(${port}, '${address}', () => console.log('up'))`
    const child = spawn(inside[0]!, [...inside.slice(1), process.execPath, '-e', code])
    await new Promise((up) => child.stdout.once('data', up))
    return child
  }
  /** A server that is expected to refuse to start. */
  const serveOnce = (config: string) =>
    command([...inside, process.execPath, main, 'serve', '--config', config])

  function command(argv: string[]): { code: number; out: string; err: string } {
    try {
      const env = { ...process.env, SYSCLONE_SERVER: socket, SYSCLONE_CACHE: cache }
      const out = execFileSync(argv[0]!, argv.slice(1), {
        env,
        encoding: 'utf8',
        stdio: 'pipe',
        timeout: 60_000,
      })
      return { code: 0, out, err: '' }
    } catch (error) {
      const { status, stdout, stderr } = error as { status: number; stdout: string; stderr: string }
      return { code: status, out: stdout, err: stderr }
    }
  }

  /** curl from one of the machines' own addresses; status 0: nobody answered. */
  function curl(
    from: string,
    path: string,
    ...more: string[]
  ): { status: number; headers: string; body: string } {
    const url = path.startsWith('http') ? path : `http://${addresses.server}${path}`
    const [headerFile, bodyFile] = [join(folder, 'headers'), join(folder, 'body')]
    for (const file of [headerFile, bodyFile]) writeFileSync(file, '')
    const fixed = [
      '-s',
      '-m',
      '20',
      '--interface',
      from,
      '-D',
      headerFile,
      '-o',
      bodyFile,
      '-w',
      '%{http_code}',
    ]
    const { out } = command([...inside, 'curl', ...fixed, ...more, url])
    return {
      status: Number(out),
      headers: readFileSync(headerFile, 'latin1'),
      body: readFileSync(bodyFile, 'utf8'),
    }
  }
  function post(from: string, path: string, body: unknown) {
    const file = join(folder, 'request')
    writeFileSync(file, JSON.stringify(body))
    return curl(from, path, '-H', 'Content-Type: application/json', '--data-binary', `@${file}`)
  }

  /** Processes of the server by the name of their file, as the kernel sees them. */
  function pids(role: string): number[] {
    return sh(['ip', 'netns', 'pids', namespace])
      .split('\n')
      .filter(Boolean)
      .map(Number)
      .filter((pid) => commandLine(pid).includes(`services/${role}.ts`))
  }

  async function close() {
    await stop()
    sh(['ip', 'netns', 'del', namespace])
    rmSync(folder, { recursive: true, force: true })
  }

  /** A command in the server's network; its output, however it ended. */
  const runInside = (...words: string[]) => command([...inside, ...words]).out

  const world = {
    folder,
    namespace,
    inside: runInside,
    socket,
    stateDir,
    configFile,
    start,
    stop,
    events,
    sysclone,
    spawnSysclone,
    spawnSilent,
    serveOnce,
    curl,
    post,
    pids,
    close,
  }
  return { ...world, output: () => output, publish: () => publishSample(stateDir) }
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')
  } catch {
    return '' // it has just ended
  }
}

/** An image without a system in it: enough for everything that the server decides. */
async function publishSample(stateDir: string): Promise<ImageVersion> {
  const imagesDir = join(stateDir, 'images')
  mkdirSync(imagesDir, { recursive: true })
  const images = await openImages(imagesDir)
  const stage = await images.openStage()
  const blob = async (text: string) => {
    const { digest, bytes } = await stage.writeBlob([Buffer.from(text)])
    return { digest, bytes }
  }
  const { name: _, version: __, digest: ___, tarBytes: ____, ...sample } = sampleImage
  const layer = { ...sample.layers[0]!, ...(await blob('layer')), directories: true }
  const [kernel, modules, manifest] = [await blob('kernel'), await blob('modules'), await blob('manifest')]
  const version = await images.publish(stage, 'img' as ImageName, {
    ...sample,
    kernel,
    modules,
    manifest,
    layers: [layer],
  })
  await stage.close()
  return version
}

export async function until(what: string, check: () => boolean | Promise<boolean>, limitMs = 60_000) {
  for (const end = Date.now() + limitMs; Date.now() < end; await sleep(50)) if (await check()) return
  throw new Error(`waited ${limitMs / 1000} s in vain: ${what}`)
}
