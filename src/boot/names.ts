// Which published name means what. There is no file system behind a name: what is not in this table does not exist.
import type { Digest, Ipv4, Mac, NodeName } from '../address.ts'
import { ipv4ToHex, parseMac } from '../address.ts'
import type { BlobRef } from '../image/version.ts'
import type { BootNode, BootPlan, ServerAddress } from './plan.ts'
import { planBoot, stateBoots } from './policy.ts'

/** Who asks. `mac` is whose address it is, when DHCP or the neighbour table knows. */
export type Asker = { address: Ipv4; mac?: Mac | undefined }

/** Everything that a name can be resolved against. */
export type World = {
  nodes: NodeIndex
  loaders: ReadonlySet<string> // names of loader files that were built, as 'boot/grub/x86_64-efi/core.efi'
  server: ServerAddress // as this asker reaches us
}

export type Meaning =
  | { kind: 'text'; language: 'grub' | 'ipxe'; name: string; node: BootNode; plan: BootPlan }
  | { kind: 'loader'; file: string }
  | { kind: 'blob'; digest: Digest }
  | { kind: 'empty' }

export type NodeIndex = {
  byMac: ReadonlyMap<Mac, BootNode>
  byAddress: ReadonlyMap<Ipv4, BootNode>
  blobs: ReadonlySet<Digest> // public
}

export function indexNodes(nodes: Iterable<BootNode>): NodeIndex {
  const byMac = new Map<Mac, BootNode>()
  const byAddress = new Map<Ipv4, BootNode>()
  const blobs = new Set<Digest>()
  for (const node of nodes) {
    for (const mac of node.mac) byMac.set(mac, node)
    if (node.ip) byAddress.set(node.ip, node)
    for (const { digest } of installs(node)) blobs.add(digest)
  }
  return { byMac, byAddress, blobs }
}

/** Only what an open deployment boots is public: a digest is the capability to fetch its blob. */
function installs({ deployment }: BootNode): BlobRef[] {
  return deployment && stateBoots[deployment.state] === 'install'
    ? [deployment.kernel, ...deployment.initrds]
    : []
}

/**
 * One spelling of a name: `\` is `/` (shim), `//`, `/./` and leading slashes collapse (GRUB, iPXE).
 * `undefined`: a name that nobody has a reason to send.
 */
export function normalizeName(raw: string): string | undefined {
  if (raw.length > 1024 || /[\0-\x1f\x7f]/.test(raw)) return undefined
  const parts = raw.split(/[/\\]/).filter((part) => part !== '' && part !== '.')
  return parts.includes('..') ? undefined : parts.join('/')
}

type Row = [form: RegExp, meaning: (match: string, asker: Asker, world: World) => Meaning | undefined]
const hexMac = '[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}'

// One row per form of name. The first group of the form is given to the meaning.
const table: Row[] = [
  // GRUB's search by hardware address; the signed GRUB's own script writes colons.
  [
    new RegExp(`^boot/grub/grub\\.cfg-01-(${hexMac})$`),
    (mac, _, world) => textOf(world.nodes.byMac.get(parseMac(mac)), 'grub', world),
  ],
  // By address: only one's own, an address says nothing about a machine that asks for another's.
  [
    /^boot\/grub\/grub\.cfg-([0-9A-Fa-f]{8})$/,
    (hex, asker, world) =>
      hex.toUpperCase() === ipv4ToHex(asker.address)
        ? textOf(nodeOf(asker, world), 'grub', world)
        : undefined,
  ],
  [/^boot\/grub\/(grub\.cfg)$/, (_, asker, world) => textOf(nodeOf(asker, world), 'grub', world)],
  // GRUB looks for its module lists; all it needs is built in, and an empty list keeps it quiet.
  [/^boot\/grub\/[a-z0-9_-]+\/([a-z]+)\.lst$/, () => ({ kind: 'empty' })],
  [
    new RegExp(`^boot/ipxe/(${hexMac})$`),
    (mac, _, world) => textOf(world.nodes.byMac.get(parseMac(mac)), 'ipxe', world),
  ],
  [
    /^blobs\/sha256\/([0-9a-f]{64})$/,
    (hex, _, world) => {
      const digest = `sha256:${hex}` as Digest
      return world.nodes.blobs.has(digest) ? { kind: 'blob', digest } : undefined
    },
  ],
]

/** `name` as normalizeName left it; `/tftpboot/...` is an alias of `/` (xCAT's names). */
export function resolveName(name: string, asker: Asker, world: World): Meaning | undefined {
  const plain = name.replace(/^tftpboot\//, '')
  if (world.loaders.has(plain)) return { kind: 'loader', file: plain }
  for (const [form, meaning] of table) {
    const match = form.exec(plain)?.[1]
    if (match !== undefined) return meaning(match, asker, world)
  }
  return undefined
}

/** Published by one node and no other: by MAC when it is known, else by the node's fixed address. */
function nodeOf({ address, mac }: Asker, { nodes }: World): BootNode | undefined {
  return mac === undefined ? nodes.byAddress.get(address) : nodes.byMac.get(mac)
}

function textOf(node: BootNode | undefined, language: 'grub' | 'ipxe', world: World): Meaning | undefined {
  const plan = node && planBoot(node, world.server)
  return node && plan && { kind: 'text', language, name: textName(node, language), node, plan }
}

/** The name that a node's text is asked by; DHCP hands out the iPXE one, GRUB finds its own. */
export function textName(node: { name: NodeName; mac: Mac[] }, language: 'grub' | 'ipxe'): string {
  const dashes = (node.mac[0] ?? '').replaceAll(':', '-')
  return language === 'ipxe' ? `boot/ipxe/${dashes}` : `boot/grub/grub.cfg-01-${dashes}`
}
