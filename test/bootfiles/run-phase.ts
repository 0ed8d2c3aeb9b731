// Runs one phase of the installer on a made-up machine: a folder as ROOT, DRY_RUN unless a test wants the real thing.
import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

export const ramdisk = join(import.meta.dirname, '../../bootfiles/ramdisk')
const plans = join(import.meta.dirname, '../fixtures/plans')

type Machine = {
  plan: string // name of a fixture, or with `planText` a name only
  planText?: string
  files?: Record<string, string> // of the made-up machine, by path under ROOT
  real?: boolean // make the changes
}
export type Ran = {
  code: number
  ran: string[]
  said: string
  state(name: string): string | undefined
  root: string
}

/** `ran` are the changes in order, with the made-up ROOT and tool folder left out of them. */
export async function runPhase(phase: string, machine: Machine, use?: (root: string) => void): Promise<Ran> {
  const root = mkdtempSync(join(tmpdir(), 'sysclone-phase-'))
  try {
    const installer = prepare(root, machine)
    use?.(root)
    const env = {
      PATH: process.env.PATH,
      ROOT: root,
      INSTALLER: installer,
      TOOLS: join(root, 'tools'),
      PAUSE: '0.1',
      PHASE: phase.replace(/^\d\d-(.*)\.sh$/, '$1'),
      ...(!machine.real && { DRY_RUN: '1' }),
    }
    const { code, out } = await run(['sh', '-eu', '-o', 'pipefail', join(ramdisk, 'phases', phase)], env)
    const said = out.replaceAll(join(root, 'tools/'), '').replaceAll(root, '')
    const kept = new Map<string, string | undefined>()
    for (const name of ['reason', 'percent', 'receipt/hostkeys', 'receipt/esp', 'receipt/loader'])
      kept.set(name, read(join(installer, 'state', name)))
    const ran = said.split('\n').flatMap((line) => (line.startsWith('+ ') ? [line.slice(2)] : []))
    return { code, ran, said, state: (name) => kept.get(name), root }
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

function prepare(root: string, { plan, planText, files = {} }: Machine): string {
  const installer = join(root, 'installer')
  mkdirSync(join(installer, 'layouts'), { recursive: true })
  cpSync(join(ramdisk, 'lib.sh'), join(installer, 'lib.sh'))
  writeFileSync(join(installer, 'plan'), planText ?? readFileSync(join(plans, `${plan}.plan`), 'utf8'))
  for (const disk of ['vda', 'sdb', 'nvme0n1']) {
    const layout = read(join(plans, `${plan}.${disk}.sfdisk`))
    if (layout) writeFileSync(join(installer, 'layouts', disk), layout)
  }
  for (const [path, text] of Object.entries({
    'proc/uptime': '100.00 90.00\n',
    'proc/mounts': '',
    'proc/swaps': '',
    ...files,
  })) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  mkdirSync(join(root, 'tools'))
  for (const tool of ['curl', 'zstd', 'tar', 'sha256sum'])
    symlinkSync(join('/usr/bin', tool), join(root, 'tools', tool))
  return installer
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

const LIMIT_MS = 18_000

/** busybox sh with everything it says in the order it says it. At the limit it ends with all that it started. */
function run(
  args: string[],
  env: Record<string, string | undefined>,
): Promise<{ code: number; out: string }> {
  return new Promise((resolve) => {
    const child = spawn('busybox', args, {
      env: env as NodeJS.ProcessEnv,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    const limit = setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), LIMIT_MS)
    let out = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => {
        out += chunk
      })
    child.on('close', (code) => {
      clearTimeout(limit)
      resolve({ code: code ?? -1, out })
    })
  })
}
