// The whole job on real input: a golden client is captured and cloned onto two blank machines, one BIOS and one UEFI.
// Everything is done with the commands that a person would type; what comes out is looked at over ssh.
import { statSync } from 'node:fs'
import { UserError } from '../../src/fault.ts'
import { type Display, grouped, renderTable } from './display.ts'
import { type Lab, openLab } from './lab.ts'
import type { Firmware, Machine } from './machine.ts'
import { lastProgress, readConsole } from './serial.ts'
import { until } from './site.ts'

export type DemoOptions = {
  cache: string
  /** How the command line of sysclone is started: its argv without the command. */
  sysclone: string[]
  display: Display
  signal: AbortSignal
  /** What else is to be done in the lab before it is closed. */
  afterwards?: (lab: Lab) => Promise<void>
}
export type Step = { name: string; seconds: number; bytes?: number }
/** What a machine says about itself over ssh. */
export type Identity = {
  hostname: string
  machineId: string
  hostKey: string
  bootId: string
  firmware: string
  root: string
  kernelCommandLine: string
  marker: string
}
export type DemoResult = {
  steps: Step[]
  golden: Identity
  clones: Record<string, Identity>
  /** The clone that was netbooted once more, as it then was. */
  again: { name: string; identity: Identity; console: string }
}

const goldenNode = { name: 'golden', mac: '52:54:00:77:00:0a', ip: '10.77.0.10' }
type Target = { name: string; firmware: Firmware; mac: string; ip: string }
const targets: Target[] = [
  { name: 'n1', firmware: 'bios', mac: '52:54:00:77:00:11', ip: '10.77.0.11' },
  { name: 'n2', firmware: 'uefi', mac: '52:54:00:77:00:12', ip: '10.77.0.12' },
]
/** The ramdisk then talks on the serial port, which is what the lab can read. */
const compute = ['groups=compute', 'serialport=0', 'serialspeed=115200']
const names = targets.map((target) => target.name).join(',')
/** Larger than the golden client's disk: the last file system grows. */
const blankBytes = 4 * 1024 ** 3
/** Generous: they end a run that hangs, they do not judge a slow machine. */
const limits = { bootMs: 6 * 60_000, cloneMs: 25 * 60_000 }

/** Runs the demo; everything that it started is ended when it returns or throws. */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const { display } = options
  const steps: Step[] = []
  /** One row of the closing table. */
  async function step<T>(
    name: string,
    work: () => Promise<T>,
    bytes?: (result: T) => number | undefined,
  ): Promise<T> {
    display.say(`== ${name}`)
    const from = performance.now()
    const result = await work()
    const seconds = (performance.now() - from) / 1000
    const size = bytes?.(result)
    steps.push({ name, seconds, ...(size !== undefined && { bytes: size }) })
    display.say(`   ${seconds.toFixed(1)} s${size === undefined ? '' : `, ${grouped(size)} bytes`}`)
    return result
  }

  const lab = await step(
    'golden client disk and private network',
    () => openLab({ ...options, say: (line) => display.say(`  ${line}`) }),
    (opened) => statSync(opened.golden.disk).blocks * 512,
  )
  let failed = true
  try {
    const result = await clone(lab, display, step)
    if (options.afterwards) await step('afterwards', () => options.afterwards!(lab))
    failed = false
    return { steps, ...result }
  } finally {
    const logs = await lab.close(failed)
    if (failed) display.say(`logs are kept:\n${logs.map((log) => `  ${log}`).join('\n')}`)
  }
}

type StepRunner = <T>(
  name: string,
  work: () => Promise<T>,
  bytes?: (result: T) => number | undefined,
) => Promise<T>

async function clone(lab: Lab, display: Display, step: StepRunner): Promise<Omit<DemoResult, 'steps'>> {
  await step('server started', () => lab.startServer())
  const goldenMachine = await lab.goldenMachine(goldenNode.mac)
  const marker = await step('golden client booted, marker file placed on it', async () => {
    const { name, mac, ip } = goldenNode
    await lab.sysclone(
      'mkdef',
      '-t',
      'node',
      '-o',
      name,
      `mac=${mac}`,
      `ip=${ip}`,
      `sshhostkey=${lab.golden.hostKey}`,
    )
    await goldenMachine.powerOn('disk')
    return placeMarker(lab)
  })
  const golden = await identify(lab, goldenNode)
  await step(
    'golden client captured',
    async () => {
      await lab.sysclone('imgcapture', goldenNode.name, '-t', 'sysclone', '-o', 'img')
      return storedBytes(lab)
    },
    (bytes) => bytes,
  )
  await goldenMachine.powerOff()

  const machines = await step('two nodes defined and set to install', async () => {
    for (const { name, mac, ip } of targets)
      await lab.sysclone('mkdef', '-t', 'node', '-o', name, `mac=${mac}`, `ip=${ip}`, ...compute)
    await lab.sysclone('nodeset', names, 'osimage=img')
    const made: Machine[] = []
    for (const target of targets) made.push(await lab.machine({ ...target, diskBytes: blankBytes }))
    return made
  })
  await step(
    'two blank machines cloned, until both run from their own disk',
    async () => {
      await Promise.all(machines.map((machine) => machine.powerOn('network')))
      await cloned(lab, machines, display)
      return received(machines)
    },
    (bytes) => bytes,
  )
  const clones = await step('both logged in to', async () => {
    const found: Record<string, Identity> = {}
    for (const target of targets) {
      found[target.name] = await identify(lab, target)
      display.say(`  ${target.name}: ${describe(found[target.name]!)}`)
    }
    return found
  })
  judge({ golden, clones, marker })

  const last = targets.at(-1)!
  const again = await step(`${last.name} netbooted once more`, () =>
    netbootAgain(lab, machines.at(-1)!, last, clones[last.name]!, display),
  )
  return { golden, clones, again }
}

/** What the image takes in the image store. */
async function storedBytes(lab: Lab): Promise<number | undefined> {
  const { stdout } = await lab.ask(['lsimage', 'img', '--json'])
  return (JSON.parse(stdout) as { bytes: number }[])[0]?.bytes
}

/** What the network has brought to the machines. */
async function received(machines: Machine[]): Promise<number> {
  const each = await Promise.all(machines.map((machine) => machine.received()))
  return each.reduce((sum, bytes) => sum + bytes, 0)
}

/** A file that only a true copy has: content, owner, mode and its second link. */
async function placeMarker(lab: Lab): Promise<string> {
  const text = `captured by the demo, lab ${process.pid}`
  const script = `mkdir -p /srv/demo
echo '${text}' > /srv/demo/marker
chown 1234:5678 /srv/demo/marker
chmod 640 /srv/demo/marker
ln -f /srv/demo/marker /srv/demo/second-name
sync
`
  const wait = { limitMs: limits.bootMs, everyMs: 1000, signal: lab.signal }
  await until('the golden client answers ssh', wait, async () => {
    lab.check()
    return lab.ssh(goldenNode.name, goldenNode.ip, script)
  })
  return `${text} 640 1234 5678 2`
}

/** Shows both consoles until the server has seen both machines run from their own disk. */
async function cloned(lab: Lab, machines: Machine[], display: Display) {
  const wait = { limitMs: limits.cloneMs, everyMs: 1000, signal: lab.signal }
  let asked = 0
  await until('both clones have booted', wait, async () => {
    lab.check()
    const shown = machines.map((machine) => ({
      machine,
      progress: lastProgress(readConsole(machine.console)),
    }))
    display.status(
      shown.map(({ machine, progress }) => `${machine.name}: ${progressText(progress)}`).join('   '),
      shown.map(({ progress }) => `${progress?.phase} ${Math.floor((progress?.percent ?? 0) / 10)}`).join(),
    )
    if (performance.now() - asked < 4000) return undefined // each question is a process of its own
    asked = performance.now()
    return (await statuses(lab)).every((status) => status === 'booted') ? true : undefined
  })
}

function progressText(progress: ReturnType<typeof lastProgress>) {
  return progress ? `${progress.phase} ${progress.percent}%` : 'firmware'
}

/** The status of each target; a clone that failed ends the demo with the server's reason. */
async function statuses(lab: Lab): Promise<string[]> {
  const { stdout, stderr, code } = await lab.ask(['lsdef', names, '--json'])
  if (code !== 0) throw new UserError('lsdef failed', { what: stderr.trim() })
  const nodes = JSON.parse(stdout) as Record<string, { status?: string }>
  return targets.map(({ name }) => {
    const status = nodes[name]?.status ?? ''
    if (/failed|held|expired/.test(status))
      throw new UserError('not cloned', { what: `${status}; ${lab.lastSaidOf(name)}`, object: name })
    return status
  })
}

/** NIC first again: the server must send the machine to its own disk and nothing may be installed. */
async function netbootAgain(lab: Lab, machine: Machine, target: Target, before: Identity, display: Display) {
  await machine.powerOff()
  const mark = statSync(machine.console).size
  await machine.powerOn('network')
  const wait = { limitMs: limits.bootMs, everyMs: 1000, signal: lab.signal }
  const identity = await until(`${target.name} is up again`, wait, async () => {
    lab.check()
    return tryIdentify(lab, target)
  })
  const console = readConsole(machine.console, mark)
  if (identity.bootId === before.bootId) throw wrong(target.name, 'it was not booted again')
  if (identity.machineId !== before.machineId || identity.hostKey !== before.hostKey)
    throw wrong(target.name, 'it is another machine than before: it was installed again')
  if (/sysclone: [a-z]+ \d+%/.test(console)) throw wrong(target.name, 'the installer ran')
  display.say(`  ${target.name}: netbooted, went to its disk: ${describe(identity)}`)
  return { name: target.name, identity, console }
}

const identityScript = `echo "hostname=$(hostname)"
echo "machineId=$(cat /etc/machine-id)"
echo "bootId=$(cat /proc/sys/kernel/random/boot_id)"
echo "firmware=$([ -d /sys/firmware/efi ] && echo uefi || echo bios)"
echo "root=$(findmnt -n -o SOURCE /)"
echo "kernelCommandLine=$(cat /proc/cmdline)"
echo "marker=$(cat /srv/demo/marker) $(stat -c '%a %u %g %h' /srv/demo/marker)"
`

async function identify(lab: Lab, machine: { name: string; ip: string }): Promise<Identity> {
  const wait = { limitMs: limits.bootMs, everyMs: 1000, signal: lab.signal }
  return until(`${machine.name} answers ssh`, wait, () => tryIdentify(lab, machine))
}

async function tryIdentify(
  lab: Lab,
  { name, ip }: { name: string; ip: string },
): Promise<Identity | undefined> {
  const said = await lab.ssh(name, ip, identityScript)
  if (said === undefined) return undefined
  const facts = Object.fromEntries(
    said
      .trim()
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  )
  return { ...facts, hostKey: lab.hostKeyOf(name) } as Identity
}

const describe = (id: Identity) =>
  `${id.hostname}, ${id.firmware}, root on ${id.root}, machine-id ${id.machineId.slice(0, 8)}…, host key ${id.hostKey.slice(0, 15)}…`

/** A clone is the golden client in everything but its identity. */
function judge(found: { golden: Identity; clones: Record<string, Identity>; marker: string }) {
  for (const { name, firmware } of targets) {
    const clone = found.clones[name]!
    const others = [found.golden, ...Object.values(found.clones).filter((other) => other !== clone)]
    if (clone.hostname !== name) throw wrong(name, `hostname is ${clone.hostname}`)
    if (clone.firmware !== firmware) throw wrong(name, `it was booted by ${clone.firmware}`)
    if (clone.marker !== found.marker) throw wrong(name, `marker is "${clone.marker}", not "${found.marker}"`)
    if (!/^[0-9a-f]{32}$/.test(clone.machineId)) throw wrong(name, `machine-id is "${clone.machineId}"`)
    if (!clone.root.startsWith('/dev/vda')) throw wrong(name, `root is on ${clone.root}`)
    if (others.some((other) => other.machineId === clone.machineId))
      throw wrong(name, 'machine-id is not its own')
    if (others.some((other) => other.hostKey === clone.hostKey))
      throw wrong(name, 'ssh host key is not its own')
  }
}
const wrong = (name: string, what: string) =>
  new UserError('the clone is not as it must be', { what, object: name })

/** The closing table: what was done, how long it took, how much it was. */
export function demoTable(steps: Step[]): string[] {
  const total = steps.reduce((sum, step) => sum + step.seconds, 0)
  const rows = [...steps, { name: 'all of it', seconds: total } as Step]
  return renderTable(
    ['step', 'seconds', 'bytes'],
    rows.map(({ name, seconds, bytes }) => [name, seconds.toFixed(1), grouped(bytes)]),
  )
}
