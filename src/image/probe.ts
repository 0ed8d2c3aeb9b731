// What bootfiles/capture/probe.sh says of a golden client, read and judged before anything is captured.
import { UserError } from '../fault.ts'
import { bytewise } from './compare-line.ts'
import type { DiskLayout } from './disk-layout.ts'
import { type GoldenFacts, readFacts } from './golden-facts.ts'
import { readDisks, type StaysOut } from './probe-disks.ts'
import { decode, parseSaid, type Said, toolSaid } from './probe-said.ts'
import type { Arch } from './version.ts'

/** What the capture needs to know of the golden client. */
export type Probe = {
  arch: Arch
  firmware: 'bios' | 'uefi'
  os: { id: string; version: string; name: string }
  kernelRelease: string
  kernelPath: string // relative to the root
  layout: DiskLayout
  facts: GoldenFacts
  mountpoints: string[] // of the file systems to capture; '/' is the first
  devices: string[] // that they are on, in the same order
  usedBytes: number // on these
  staysOut: StaysOut[]
  refusals: string[] // what no clone could be given; not empty: it cannot be captured
  warnings: string[] // what is not as it should be, and is captured as if it were: an array without one of its members
  swapFiles: string[] // relative to the root, one character a byte
  sshHostKeyTypes: string[]
  loadedModules: string[]
  processes: string[] // names of those that run
  compress: boolean // the golden client has zstd and split
}

/** Throws WireError when this is no answer of probe.sh, UserError when such a machine cannot be captured at all. */
export function readProbe(json: string): Probe {
  const said = parseSaid(json)
  if (said.user !== 0)
    throw new UserError('only root can read every file', {
      what: `logged in as uid ${said.user}`,
      allowed: 'root',
    })
  refuseOldTar(decode(said.tar))
  const { layout, mounts, staysOut, refusals, warnings } = readDisks(said)
  const usedOn = new Map(mounts.map(({ device, usedBytes }) => [device, usedBytes]))
  return {
    arch: archOf(said.arch),
    firmware: said.firmware,
    os: osOf(decode(said.osRelease)),
    kernelRelease: said.release,
    kernelPath: kernelOf(said),
    layout,
    facts: readFacts(said),
    mountpoints: mounts.map(({ target }) => target),
    devices: mounts.map(({ device }) => device),
    usedBytes: [...usedOn.values()].reduce((sum, bytes) => sum + bytes, 0),
    staysOut,
    refusals,
    warnings,
    swapFiles: (layout.swapFiles ?? []).map(({ path }) => bytewise(path.slice(1))),
    sshHostKeyTypes: hostKeyTypes(said.hostKeys),
    loadedModules: decode(said.modules)
      .split('\n')
      .flatMap((line) => line.split(' ')[0] || []),
    processes: toolSaid(said, 'processes').split('\n').filter(Boolean),
    compress: said.zstd && said.split,
  }
}

/** As readProbe; what cannot be reproduced on a clone is refused by name, all of it at once. */
export function parseProbe(json: string): Probe {
  const probe = readProbe(json)
  if (probe.refusals.length > 0)
    throw new UserError('a part of the golden client cannot be reproduced on a clone', {
      what: probe.refusals.join('; '),
    })
  return probe
}

function archOf(machine: string): Arch {
  if (machine === 'x86_64' || machine === 'aarch64' || machine === 'ppc64le') return machine
  throw new UserError('architecture cannot be cloned', { what: machine, allowed: 'x86_64, aarch64, ppc64le' })
}

/** --verbatim-files-from came with 1.29; without it a name beginning with a dash would be an option. */
function refuseOldTar(banner: string) {
  const [, major, minor] = /^tar \(GNU tar\) (\d+)\.(\d+)/.exec(banner) ?? []
  if (major === undefined || Number(major) < 1 || (major === '1' && Number(minor) < 29))
    throw new UserError('tar of the golden client is too old or not GNU tar', {
      what: banner.split('\n')[0]!.slice(0, 80),
      allowed: 'GNU tar 1.29 or later',
    })
}

function kernelOf({ kernel, release }: Said): string {
  if (kernel !== '') return kernel
  throw new UserError('the file of the running kernel was not found', {
    what: `release ${release}`,
    allowed: `/boot/vmlinuz-${release} or /lib/modules/${release}/vmlinuz; reboot into the installed kernel`,
  })
}

/** os-release(5): shell-like assignments. */
function osOf(release: string): Probe['os'] {
  const value = (key: string) => {
    const raw = new RegExp(`^${key}=(.*)$`, 'm').exec(release)?.[1]?.trim() ?? ''
    return raw.replace(/^(["'])(.*)\1$/s, '$2').replace(/\\(["'$`\\])/g, '$1')
  }
  const id = value('ID') || 'linux'
  return { id, version: value('VERSION_ID'), name: value('PRETTY_NAME') || id }
}

// 'ssh-ed25519', 'ecdsa-sha2-nistp256', 'ssh-rsa' as ssh-keygen's -t wants them.
function hostKeyTypes(keys: string[]): string[] {
  const names: Record<string, string> = { 'ssh-ed25519': 'ed25519', 'ssh-rsa': 'rsa' }
  return keys.flatMap((key) => names[key] ?? (key.startsWith('ecdsa-') ? 'ecdsa' : [])).sort()
}
