// The demo's path with assertions: a golden client captured, a BIOS and a UEFI machine cloned by netboot, in QEMU.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { demoSettings } from '../../services/cli/lab.ts'
import { run } from '../../services/lab/command.ts'
import { type DemoResult, demoTable, runDemo } from '../../services/lab/demo.ts'
import { openDisplay } from '../../services/lab/display.ts'
import { type Faults, runFaults } from './faults.ts'

const abort = new AbortController()
let result: DemoResult
let faults: Faults

beforeAll(async () => {
  const display = openDisplay({ write: (text) => process.stderr.write(text) })
  result = await runDemo({
    ...demoSettings(),
    display,
    signal: abort.signal,
    afterwards: async (lab) => {
      faults = await runFaults(lab, (line) => display.say(line))
    },
  })
  for (const line of demoTable(result.steps)) display.say(line)
})
afterAll(() => abort.abort(new Error('the test run ended')))

const machines = { n1: 'bios', n2: 'uefi' }

for (const [name, firmware] of Object.entries(machines)) {
  test(`${name} was booted by ${firmware} from its own disk, without anything of the installer`, () => {
    const clone = result.clones[name]!
    expect(clone).toMatchObject({ hostname: name, firmware, root: '/dev/vda3' })
    expect(clone.kernelCommandLine).not.toContain('sysclone')
  })

  test(`${name} has the golden client's file with its owner, mode and second link`, () => {
    expect(result.clones[name]!.marker).toBe(result.golden.marker)
    expect(result.clones[name]!.marker).toMatch(/ 640 1234 5678 2$/)
  })
}

test("hostname, machine-id and host key are each machine's own", () => {
  const all = [result.golden, ...Object.values(result.clones)]
  for (const key of ['hostname', 'machineId', 'hostKey'] as const)
    expect(new Set(all.map((machine) => machine[key])).size).toBe(3)
})

test('a clone that netboots once more goes to its disk: the same machine, a new boot, no installer', ({
  task,
}) => {
  task.meta.matrix = 'a clone netboots once more: UEFI PXE -> GRUB -> loader of its own disk'
  const { name, identity, console } = result.again
  const before = result.clones[name]!
  expect(identity).toEqual({ ...before, bootId: identity.bootId })
  expect(identity.bootId).not.toBe(before.bootId)
  expect(console).toContain(`sysclone: ${name}: boot from its own disk`)
  expect(console).not.toMatch(/sysclone: [a-z]+ \d+%/) // how the installer speaks
})

test('a disk that is too small is refused with numbers before anything is written', () => {
  const { stat, blocksWritten, console } = faults.tooSmall
  expect(stat).toMatch(/needs [\d.]+ GB.* has 0\.5 GB/)
  expect(blocksWritten).toBe(0)
  expect(console).toMatch(/refused: .*needs/)
})

test('a damaged layer ends the clone with that reason and its digest', () => {
  expect(faults.corrupt.stat).toContain(`copy: layer ${faults.corrupt.digest} is corrupt`)
  expect(faults.corrupt.console).toContain(`failed in copy: layer ${faults.corrupt.digest} is corrupt`)
})

test('main killed -9 and the machine reset in the middle: a second attempt finishes', () => {
  const { mainWas, mainIs, statAfterReset, attempts, status } = faults.interrupted
  expect(mainIs).not.toBe(mainWas)
  expect(statAfterReset).toBe('n4: img:1 booting')
  expect(attempts).toBe(3) // the damaged one, the interrupted one, the good one
  expect(status).toBe('booted')
})

test('nothing of the lab is left', async () => {
  expect((await run(['ip', 'netns', 'list'])).stdout).not.toContain(`sysclone-lab-${process.pid}`)
  expect(existsSync(`/var/tmp/sysclone-lab-${process.pid}`)).toBe(false)
  const commandLines = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(commandLine)
  expect(commandLines.filter((line) => line.includes(`sysclone-lab-${process.pid}`))).toEqual([])
})

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return '' // it ended just now
  }
}
