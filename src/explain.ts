// Why a machine gets what it gets: its policy, a dry run of each request, the texts of its loaders, and whether its last
// boot got the same.
import { type Ipv4, type Mac, subnetContains } from './address.ts'
import { configAfter } from './boot/loaders.ts'
import { type Meaning, normalizeName, resolveName } from './boot/names.ts'
import type { BootNode, ServerAddress } from './boot/plan.ts'
import { planRule } from './boot/policy.ts'
import type { Step } from './boot/record.ts'
import { besideNodes, strangerNode } from './boot/strangers.ts'
import { renderOrHold } from './boot/text.ts'
import { type Asker, discoverAs } from './dhcp/asking.ts'
import { type DryRun, type DryWorld, makeDryRun } from './dhcp/dry-run.ts'
import type { Network } from './node/network.ts'

/** What a name means to that machine now, and why. */
export type FileRun = {
  name: string
  what: 'text' | 'loader' | 'blob' | 'empty' | 'nothing'
  rule: string
  text?: string
}
export type AskedAs = { as: string; run: DryRun; files: FileRun[] }
/** One recorded step, with what would be answered now. */
export type StepRun =
  | { step: Extract<Step, { kind: 'dhcp' }>; run: DryRun; same: boolean }
  | { step: Extract<Step, { kind: 'file' }>; now: FileRun; same: boolean; readBytes?: number }
  | { step: Extract<Step, { kind: 'blob' }> }

/** `undefined`: it is no node. */
export function policyOf(node: BootNode | undefined): string {
  return node ? planRule(node) : 'no node has this MAC: it is answered as an unknown machine'
}

/** What it would get as each of these clients, and what each would load after that. */
export function askAs(
  world: DryWorld,
  mac: Mac,
  clients: readonly (Asker | { as: string; request: Uint8Array })[],
): AskedAs[] {
  return clients.map((client) => {
    const run = makeDryRun(world)
    const { as, request } =
      typeof client === 'string' ? { as: client, request: discoverAs(client, mac) } : client
    const result = run({ request, replies: [] })
    return { as, run: withoutComparison(result), files: filesAfter(world, mac, result) }
  })
}

/** The requests of a boot that show each kind of client that was in it: the first DISCOVER of each. */
export function clientsOf(steps: readonly Step[]): { as: string; request: Buffer }[] {
  const seen = new Set<string>()
  return steps.flatMap((step) => {
    if (step.kind !== 'dhcp' || step.type !== 'discover' || seen.has(step.client)) return []
    seen.add(step.client)
    return [{ as: 'in the last boot', request: Buffer.from(step.request, 'base64') }]
  })
}

/** Each step of a boot beside what would be answered now. */
export function replayBoot(world: DryWorld, steps: readonly Step[]): StepRun[] {
  const run = makeDryRun(world)
  const ends = new Map(steps.flatMap((step) => (step.kind === 'end' ? [[step.id, step.bytes] as const] : [])))
  return steps.flatMap((step): StepRun[] => {
    if (step.kind === 'end') return []
    if (step.kind === 'blob') return [{ step }]
    if (step.kind === 'dhcp') {
      const { request, reply, server, port } = step
      const replies = reply === undefined ? [] : [Buffer.from(reply, 'base64')]
      const now = run({ request: Buffer.from(request, 'base64'), replies, server, port })
      return [{ step, run: now, same: now.compared?.same ?? true }]
    }
    const now = fileNow(world, step.name, { address: step.peer, mac: step.mac })
    const readBytes = ends.get(step.id)
    const same = now.what === step.sent.what && (step.sent.what !== 'text' || now.text === step.sent.text)
    return [{ step, now, same, ...(readBytes !== undefined && { readBytes }) }]
  })
}

/** What a client loads: the file that it was given, and the configuration that a loader among them asks for. */
function filesAfter(world: DryWorld, mac: Mac, { file, address, network }: DryRun): FileRun[] {
  if (file === undefined || address === undefined || !network) return []
  const asker = { address, mac }
  const first = fileNow(world, file.replace(/^https?:\/\/[^/]+/, ''), asker)
  const next = configAfter(first.name, { mac, address })
  return next === undefined ? [first] : [first, fileNow(world, next, asker)]
}

function fileNow(world: DryWorld, asked: string, asker: { address: Ipv4; mac: Mac }): FileRun {
  const network = networkFor(world, asker)
  const server = network && world.serverOf(network)
  const { mac } = asker
  const isHeld = network?.discovery === 'hold'
  const stranger = isHeld
    ? strangerNode(
        mac,
        world.waiting.find((each) => each.mac === mac),
      )
    : undefined
  const nodes = besideNodes(world.nodes, (other) => (other === mac ? stranger : undefined))
  const name = normalizeName(asked)
  if (name === undefined)
    return { name: asked, what: 'nothing', rule: 'not a name that anybody has a reason to ask for' }
  const meaning = server && resolveName(name, asker, { nodes, loaders: world.built, server })
  if (!server || !meaning) return { name, what: 'nothing', rule: 'no such file, or not for this machine' }
  return { name, ...aboutMeaning(meaning, server) }
}

function aboutMeaning(meaning: Meaning, server: ServerAddress): Omit<FileRun, 'name'> {
  switch (meaning.kind) {
    case 'text': {
      const rule = `${meaning.language}: ${planRule(meaning.node)}`
      const rendered = renderOrHold({ ...meaning, server })
      return rendered
        ? { what: 'text', rule, text: rendered.text }
        : { what: 'nothing', rule: `no words for it: ${rule}` }
    }
    case 'fixed':
      return meaning.text === ''
        ? { what: 'empty', rule: 'an empty list: everything is built in' }
        : { what: 'text', rule: 'the same for every machine', text: meaning.text }
    case 'loader':
      return { what: 'loader', rule: 'a loader file, the same for all' }
    case 'blob':
      return { what: 'blob', rule: 'by its digest, while a node boots it' }
    case 'joined':
      return { what: 'blob', rule: 'by the digests of its parts, while a node boots them' }
  }
}

const networkFor = ({ networks }: DryWorld, { address }: { address: Ipv4 }): Network | undefined =>
  networks.find(({ subnet }) => subnetContains(subnet, address)) ?? networks[0]

const withoutComparison = ({ compared: _, ...run }: DryRun): DryRun => run
