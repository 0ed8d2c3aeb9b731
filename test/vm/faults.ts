// What goes wrong with real machines: a disk that is too small, a blob that is damaged, a server process that dies and a
// machine that is reset in the middle. Runs in the lab of the demo, on the image that it captured.
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { run } from '../../services/lab/command.ts'
import type { Lab } from '../../services/lab/lab.ts'

import { readConsole } from '../../services/lab/serial.ts'
import { until } from '../../services/lab/site.ts'

export type Faults = {
  tooSmall: { stat: string; blocksWritten: number; console: string }
  corrupt: { stat: string; digest: string; console: string }
  interrupted: {
    mainWas: number
    mainIs: number
    statAfterReset: string
    attempts: number
    status: string | undefined
  }
}
const GIB = 2 ** 30
const minutes = (count: number) => count * 60_000

export async function runFaults(lab: Lab, say: (line: string) => void): Promise<Faults> {
  const stat = async (node: string) => (await lab.ask(['nodeset', node, 'stat'])).stdout.trim()
  const reaches = (node: string, wanted: RegExp, limitMs: number) =>
    until(`${node} is ${wanted}`, { limitMs, everyMs: 2000, signal: lab.signal }, async () => {
      lab.check()
      const now = await stat(node)
      if (!wanted.test(now) && / (failed|held|expired)/.test(now))
        throw new Error(`${node} ended otherwise: ${now}`)
      return wanted.test(now) ? now : undefined
    })
  async function define(name: string, number: number, diskBytes: number) {
    const mac = `52:54:00:77:00:${number}`
    await lab.sysclone(
      'mkdef',
      '-o',
      name,
      `mac=${mac}`,
      `ip=10.77.0.${number}`,
      'serialport=0',
      'serialspeed=115200',
    )
    await lab.sysclone('nodeset', name, 'osimage=img')
    return lab.machine({ name, mac, firmware: 'bios', diskBytes })
  }

  say('== a disk that is too small')
  const small = await define('n3', 13, GIB / 2)
  await small.powerOn('network')
  const tooSmall = {
    stat: await reaches('n3', / failed: /, minutes(6)),
    blocksWritten: statSync(small.disk).blocks,
    console: await consoleSays(lab, small.console, /needs/),
  }
  await small.powerOff()

  say('== a layer that is damaged in the image store')
  const layer = largestBlob(join(lab.work, 'state/images/blobs/sha256'))
  flipByte(layer)
  const machine = await define('n4', 14, 4 * GIB)
  await machine.powerOn('network')
  const corrupt = {
    stat: await reaches('n4', / failed: /, minutes(10)),
    digest: `sha256:${layer.slice(-64)}`,
    console: await consoleSays(lab, machine.console, /corrupt/),
  }
  await machine.powerOff()
  flipByte(layer)

  say('== main killed and the machine reset in the middle of a clone')
  await lab.sysclone('nodeset', 'n4', 'osimage=img')
  await machine.powerOn('network')
  await reaches('n4', /installing copy (1\d|[2-9]\d)%/, minutes(10))
  const mainWas = await mainPid(lab)
  process.kill(mainWas, 'SIGKILL')
  await reaches('n4', /installing copy (2\d|[3-9]\d)%/, minutes(10))
  const mainIs = await mainPid(lab)
  await machine.powerOff()
  await sleep(21_000) // sooner than this a reset is not taken for a new attempt
  await machine.powerOn('network')
  const statAfterReset = await reaches('n4', / booting/, minutes(5))
  await reaches('n4', /installing copy/, minutes(10))
  await until('n4 has booted', { limitMs: minutes(15), everyMs: 3000, signal: lab.signal }, async () =>
    (await status(lab, 'n4')) === 'booted' ? true : undefined,
  )
  const interrupted = {
    mainWas,
    mainIs,
    statAfterReset,
    attempts: serverLog(lab).filter((e) => e.type === 'node.start' && e.node === 'n4').length,
    status: await status(lab, 'n4'),
  }
  await machine.powerOff()
  return { tooSmall, corrupt, interrupted }
}

async function status(lab: Lab, node: string): Promise<string | undefined> {
  const { stdout } = await lab.ask(['lsdef', node, '--json'])
  return (JSON.parse(stdout) as Record<string, { status?: string }>)[node]?.status
}

/** The serial log lags behind what the server knows. */
const consoleSays = (lab: Lab, console: string, words: RegExp) =>
  until(`the console says ${words}`, { limitMs: minutes(1), everyMs: 500, signal: lab.signal }, async () => {
    const text = readConsole(console)
    return words.test(text) ? text : undefined
  })

async function mainPid(lab: Lab): Promise<number> {
  const { stdout } = await run(['ip', 'netns', 'pids', lab.network.namespace])
  const found = stdout
    .split('\n')
    .filter(Boolean)
    .map(Number)
    .filter((pid) => /services\/main\.ts/.test(commandLine(pid)))
  if (found.length !== 1) throw new Error(`main has ${found.length} processes`)
  return found[0]!
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1')
  } catch {
    return '' // it has just ended
  }
}

const serverLog = (lab: Lab): { type: string; node?: string }[] =>
  readFileSync(join(lab.work, 'server.log'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))

function largestBlob(folder: string): string {
  const bySize = readdirSync(folder).sort(
    (a, b) => statSync(join(folder, b)).size - statSync(join(folder, a)).size,
  )
  return join(folder, bySize[0]!)
}

function flipByte(path: string) {
  const file = openSync(path, 'r+')
  const byte = Buffer.alloc(1)
  const at = Math.floor(statSync(path).size / 2)
  readSync(file, byte, 0, 1, at)
  writeSync(file, Buffer.of(byte[0]! ^ 0xff), 0, 1, at)
  closeSync(file)
}
