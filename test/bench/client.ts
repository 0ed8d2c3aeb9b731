// The clients: perfdhcp, and the rack of load.c, which is compiled once a run.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { devices, type Lan, serverAddress } from './lan.ts'
import { output } from './process.ts'

export type Step =
  | { kind: 'dhcp' }
  | { kind: 'tftp'; window: number; file: string }
  | { kind: 'http'; port: number; bytes: number; path: string }

/** As load.c prints it. `seconds` until the last machine was done; `steps` how long each step took a machine. */
export type RackResult = {
  clients: number
  done: number
  failed: number
  seconds: number
  bytes: number
  dhcpSent: number
  dhcpRetries: number
  naks: number
  tftpRetries: number
  httpRetries: number
  error: string
  steps: { median: number; p99: number; most: number }[]
}

/** Builds load.c into `folder`. */
export function makeRack(lan: Lan, folder: string) {
  const program = join(folder, 'load')
  execFileSync('gcc', ['-O2', '-o', program, join(import.meta.dirname, 'load.c')], { stdio: 'inherit' })
  return async (clients: number, steps: Step[], limitSeconds: number): Promise<RackResult> => {
    const words = steps.flatMap(wordsOf)
    const argv = [program, devices.client, serverAddress, String(clients), String(limitSeconds), ...words]
    return JSON.parse(await output(lan.inClient(argv), limitSeconds + 10)) as RackResult
  }
}
export type Rack = ReturnType<typeof makeRack>

function wordsOf(step: Step): string[] {
  if (step.kind === 'dhcp') return ['dhcp']
  if (step.kind === 'tftp') return ['tftp', String(step.window), step.file]
  return ['http', String(step.port), String(step.bytes), step.path]
}

/** Exchanges are whole ones, DISCOVER to ACK; `share` is how many of those that were begun ended. */
export type Exchanges = { rate: number; count: number; share: number }
type Load = { rate: number; seconds: number; machines: number }

/** A steady rate of exchanges, whatever the server answers, from made-up machines behind a relay. */
async function exchanges(lan: Lan, command: string[], load: Load): Promise<Exchanges> {
  const text = await run(lan, command, load)
  const [begun = 0] = numbersAfter(text, 'sent packets: ')
  const [, finished = 0] = numbersAfter(text, 'received packets: ')
  const [rate = 0] = numbersAfter(text, 'Rate: ')
  return { rate, count: finished, share: finished / Math.max(1, begun) }
}

/** Milliseconds until the answer that 99 of 100 packets have got. */
async function p99(lan: Lan, command: string[], load: Load): Promise<number> {
  const text = await run(lan, command, load, '-x', 't')
  const waits = [...text.matchAll(/^sent \/ received: ([\d.]+) \/ ([\d.]+)$/gm)]
    .map(([, sent, received]) => Number(received) - Number(sent))
    .sort((a, b) => a - b)
  return 1000 * (waits[Math.floor(waits.length * 0.99)] ?? Number.NaN)
}

/** perfdhcp with room for the answers to all of its machines. It is built into `folder`. */
export function makePerfdhcp(lan: Lan, folder: string) {
  const library = join(folder, 'wide-socket.so')
  const source = join(import.meta.dirname, 'wide-socket.c')
  execFileSync('gcc', ['-O2', '-shared', '-fPIC', '-o', library, source], { stdio: 'inherit' })
  const command = ['env', `LD_PRELOAD=${library}`, 'perfdhcp']
  return {
    exchanges: (load: Load) => exchanges(lan, command, load),
    p99: (load: Load) => p99(lan, command, load),
  }
}
export type Perfdhcp = ReturnType<typeof makePerfdhcp>

async function run(lan: Lan, command: string[], load: Load, ...more: string[]): Promise<string> {
  const { rate, seconds, machines } = load
  const argv = [...command, '-4', '-l', devices.client, '-r', rate, '-R', machines, '-p', seconds, ...more]
  const text = await output(lan.inClient([...argv.map(String), serverAddress]), seconds + 20)
  if (!text.includes('***Rate statistics***')) throw new Error(`perfdhcp says: ${text.slice(0, 500)}`)
  return text
}

const numbersAfter = (text: string, words: string) =>
  [...text.matchAll(new RegExp(`${words}([\\d.]+)`, 'g'))].map(([, digits]) => Number(digits))
