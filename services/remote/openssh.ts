// What is large comes by OpenSSH's own client, over a connection of its own: a byte costs it half of what ssh2 takes.
// ssh2 has logged in before, so the host key is known, and all that can be said of it is said. Where OpenSSH's client is
// not there or does not get through, ssh2 carries that too.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { lstat, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { UserError } from '../../src/fault.ts'
import { HOST, renderKnownHosts, renderSshConfig } from '../../src/ssh-config.ts'
import { isAlive } from '../store/alive.ts'
import { startAgent } from './agent.ts'
import type { SshTarget } from './login.ts'
import { afterMark, MARK, startOf } from './shell.ts'
import type { Ssh } from './ssh.ts'
import { lostFault } from './ssh.ts'

/** A running script. What it prints is for whoever reads the pipe: nothing of it passes through this thread. */
export type BulkRun = {
  pipe: string // path of a named pipe
  /** What comes before the script's own output in the pipe ends with this. */
  mark?: string
  /** To be said once somebody reads the pipe, or nobody will: it then ends when the script does. */
  handOver(): Promise<void>
  stderr: Readable
  exit: Promise<number> // as that of Running
}
export type BulkStart = {
  script: string
  lines: readonly string[]
  input: () => Readable // is asked for once the script has begun
  bytes: number // that are expected, about
}
export type Bulk = {
  run(start: BulkStart): Promise<BulkRun>
  close(): Promise<void>
}

/** Below, another login takes longer than what it saves. */
const WORTH_IT = 64 << 20

/** How the folders of connections are called, and then the process that each is of. */
const FOLDER = 'sysclone-ssh-'

/** ssh's own exit code when it did not come to, or lost, the other side. */
const NO_CONNECTION = 255

/**
 * @param ssh logged in to that target
 * @param note gets one line when OpenSSH's client does not do
 */
export function openBulk(ssh: Ssh, target: SshTarget, note: (text: string) => void): Bulk {
  const running = new Set<ChildProcess>()
  let isClosed = false
  let isOfNoUse = false
  let number = 0
  let folder: Promise<string> | undefined
  let ground: Promise<Ground | undefined> | undefined
  const giveUp = (why: string) => {
    if (!isOfNoUse && !isClosed) note(`the archive comes by ssh2, which is slower: ${why}`)
    isOfNoUse = true
  }

  async function run(start: BulkStart): Promise<BulkRun> {
    folder ??= makeFolder()
    const at = await folder
    const attempt = async (begin: (pipe: string) => Promise<Begun | undefined>) => {
      const { path, handOver } = await openPipe(join(at, `pipe-${number++}`))
      const begun = await begin(path).catch(async (error) => {
        await handOver()
        throw error
      })
      if (begun === undefined) await handOver()
      return begun && { ...begun, pipe: path, handOver }
    }
    const ready = start.bytes >= WORTH_IT ? await groundIn(at) : undefined
    const begun = ready && (await attempt((pipe) => begin(ready, pipe, start)))
    return begun ?? (await attempt((pipe) => beginByOther(pipe, start)))!
  }
  async function groundIn(folder: string) {
    ground ??= prepare(folder, ssh, target).catch((error) => void giveUp((error as Error).message))
    const ready = await ground
    return isOfNoUse || isClosed ? undefined : ready
  }
  type Begun = Pick<BulkRun, 'mark' | 'stderr' | 'exit'>

  /** Undefined when the script was never reached. */
  async function begin(
    ready: Ground,
    pipe: string,
    { script, lines, input }: BulkStart,
  ): Promise<Begun | undefined> {
    const start = startOf(target.user, script, lines)
    const log = `${pipe}.log`
    const stdout = await open(pipe, 'w') // only to be written to: when nobody reads any more ssh ends
    const child = spawn('ssh', ['-F', ready.config, '-E', log, HOST, start.command], {
      env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin' },
      stdio: ['pipe', stdout.fd, 'pipe'],
    })
    running.add(child)
    const stderr = afterMark()
    let code = NO_CONNECTION
    let unstarted: Error | undefined
    child.once('error', (error) => {
      unstarted = error
    })
    const ended = new Promise<void>((resolve) => {
      child.once('close', (status) => {
        code = status ?? NO_CONNECTION
        resolve()
      })
    }).finally(() => running.delete(child))
    child.stdin!.on('error', () => {}) // a script that ends early: its exit code says why
    child.stdin!.write(start.input)
    child.stderr!.pipe(stderr.stream)
    const begun = hasBegun(ended, stderr.stream, target.timeoutMs)
    await stdout.close() // it is the child's now
    if (!(await begun)) {
      child.kill()
      giveUp(unstarted?.message ?? (await lastLine(log, code)))
      return undefined
    }
    pipeline(input(), child.stdin!).catch(() => {})
    const exit = ended.then(async () => {
      if (code !== NO_CONNECTION) return code
      throw lostFault(target, await lastLine(log, code))
    })
    exit.catch(() => {}) // may settle before anybody waits
    return { stderr: stderr.stream, exit, mark: MARK }
  }

  async function beginByOther(pipe: string, { script, lines, input }: BulkStart): Promise<Begun> {
    const { stdout, stderr, exit } = await ssh.runScript(script, lines, input())
    const piped = pipeline(stdout, createWriteStream(pipe)).catch(() => {})
    const both = exit.finally(() => piped)
    both.catch(() => {}) // may settle before anybody waits
    return { stderr, exit: both }
  }

  async function close() {
    isClosed = true
    for (const child of running) child.kill()
    ;(await ground)?.agent.close()
    const made = await folder?.catch(() => undefined) // why there is none was thrown where it was wanted
    if (made !== undefined) await rm(made, { recursive: true, force: true })
  }
  return { run, close }
}

/** Nobody else may enter it. A full disk is not that of the image store: it has an error of its own. */
async function makeFolder(): Promise<string> {
  await removeLeft()
  return mkdtemp(join(tmpdir(), `${FOLDER}${process.pid}-`)).catch((error: Error) => {
    throw new UserError('no folder for the connection can be made', {
      what: error.message,
      allowed: `a folder that can be written to; ${tmpdir()} is used, or TMPDIR`,
      status: 507,
    })
  })
}

/** What killed jobs have left there; nothing of another user's, who could make us remove what is elsewhere. */
async function removeLeft() {
  for (const name of await readdir(tmpdir()).catch(() => [])) {
    const pid = name.startsWith(FOLDER) && /^(\d+)-/.exec(name.slice(FOLDER.length))?.[1]
    if (!pid || isAlive(Number(pid))) continue
    const path = join(tmpdir(), name)
    const found = await lstat(path).catch(() => undefined)
    if (found?.isDirectory() && found.uid === process.getuid!())
      await rm(path, { recursive: true, force: true })
  }
}

/** A named pipe that we hold open ourselves: who opens an end of it need not wait, and it does not end too early. */
async function openPipe(path: string) {
  await promisify(execFile)('mkfifo', ['-m', '600', path])
  const ours = await open(path, 'r+')
  let isOurs = true
  const handOver = async () => {
    if (!isOurs) return
    isOurs = false
    await ours.close()
  }
  return { path, handOver }
}

type Ground = { config: string; agent: { close(): void } }

/** Who is known, how to log in, and the socket of the agent, as files in a folder. */
async function prepare(folder: string, { hostKeys }: Ssh, target: SshTarget): Promise<Ground> {
  const at = (name: string) => join(folder, name)
  const files = { agent: at('agent'), knownHosts: at('known_hosts') }
  const hosts = {
    host: { ...target, key: hostKeys.host },
    ...(target.jump && hostKeys.jump && { jump: { ...target.jump, key: hostKeys.jump } }),
  }
  await writeFile(files.knownHosts, renderKnownHosts(hosts))
  await writeFile(at('config'), renderSshConfig({ ...hosts, ...files, timeoutMs: target.timeoutMs }))
  return { config: at('config'), agent: await startAgent(files.agent, target.privateKey) }
}

/** Whether the script begins before its process ends, and in time. */
function hasBegun(ended: Promise<void>, said: Readable, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), timeoutMs)
    const settle = (isSo: boolean) => {
      clearTimeout(timer)
      resolve(isSo)
    }
    said.once('begun', () => settle(true))
    ended.then(() => settle(false))
  })
}

async function lastLine(log: string, code: number): Promise<string> {
  const text = await readFile(log, 'utf8').catch(() => '')
  const said = text.trim().split(/\r?\n/).at(-1)?.slice(0, 300)
  return said || `ssh ended with ${code}`
}
