// Clones without a golden client: a root tarball and a layout file are imported as a person does it, and blank machines in QEMU
// netboot, become clones of it and boot from their own disks, by BIOS and by UEFI.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { demoSettings } from '../../services/cli/lab.ts'
import { makeBlankDisk } from '../../services/lab/machine.ts'
import { race, until } from '../../services/lab/site.ts'
import type { DiskLayout } from '../../src/image/disk-layout.ts'
import { compareTrees, readTold } from './golden/compare.ts'
import { type GoldenLab, openGoldenLab, script } from './golden/lab.ts'
import { askFacts, type Facts } from './import/facts.ts'
import { ensureTarball, type Tarball } from './import/tarball.ts'

const mib = 1024 ** 2
/** What is asked for in the layout file and must be on the disk; without `mib`: all that is left. */
type Part = {
  number: number
  type: string
  name?: string
  filesystem?: string
  label?: string
  on?: string
  mib?: number
}
type Row = {
  node: string
  mac: string
  ip: string
  firmware: 'bios' | 'uefi'
  layout: string
  parts: Part[]
  options: Record<string, string[]> // by mount point
  hostKeys: string[] // of which kinds
}

const guid = {
  biosBoot: '21686148-6449-6e6f-744e-656564454649',
  efi: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b',
  linux: '0fc63daf-8483-4772-8e79-3d69d8477de4',
  swap: '0657fd6d-a4ab-43c4-84e5-0933c84b4f4f',
}
/** Larger than what the layout files say or need: the last file system grows. */
const blankMib = 5 * 1024
const rows: Row[] = [
  {
    node: 'n1',
    mac: '52:54:00:77:00:30',
    ip: '10.77.0.30',
    firmware: 'bios',
    layout: `disks:
  - size: 3 GiB
    partitions:
      - { type: bios-boot, size: 1 MiB }
      - { type: swap, size: 200 MiB, filesystem: swap, label: swap }
      - { type: linux, size: 300 MiB, filesystem: ext4, mountpoint: /opt, label: extra, options: 'nodev,noatime' }
      - { type: linux, filesystem: ext4, mountpoint: /, label: root, options: errors=remount-ro }
`,
    parts: [
      { number: 1, type: guid.biosBoot, mib: 1 },
      { number: 2, type: guid.swap, filesystem: 'swap', label: 'swap', on: '[SWAP]', mib: 200 },
      { number: 3, type: guid.linux, filesystem: 'ext4', label: 'extra', on: '/opt', mib: 300 },
      { number: 4, type: guid.linux, filesystem: 'ext4', label: 'root', on: '/' },
    ],
    options: { '/': ['rw', 'errors=remount-ro'], '/opt': ['nodev', 'noatime'] },
    hostKeys: ['ecdsa-sha2-nistp256', 'ssh-ed25519', 'ssh-rsa'], // the file says nothing of them: those that sshd has
  },
  {
    node: 'n2',
    mac: '52:54:00:77:00:31',
    ip: '10.77.0.31',
    firmware: 'uefi',
    layout: `firmware: uefi
sshHostKeys: [ed25519]
disks:
  - partitions:
      - { type: efi, size: 128 MiB, filesystem: vfat, mountpoint: /boot/efi, label: ESP }
      - { type: linux, filesystem: ext4, mountpoint: /, name: system, label: root }
      - { type: swap, size: 200 MiB, filesystem: swap }
`,
    parts: [
      { number: 1, type: guid.efi, filesystem: 'vfat', label: 'ESP', on: '/boot/efi', mib: 128 },
      { number: 2, type: guid.linux, name: 'system', filesystem: 'ext4', label: 'root', on: '/' },
      { number: 3, type: guid.swap, filesystem: 'swap', on: '[SWAP]', mib: 200 },
    ],
    options: { '/': ['rw', 'errors=remount-ro'], '/boot/efi': ['fmask=0077', 'dmask=0077'] },
    hostKeys: ['ssh-ed25519'],
  },
]

const abort = new AbortController()
const say = (line: string) => process.stderr.write(`  ${line}\n`)
const wait = { limitMs: 20 * 60_000, everyMs: 2000, signal: abort.signal }
let lab: GoldenLab
let tarball: Tarball
const clones: Facts[] = []

beforeAll(async () => {
  tarball = await race(ensureTarball(demoSettings().cache, say), abort.signal)
  lab = await openGoldenLab(abort.signal, say)
  await lab.startServer()
})
afterAll(async () => {
  await lab?.close(clones.length < rows.length)
  abort.abort(new Error('the test run ended'))
})

/** What a clone has otherwise than the tarball, and why. */
const ofItsOwn: [string, RegExp][] = [
  ['identity', /^etc\/(hostname|hosts|machine-id|ssh\/ssh_host_[^/]+)$/],
  ['older hashes', /^etc\/g?shadow-$/],
  ['disks', /^etc\/fstab$|(^|\/)lost\+found$/],
  ['boot loader', /^boot\/(grub|efi)(\/|$)/],
  ['what a kernel makes', /^(proc|sys)$/],
  [
    'written since it was switched on',
    /^var\/log\/(wtmp|lastlog|btmp|journal\/.+)$|^var\/lib\/(dhcp|systemd\/timers)(\/|$)|^var\/lib\/systemd\/random-seed$/,
  ],
]
/** `PATH` or `PATH: what`. */
const unexplained = (lines: string[]) =>
  lines.filter((line) => !ofItsOwn.some(([, test]) => test.test(line.split(': ')[0]!)))

/** From the layout file to a machine that runs from its own disk; gives what it says of itself. */
async function clone({ node, mac, ip, firmware, layout }: Row) {
  const file = join(lab.work, `${node}.yaml`)
  writeFileSync(file, layout)
  const imported = await lab.sysclone('imgimport', tarball.file, node, '--layout', file)
  const serial = ['serialport=0', 'serialspeed=115200']
  await lab.sysclone('mkdef', '-t', 'node', '-o', node, `mac=${mac}`, `ip=${ip}`, ...serial)
  await lab.sysclone('nodeset', node, `osimage=${node}`)
  const disk = join(lab.work, `${node}.raw`)
  await makeBlankDisk(disk, blankMib * mib)
  const machine = await lab.addMachine({ name: node, firmware, mac, disk, boots: 'network' })
  const version = JSON.parse((await lab.ask(['lsimage', node, '-l', '--json'])).stdout)[0]
  await machine.powerOn('network')
  try {
    const seen = await lookAt(node, ip)
    return { said: imported.stdout, layout: version.layout as DiskLayout, ...seen }
  } finally {
    await machine.powerOff() // also where it failed: the next one gets the processors
  }
}

/** By ssh, once the server has seen it run from its disk. */
async function lookAt(node: string, ip: string) {
  await until(`${node} has booted`, wait, () => hasBooted(node))
  const ssh = await lab.reach(node, ip)
  return { facts: await askFacts(ssh), tree: readTold(await ssh(script('told.sh'), '/')) }
}

async function hasBooted(node: string): Promise<true | undefined> {
  lab.check()
  const { stdout } = await lab.ask(['lsdef', node, '-i', 'status'])
  if (/failed|held|expired/.test(stdout)) throw new Error(lab.lastSaidOf(node))
  return /status=booted/.test(stdout) ? true : undefined
}

describe.each(rows)('$node, by $firmware', (row) => {
  let found: Awaited<ReturnType<typeof clone>>
  beforeAll(async () => {
    found = await clone(row)
    clones.push(found.facts)
  })

  test('the image is the first version of its name', () => {
    expect(found.said).toContain(`imported as ${row.node}:1`)
  })

  test('it runs from its own disk, without anything of the installer', () => {
    const { firmware, commandLine, mounts } = found.facts
    const root = row.parts.find(({ on }) => on === '/')!
    expect(firmware).toBe(row.firmware)
    expect(mounts.find(({ target }) => target === '/')).toMatchObject({
      source: `/dev/vda${root.number}`,
      fstype: 'ext4',
    })
    expect(commandLine).toContain(
      `root=UUID=${found.layout.disks[0]!.partitions[root.number - 1]!.filesystem!.uuid} `,
    )
    expect(commandLine).not.toContain('sysclone')
  })

  test("its name is the node's, machine-id and host keys are not the tarball's", () => {
    const { hostname, machineId, hostKeys } = found.facts
    expect(hostname).toBe(row.node)
    expect(machineId).toMatch(/^[0-9a-f]{32}$/)
    expect(machineId).not.toBe(tarball.machineId)
    expect(hostKeys.map((key) => key.split(' ')[0])).toEqual(row.hostKeys)
    expect(tarball.hostKeys.length).toBe(3)
    expect(hostKeys.filter((key) => tarball.hostKeys.includes(key))).toEqual([])
  })

  test('partitions and file systems are those of the layout file, the last ext4 one as large as the disk lets it be', () => {
    const { partitions, mounts, swaps } = found.facts
    const others = row.parts.reduce((sum, part) => sum + (part.mib ?? 0), 0)
    const left = blankMib - 2 - others // a table at each end
    expect(partitions.map(({ uuid: _, partuuid: __, ...facts }) => facts)).toEqual(
      row.parts.map(({ number, type, name, filesystem, label, mib: size = left }) => ({
        ...{ name: `vda${number}`, size: size * mib, parttype: type, partlabel: name ?? null },
        ...{ fstype: filesystem ?? null, label: label ?? null },
      })),
    )
    for (const { number, filesystem, on, mib: size = left } of row.parts) {
      if (on === '[SWAP]') expect(swaps).toEqual([`/dev/vda${number}`])
      else if (on !== undefined) {
        const mount = mounts.find(({ target }) => target === on)!
        expect(mount).toMatchObject({ source: `/dev/vda${number}`, fstype: filesystem })
        expect(mount.size / mib).toBeGreaterThan(0.85 * size)
      }
    }
    for (const [on, options] of Object.entries(row.options))
      expect(mounts.find(({ target }) => target === on)!.options.split(',')).toEqual(
        expect.arrayContaining(options),
      )
  })

  test('UUIDs are those that the version has', () => {
    const [disk] = found.layout.disks
    expect(found.facts.partitions.map(({ uuid, partuuid }) => [uuid, partuuid?.toUpperCase()])).toEqual(
      disk!.partitions.map(({ uuid, filesystem }) => [filesystem?.uuid ?? null, uuid]),
    )
  })

  test('every file is as it was packed but for what is its own', () => {
    const { missing, extra, different } = compareTrees(tarball.tree, found.tree)
    expect(unexplained(missing)).toEqual([])
    expect(unexplained(extra)).toEqual([])
    expect(unexplained(different)).toEqual([])
    expect(found.tree.size).toBeGreaterThan(10_000)
  })

  test('setuid, owners, capabilities, attributes, ACLs and links are there', () => {
    const at = (path: string) => found.tree.get(path)
    expect(at('usr/bin/su')?.facts).toBe('4755|0|0')
    expect(found.facts.ping).toBe('/usr/bin/ping cap_net_raw=ep') // as the kernel has it
    expect(at('root/.ssh/authorized_keys')?.facts).toBe('600|0|0')
    expect(at('opt/tree/owned')?.facts).toBe('4751|1234|567890')
    expect(at('opt/tree/capable')?.attributes).toMatch(/^security\.capability=0x0100000200300000/)
    expect(at('opt/tree/attributes')?.attributes).toMatch(
      /system\.posix_acl_access=0x.* user\.sysclone\.note=0x74776f20776f726473/,
    )
    expect(at('opt/tree/deep/er')?.attributes).toMatch(/system\.posix_acl_default=0x/)
    expect(at('opt/tree/deep/noise-too')?.inode).toBe(at('opt/tree/noise')?.inode)
    expect(at('opt/tree/sparse')?.size).toBe('5000003')
  })
})

test('machine-id and host keys are of one machine each', () => {
  const keys = clones.flatMap(({ hostKeys }) => hostKeys)
  expect(clones.length).toBe(rows.length)
  expect(new Set(clones.map(({ machineId }) => machineId)).size).toBe(rows.length)
  expect(new Set(keys).size).toBe(rows.flatMap(({ hostKeys }) => hostKeys).length)
})
