// The fstab of a clone: the golden client's, word for word, where its disks are named in a way that holds on every
// machine. File systems keep their UUIDs, so most lines stay as they are.
import type { Disk, DiskLayout, Partition } from '../image/disk-layout.ts'
import { partitionPath } from '../image/disks.ts'

/** The lines of the clone's fstab. */
export function planFstab({ disks, fstab }: DiskLayout): string[] {
  return fstab
    .replace(/\n$/, '')
    .split('\n')
    .map((line) => planLine(line, disks))
}

function planLine(line: string, disks: Disk[]): string {
  const entry = line.match(/^(\s*)([^\s#]\S*)(\s+)(\S+)(\s+\S+\s+)?(\S+)?/)
  if (!entry) return line
  const [, lead = '', device = '', gap = '', mountpoint = '', , options = ''] = entry
  if (!namesDisk(device) || isKept(device, disks)) return line
  const partition = find(
    disks,
    (d, p) => partitionPath(d.path, p.number) === device || isMount(p, mountpoint),
  )
  const uuid = partition?.filesystem?.uuid
  if (uuid) return `${lead}UUID=${uuid}${line.slice(lead.length + device.length)}`
  // A disk that is not cloned would hold up the boot for 90 seconds; `nofail` and `noauto` do not.
  if (/(^|,)(nofail|noauto)(,|$)/.test(options)) return line
  return `# not cloned: ${lead}${device}${gap}${line.slice(lead.length + device.length + gap.length)}`
}

const isMount = (p: Partition, mountpoint: string) => p.filesystem?.mountpoint === mountpoint

const namesDisk = (device: string) => /^(UUID|LABEL|PARTUUID|PARTLABEL)=|^\/dev\//.test(device)

/** Names that the clone's disk answers to as well. */
function isKept(device: string, disks: Disk[]): boolean {
  const [, tag = '', quoted = ''] = device.match(/^([A-Z]+)=(.*)$/) ?? []
  const value = quoted.replace(/^"(.*)"$/, '$1')
  const same = (a?: string) => a !== undefined && a.toLowerCase() === value.toLowerCase()
  const tests: Record<string, (p: Partition) => boolean> = {
    UUID: (p) => same(p.filesystem?.uuid),
    LABEL: (p) => p.filesystem?.label === value,
    PARTUUID: (p) => same(p.uuid),
    PARTLABEL: (p) => p.name === value,
  }
  const test = tests[tag]
  return test !== undefined && find(disks, (_, p) => test(p)) !== undefined
}

function find(disks: Disk[], test: (d: Disk, p: Partition) => boolean): Partition | undefined {
  for (const d of disks) for (const p of d.partitions) if (test(d, p)) return p
  return undefined
}
