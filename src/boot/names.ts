// Which published name means what. There is no file system behind a name: what is not in this table does not exist.
import type { Digest, Ipv4, Mac } from '../address.ts'
import { ipv4ToHex, parseMac } from '../address.ts'
import { joinedKey, signedName } from './blob-names.ts'
import { signedGrubStart } from './grub.ts'
import type { BootNode, BootPlan, ServerAddress } from './plan.ts'
import { planBoot, stateBoots } from './policy.ts'
import type { Language } from './text.ts'

/** Who asks. `mac` is whose address it is, when DHCP or the neighbour table knows. */
export type Asker = { address: Ipv4; mac?: Mac | undefined }

/** Everything that a name can be resolved against. */
export type World = {
  nodes: NodeIndex
  loaders: ReadonlySet<string> // names of loader files that were built, as 'boot/grub/x86_64-efi/core.efi'
  server: ServerAddress // as this asker reaches us
}

export type Meaning =
  | { kind: 'text'; language: Language; name: string; node: BootNode; plan: BootPlan }
  | { kind: 'fixed'; text: string } // the same for every machine
  | { kind: 'loader'; file: string }
  | { kind: 'blob'; digest: Digest }
  | { kind: 'joined'; digests: Digest[] } // one after the other, as one file

export type NodeIndex = {
  byMac: Pick<ReadonlyMap<Mac, BootNode>, 'get' | 'has'>
  byAddress: ReadonlyMap<Ipv4, BootNode>
  byName: ReadonlyMap<string, BootNode>
  blobs: ReadonlySet<Digest> // public
  joined: ReadonlyMap<string, Digest[]> // public, by joinedKey
  signed: ReadonlyMap<string, Digest> // public, by signedName: loaders of images
}

export function indexNodes(nodes: Iterable<BootNode>): NodeIndex {
  const byMac = new Map<Mac, BootNode>()
  const byAddress = new Map<Ipv4, BootNode>()
  const byName = new Map<string, BootNode>()
  const blobs = new Set<Digest>()
  const joined = new Map<string, Digest[]>()
  const signed = new Map<string, Digest>()
  for (const node of nodes) {
    byName.set(node.name, node)
    for (const mac of node.mac) byMac.set(mac, node)
    if (node.ip) byAddress.set(node.ip, node)
    if (!node.deployment || stateBoots[node.deployment.state] !== 'install') continue
    // Only what an open deployment boots is public: a digest is the capability to fetch its blob.
    const { kernel, initrds, image, signed: own } = node.deployment
    for (const { digest } of [kernel, ...initrds]) blobs.add(digest)
    const digests = initrds.map(({ digest }) => digest)
    if (digests.length > 1) joined.set(joinedKey(digests), digests)
    if (!own) continue
    for (const part of ['shim', 'grub'] as const)
      signed.set(signedName(image, part, own.arch), own[part].digest)
  }
  return { byMac, byAddress, byName, blobs, joined, signed }
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
const mac = '([0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5})'
const hex = '([0-9A-Fa-f]{1,8})'
const nodeName = '([A-Za-z0-9][A-Za-z0-9._-]{0,62})'
const imageFolder = 'boot/signed/[A-Za-z0-9._-]+/[0-9]+/'
// GRUB's folders: ours, the signed GRUB's, xCAT's; Open Firmware's asks beside its own file first.
const grub = '(?:(?:boot/)?grub2?/(?:[a-z0-9_-]+/)?)?grub\\.cfg'

/** By the hardware address in the name: its machine's. */
const byMac =
  (language: Language): Row[1] =>
  (text, _, world) =>
    textOf(world.nodes.byMac.get(parseMac(text)), language, world)
/** By address, in hexadecimal and cut from the end: only one's own, it says nothing about who asks for another's. */
const byHex =
  (language: Language): Row[1] =>
  (text, asker, world) =>
    ipv4ToHex(asker.address).startsWith(text.toUpperCase())
      ? textOf(nodeOf(asker, world), language, world)
      : undefined
/** A name that is the same for all: by who asks. */
const byAsker =
  (language: Language): Row[1] =>
  (_, asker, world) =>
    textOf(nodeOf(asker, world), language, world)
/** xCAT's names for its files. */
const byName =
  (language: Language): Row[1] =>
  (text, _, world) =>
    textOf(world.nodes.byName.get(text), language, world)
/** A node may be called c01. What one's own address begins with is no name: who has no text there must get nobody else's. */
const byHexOrName =
  (language: Language): Row[1] =>
  (text, asker, world) =>
    (ipv4ToHex(asker.address).startsWith(text.toUpperCase()) ? byHex : byName)(language)(text, asker, world)
/** petitboot without a configuration in its DHCP answer walks the names of pxelinux, and so does SLOF. */
const likePxelinux =
  (by: (language: Language) => Row[1]): Row[1] =>
  (text, asker, world) => {
    const meaning = by('pxelinux')(text, asker, world)
    return meaning?.kind === 'text' && meaning.node.netboot === 'petitboot'
      ? { ...meaning, language: 'petitboot' }
      : meaning
  }

// One row per form of name. The first group of the form is given to the meaning.
const table: Row[] = [
  // The signed GRUB asks for this alone.
  [/^(grub\/grub\.cfg)$/, () => ({ kind: 'fixed', text: signedGrubStart })],
  [new RegExp(`^grub/grub\\.cfg-01-${mac}$`), byMac('signed-grub')],
  // Red Hat's looks beside itself.
  [new RegExp(`^${imageFolder}(grub\\.cfg)$`), () => ({ kind: 'fixed', text: signedGrubStart })],
  [new RegExp(`^${imageFolder}grub\\.cfg-01-${mac}$`), byMac('signed-grub')],
  [new RegExp(`^${imageFolder}[a-z0-9_-]+/([a-z]+)\\.lst$`), () => ({ kind: 'fixed', text: '' })],
  [new RegExp(`^(${imageFolder}.+)$`), (name, _, { nodes }) => signedLoader(name, nodes)],
  [new RegExp(`^${grub}-01-${mac}$`), byMac('grub')],
  [new RegExp(`^${grub}-${hex}$`), byHex('grub')],
  [new RegExp(`^(${grub})$`), byAsker('grub')],
  [new RegExp(`^boot/grub2/${nodeName}$`), byName('grub')],
  // GRUB looks for its module lists; all it needs is built in, and an empty list keeps it quiet.
  [/^(?:boot\/)?grub2?\/[a-z0-9_-]+\/([a-z]+)\.lst$/, () => ({ kind: 'fixed', text: '' })],
  [new RegExp(`^boot/ipxe/${mac}(?:/serial(?:/.*)?)?$`), byMac('ipxe')],
  // GRUB on the screen of an unknown machine looks for this: it has a length once the machine is a node.
  [
    new RegExp(`^boot/known/${mac}(?:/secure)?(?:/serial(?:/.*)?)?$`),
    (text, _, world) => {
      const node = world.nodes.byMac.get(parseMac(text))
      return node && { kind: 'fixed', text: node.stranger ? '' : 'known\n' }
    },
  ],
  [new RegExp(`^xcat/xnba/nodes/${nodeName}\\.elilo$`), byName('elilo')],
  [new RegExp(`^xcat/xnba/nodes/${nodeName}\\.uefi$`), byName('ipxe')],
  [new RegExp(`^xcat/xnba/nodes/${nodeName}$`), byName('ipxe')],
  [new RegExp(`^boot/elilo/${mac}$`), byMac('elilo')],
  [new RegExp(`^${hex}(?:-x86_64)?\\.conf$`), byHex('elilo')],
  [/^(elilo(?:-x86_64)?)\.conf$/, byAsker('elilo')],
  [new RegExp(`^pxelinux\\.cfg/01-${mac}$`), likePxelinux(byMac)],
  [new RegExp(`^pxelinux\\.cfg/${hex}$`), likePxelinux(byHexOrName)],
  [/^pxelinux\.cfg\/(default)$/, likePxelinux(byAsker)],
  [new RegExp(`^pxelinux\\.cfg/${nodeName}$`), likePxelinux(byName)],
  [new RegExp(`^boot/petitboot/${mac}$`), byMac('petitboot')],
  [new RegExp(`^petitboot/${nodeName}$`), byName('petitboot')],
  [new RegExp(`^boot/slof/(?:pxelinux\\.cfg/)?01-${mac}$`), byMac('slof')],
  [new RegExp(`^boot/slof/(?:pxelinux\\.cfg/)?${hex}$`), byHex('slof')],
  [/^boot\/slof\/(?:pxelinux\.cfg\/)?(default)$/, byAsker('slof')],
  // Firmware that hands shim its options wrongly makes it ask for a second stage that nobody has: it gets the usual one.
  // What ends in .efi is asked for on purpose: revocations.efi, shim_certificate_0.efi. `oader/revocations.efi`
  // of some Dells, which lost its first letter, is a quick miss too: a list of revocations must never be a loader.
  [
    /^boot\/shim\/x86_64\/(?!.*\.efi$)(.*)$/i,
    (_, __, world) => loaderOf('boot/shim/x86_64/grubx64.efi', world),
  ],
  [
    /^boot\/shim\/aarch64\/(?!.*\.efi$)(.*)$/i,
    (_, __, world) => loaderOf('boot/shim/aarch64/grubaa64.efi', world),
  ],
  [
    /^blobs\/sha256\/([0-9a-f]{64})$/,
    (text, _, { nodes }) => {
      const digest = `sha256:${text}` as Digest
      return nodes.blobs.has(digest) ? { kind: 'blob', digest } : undefined
    },
  ],
  [
    /^blobs\/joined\/([0-9a-f.]+)$/,
    (text, _, { nodes }) => {
      const digests = nodes.joined.get(text)
      return digests && { kind: 'joined', digests }
    },
  ],
]

// xCAT's names of loaders.
const otherNames: Record<string, string> = {
  'xcat/xnba.kpxe': 'boot/ipxe/undionly.kpxe',
  'xcat/xnba.efi': 'boot/ipxe/snponly.efi',
  'xcat/elilo-x64.efi': 'elilo.efi',
  'boot/grub2/grub2.ppc': 'boot/grub/powerpc-ieee1275/core.elf',
  'boot/grub2/grub2.aarch64': 'boot/grub/arm64-efi/core.efi',
}

/** `name` as normalizeName left it; `/tftpboot/...` is an alias of `/` (xCAT's names). */
export function resolveName(name: string, asker: Asker, world: World): Meaning | undefined {
  const plain = name.replace(/^tftpboot\//, '')
  const loader = loaderOf(Object.hasOwn(otherNames, plain) ? otherNames[plain]! : plain, world)
  if (loader) return loader
  for (const [form, meaning] of table) {
    const match = form.exec(plain)?.[1]
    if (match !== undefined) return meaning(match, asker, world)
  }
  return undefined
}

const loaderOf = (file: string, { loaders }: World): Meaning | undefined =>
  loaders.has(file) ? { kind: 'loader', file } : undefined

/** A name that nobody has is its GRUB's, as it is beside our own shim. */
function signedLoader(name: string, { signed }: NodeIndex): Meaning | undefined {
  const folder = name.split('/').slice(0, 4).join('/')
  const names = /\.efi$/i.test(name) ? [name] : [`${folder}/grubx64.efi`, `${folder}/grubaa64.efi`]
  const digest = names.map((each) => signed.get(each)).find(Boolean)
  return digest && { kind: 'blob', digest }
}

/** Published by one node and no other: by MAC when it is known, else by the node's fixed address. */
function nodeOf({ address, mac }: Asker, { nodes }: World): BootNode | undefined {
  return mac === undefined ? nodes.byAddress.get(address) : nodes.byMac.get(mac)
}

function textOf(node: BootNode | undefined, language: Language, world: World): Meaning | undefined {
  const plan = node && planBoot(node, world.server)
  return node && plan && { kind: 'text', language, name: ipxeName(node), node, plan }
}

/** The name that a node's iPXE script is asked by. */
export const ipxeName = ({ mac: [first] }: { mac: Mac[] }): string =>
  `boot/ipxe/${(first ?? '').replaceAll(':', '-')}`
