// The install plan: everything that the phases on the node read, one fact a line, `verb arguments`. The phases have no
// parser and make no choices; test/fixtures/plans holds plans that are both our expected output and their input.
//   disk PATH BYTES SECTOR          part NUMBER TYPE|- UUID|-       label NUMBER TEXT      features NUMBER WORD,...
//   mount NUMBER TYPE PATH          layer DIGEST BYTES TARBYTES parallel|last              blobs URL
//   superseded LAYERDIGEST DIGEST BYTES   (a list for tar -X, zstd: what later layers replace or remove)
//   override DIGEST BYTES NAME     (in the order in which they are laid over the image)
//   esp UUID PATH                   fstab LINE                      hostkey TYPE           bytes TARBYTES
//   scrub NAME RULE                 swapfile BYTES PATH
import { UserError } from '../fault.ts'
import type { Filesystem } from '../image/disk-layout.ts'
import { parseRules } from '../image/scrub.ts'
import type { ScrubName } from '../image/scrub-table.ts'
import type { BlobRef, ImageVersion, Layer } from '../image/version.ts'
import { versionName } from '../image/version.ts'
import type { Node } from '../node/node.ts'
import { planFstab } from './fstab.ts'
import type { PlannedLayout, PlannedPartition } from './layout.ts'
import { findEsp, planLayout } from './layout.ts'
import type { NodeFacts } from './protocol.ts'

/** A packed file tree: tar and zstd, as a layer is. */
export type PackedOverride = BlobRef & { name: string }
export type InstallPlan = { plan: string; layouts: Record<string, string> }

type Needs = {
  node: Node
  version: ImageVersion
  facts: NodeFacts
  overrides?: PackedOverride[]
  session: string
  serverUrl: string // 'http://10.0.0.1'; the node adds /node/...
  blobUrls: string[] // 'http://10.0.0.1:8081'; the node adds /blobs/sha256/HEX and tries them in turn
}

/** The plan for exactly this machine; `layouts` are sfdisk inputs by the disk's kernel name. Refusals are UserErrors. */
export function planInstall(needs: Needs): InstallPlan {
  const { node, version, facts } = needs
  if (facts.arch !== version.arch)
    throw new UserError('wrong architecture', {
      what: `${versionName(version)} is ${version.arch}, this machine is ${facts.arch}`,
    })
  const layout = planLayout({ layout: version.layout, facts, installdisk: node.installdisk })
  const lines = [
    ...headFacts(needs),
    ...diskFacts(layout),
    ...layerFacts(version.layers),
    ...overrideFacts(needs),
    ...identityFacts(needs),
  ]
  return {
    plan: [...lines, ''].join('\n'),
    layouts: { [layout.disk.path.replace(/.*\//, '')]: layout.sfdisk },
  }
}

function headFacts({ node, version, facts, session, serverUrl, blobUrls }: Needs): string[] {
  return [
    fact('node', node.name),
    fact('session', session),
    fact('server', serverUrl.replace(/\/$/, '')),
    ...blobUrls.map((url) => fact('blobs', url.replace(/\/$/, ''))),
    fact('image', versionName(version)),
    fact('arch', version.arch),
    fact('firmware', facts.firmware),
    fact('vendor', version.os.id),
    fact('kernel', version.kernelRelease),
    fact('bytes', version.tarBytes),
  ]
}

function diskFacts({ disk, partitions }: PlannedLayout): string[] {
  const esp = findEsp(partitions)
  return [
    fact('disk', disk.path, disk.bytes, disk.sectorBytes),
    ...partitions.map((p) => fact('part', p.number, p.filesystem?.type ?? '-', p.filesystem?.uuid ?? '-')),
    ...partitions.flatMap((p) =>
      p.filesystem?.label ? [text(`label ${p.number}`, p.filesystem.label)] : [],
    ),
    ...partitions.flatMap((p) =>
      p.filesystem?.type === 'ext4' ? [fact('features', p.number, ext4Features(p.filesystem))] : [],
    ),
    ...mounts(partitions).map((m) => fact('mount', m.number, m.type, m.mountpoint)),
    ...(esp ? [fact('esp', esp.filesystem!.uuid!, esp.filesystem!.mountpoint!)] : []),
  ]
}

/** Parents before what is mounted inside them. */
function mounts(partitions: PlannedPartition[]) {
  return partitions
    .flatMap(({ number, filesystem }) =>
      filesystem?.mountpoint
        ? [{ number, type: filesystem.type, mountpoint: checkPath(filesystem.mountpoint) }]
        : [],
    )
    .sort((a, b) => (a.mountpoint < b.mountpoint ? -1 : 1))
}

function checkPath(path: string): string {
  if (!path.startsWith('/') || path.split('/').includes('..'))
    throw new UserError('not a mount point', { what: JSON.stringify(path), allowed: 'an absolute path' })
  return path
}

// What mke2fs -O takes; other words of `dumpe2fs -h` (needs_recovery, orphan_present) are states, not choices.
const ext4Words = new Set(
  (
    '64bit bigalloc casefold dir_index dir_nlink ea_inode encrypt ext_attr extent extra_isize filetype flex_bg has_journal ' +
    'huge_file inline_data large_dir large_file meta_bg metadata_csum metadata_csum_seed mmp orphan_file project quota ' +
    'resize_inode sparse_super sparse_super2 stable_inodes uninit_bg verity'
  ).split(' '),
)

/** Exactly the golden client's features: its boot loader can read those. Unknown: what GRUB 2.06 can read. */
function ext4Features({ features }: Filesystem): string {
  if (features === undefined) return '^metadata_csum_seed,^orphan_file'
  return ['none', ...features.split(/[\s,]+/).filter((word) => ext4Words.has(word))].join(',')
}

/** Layers of directories last, in their order: unpacking files changes the times of the directories that they lie in. */
function layerFacts(layers: Layer[]): string[] {
  const line = (l: Layer) => fact('layer', l.digest, l.bytes, l.tarBytes, l.directories ? 'last' : 'parallel')
  const lists = layers.flatMap(({ digest, superseded }) =>
    superseded ? [fact('superseded', digest, superseded.digest, superseded.bytes)] : [],
  )
  return [...layers.filter((l) => !l.directories), ...layers.filter((l) => l.directories)]
    .map(line)
    .concat(lists)
}

const overrideFacts = ({ overrides = [] }: Needs): string[] =>
  overrides.map(({ digest, bytes, name }) => fact('override', digest, bytes, name))

function identityFacts({ node, version }: Needs): string[] {
  return [
    fact('hostname', node.name),
    ...planFstab(version.layout).map((line) => text('fstab', line)),
    ...version.sshHostKeyTypes.map((type) => fact('hostkey', type)),
    ...scrubFacts(version),
    ...(version.layout.swapFiles ?? []).map(({ path, bytes }) => text(`swapfile ${bytes}`, checkPath(path))),
  ]
}

/** What phase 60-identity does with; the rest was left on the golden client. */
const doneOnClone = [
  ...['machine-id', 'ssh-host-keys', 'random-seed', 'credential-secret', 'dhcp-leases', 'nm-state'],
  ...['persistent-net', 'network-connections', 'iscsi-initiator', 'nvme-host', 'shadow'],
] as ScrubName[]

function scrubFacts({ scrub = '' }: ImageVersion): string[] {
  const rules = parseRules(scrub)
  return doneOnClone.map((name) => fact('scrub', name, rules[name]))
}

/** A line of words; each is one word, so that the shell's `read` takes it apart. */
function fact(verb: string, ...words: (string | number)[]): string {
  const bad = words.find((word) => !/^[\x21-\x7e]+$/.test(String(word)))
  if (bad !== undefined)
    throw new UserError(`${verb} cannot be planned`, {
      what: JSON.stringify(bad),
      allowed: 'printable characters without blanks',
    })
  return [verb, ...words].join(' ')
}

/** A line that ends in free text. */
function text(verb: string, rest: string): string {
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(rest))
    throw new UserError(`${verb} cannot be planned`, {
      what: JSON.stringify(rest),
      allowed: 'no control characters',
    })
  return `${verb} ${rest}`
}
