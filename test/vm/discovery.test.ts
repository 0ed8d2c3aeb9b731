// Machines that nobody defined, with real firmware and real loaders: each waits at a screen with its code, is adopted, and
// goes on by itself as that node, into what it is to boot.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { demoSettings } from '../../services/cli/lab.ts'
import type { Firmware } from '../../services/lab/machine.ts'
import { bridge, serverAddress, subnet } from '../../services/lab/network.ts'
import { readConsole } from '../../services/lab/serial.ts'
import { openSite, type Site, until } from '../../services/lab/site.ts'
import { buildLoaders } from './loaders.ts'
import { ensureTestSystem } from './report/ramdisk.ts'

const abort = new AbortController()
const limitMs = 15 * 60_000 // ends what hangs: shim asks for its GRUB 512 bytes at a time, slow on a busy machine
let site: Site
let reports: string
let failed = true

const machines: Record<
  string,
  { firmware: Firmware; mac: string; ip: string; serial: string; netboot?: string }
> = {
  'BIOS, iPXE ROM': {
    ...{ firmware: 'bios', mac: '52:54:00:77:00:61', ip: '10.77.0.61', serial: 'SN BIOS/61' },
    netboot: 'ipxe',
  },
  'UEFI with Secure Boot': {
    ...{ firmware: 'uefi-secure', mac: '52:54:00:77:00:62', ip: '10.77.0.62', serial: 'SN-UEFI-62' },
    // Its signed GRUB says that it has Secure Boot: netboot=shim comes by itself.
  },
}

beforeAll(async () => {
  const settings = demoSettings()
  site = await openSite({ ...settings, say: () => {}, signal: abort.signal })
  const receiver = join(import.meta.dirname, 'report/receiver.ts')
  const argv = [process.execPath, '--disable-warning=ExperimentalWarning', receiver, '9000']
  reports = await site.startOther('reports', site.network.inside(argv))
  await buildLoaders(site, ['x86_64'])
  await site.startServer(`stateDir: ${join(site.work, 'state')}
networks:
  - { interface: ${bridge}, subnet: ${subnet}, address: ${serverAddress}, pool: 10.77.0.200-10.77.0.209, discovery: hold }
http: { workers: 1 }
api: { socket: ${site.socket} }
`)
  const { kernel, initrd } = await ensureTestSystem(settings.cache, 'x86_64')
  const files = [`kernel=${kernel}`, `initrd=${initrd}`, 'kcmdline=quiet']
  await site.sysclone('mkdef', '-t', 'osimage', '-o', 'report', 'provmethod=boot', ...files)
})
afterAll(async () => {
  abort.abort(new Error('the test run ended'))
  const logs = (await site?.close(failed)) ?? []
  if (logs.length > 0) process.stderr.write(`logs are kept:\n${logs.map((log) => `  ${log}\n`).join('')}`)
})

const wait = { limitMs, everyMs: 1000, signal: abort.signal }
const discovered = async (): Promise<any[]> => JSON.parse((await site.ask(['discovered', '--json'])).stdout)
const screenOf = (console: string) => readConsole(console).replace(/\x1b\[[0-9;?]*[A-Za-z]/g, ' ')
const hasReported = (mac: string) =>
  existsSync(reports) && readFileSync(reports, 'utf8').includes(`"mac":"${mac}"`)

test('two at once wait, each with its own code, and go on as the nodes that they become', async () => {
  const all = await Promise.all(
    Object.values(machines).map(async ({ firmware, mac, serial }, number) => {
      const machine = await site.addMachine({
        name: `stranger${number + 1}`,
        firmware,
        mac,
        serial,
        boots: 'network',
      })
      await machine.powerOn('network')
      return machine
    }),
  )
  // The serial number comes with the second look: the loader itself has read it.
  const waiting = await until('both wait and have said their serial number', wait, async () => {
    site.check()
    const list = await discovered()
    return list.filter(({ serial }) => serial).length === all.length ? list : undefined
  })
  for (const [number, { mac, serial }] of Object.values(machines).entries()) {
    const { code, uuid, serial: said } = waiting.find((each) => each.mac === mac)
    expect([said, uuid]).toEqual([serial, expect.stringMatching(/^[0-9a-f-]{36}$/)])
    const screen = screenOf(all[number]!.console)
    expect(screen).toContain(mac)
    expect(screen).toContain(serial)
    expect(screen).toContain(code)
    const { ip, netboot } = Object.values(machines)[number]!
    const words = [
      `ip=${ip}`,
      ...(netboot === undefined ? [] : [`netboot=${netboot}`]),
      'serialport=0',
      'serialspeed=115200',
      '--nodeset',
      'osimage=report',
    ]
    await site.sysclone('adopt', code, `n${number + 1}`, ...words)
  }
  for (const { mac } of Object.values(machines))
    await until(
      `the report of ${mac}`,
      wait,
      async () => site.check() ?? (hasReported(mac) ? true : undefined),
    )
  expect(await discovered()).toEqual([])
  expect((await site.ask(['lsdef', 'n2', '-i', 'netboot'])).stdout).toContain('netboot=shim')
  failed = false
})
