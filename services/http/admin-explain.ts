// Why a machine gets what it gets. A question: nothing is sent, and nothing changes.
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { type Ipv4, isIpv4, type Mac, type NodeName, parseMac } from '../../src/address.ts'
import { parseConfig } from '../../src/config.ts'
import type { Asker } from '../../src/dhcp/asking.ts'
import { type DryRun, type DryWorld, makeDryRun } from '../../src/dhcp/dry-run.ts'
import { askAs, clientsOf, policyOf, replayBoot } from '../../src/explain.ts'
import { UserError } from '../../src/fault.ts'
import type { Node } from '../../src/node/node.ts'
import type { BootRow } from '../store/boots.ts'
import type { AdminNeeds } from './admin-needs.ts'
import { Explain } from './admin-schemas.ts'

/** So many requests are answered before others have their turn. */
const AT_ONCE = 20

export function explainRoutes(app: FastifyInstance, { store, dryWorld }: AdminNeeds) {
  const options = { schema: { body: Explain }, bodyLimit: 64 << 20 }
  app
    .withTypeProvider<TypeBoxTypeProvider>()
    .post('/explain', options, async ({ body: { machine, boot, clients, exchanges, config } }) => {
      if ((machine === undefined) === (exchanges === undefined))
        throw new UserError('bad request', { what: 'machine, or exchanges', allowed: 'one of them' })
      const world = await dryWorld(config && parseConfig(config.text, config.name))
      if (exchanges) return { runs: await replay(world, exchanges) }
      return explainMachine(world, machine!, boot, clients)
    })

  async function explainMachine(
    world: DryWorld,
    machine: string,
    number: number | undefined,
    clients: Asker[] | undefined,
  ) {
    const { mac, node } = await machineOf(machine)
    const known = mac && world.nodes.byMac.get(mac)
    const boots = await store.boots.list({ node: node?.name, macs: node ? node.mac : [mac!] })
    const shown = boots.at(number ?? -1)
    if (number !== undefined && !shown)
      throw new UserError('no such boot', {
        what: `${number} of ${machine}`,
        allowed: boots.length === 0 ? 'none is recorded' : `-1 to -${boots.length}`,
        object: machine,
        status: 404,
      })
    const steps = shown ? await store.boots.stepsOf(shown) : []
    const asked = clients ?? (steps.length > 0 ? clientsOf(steps) : usualClients(node))
    return {
      ...{ mac, policy: policyOf(known) },
      ...(node && { node: node.name }),
      clients: mac && asked.length > 0 ? askAs(world, mac, asked).map(withTexts) : [],
      boots: boots.map(summary),
      ...(shown && { boot: { ...summary(shown), steps: replayBoot(world, steps).map(withTexts) } }),
    }
  }

  async function machineOf(text: string): Promise<{ mac?: Mac; node?: Node }> {
    const mac = macIn(text)
    const node = mac === undefined ? await store.nodes.get(text as NodeName) : await ownerOf(mac)
    if (!node && mac === undefined)
      throw new UserError('no such node', {
        what: text.slice(0, 100),
        allowed: 'a node, or a MAC address',
        object: text.slice(0, 100),
        status: 404,
      })
    const its = mac ?? node?.mac[0]
    return { ...(node && { node }), ...(its !== undefined && { mac: its }) }
  }

  const ownerOf = async (mac: Mac) => (await store.nodes.list()).find((node) => node.mac.includes(mac))
}

/** A node's name may be six hex pairs; with separators it can only be a MAC. */
function macIn(text: string): Mac | undefined {
  if (!/[:.]|^..-..-/.test(text)) return undefined
  try {
    return parseMac(text)
  } catch {
    return undefined
  }
}

/** Of a machine that was never seen. */
function usualClients(node: Node | undefined): Asker[] {
  return node?.arch === 'aarch64' ? ['uefi-arm64'] : ['bios', 'uefi-x64', 'ipxe-bios']
}

const summary = ({ id: _, ...boot }: BootRow) => boot

async function replay(
  world: DryWorld,
  exchanges: { request: string; replies: string[]; server?: string; port?: number }[],
): Promise<unknown[]> {
  const run = makeDryRun(world)
  const runs: unknown[] = []
  for (const { request, replies, server, port } of exchanges) {
    const packets = { request: bytes(request), replies: replies.map(bytes), port }
    const from = server !== undefined && isIpv4(server) ? { server: server as Ipv4 } : {}
    runs.push(shownRun(run({ ...packets, ...from })))
    if (runs.length % AT_ONCE === 0) await new Promise((done) => setImmediate(done))
  }
  return runs
}

const bytes = (text: string) => Buffer.from(text, 'base64')

/** Bytes as base64, the network by its address. */
const shownRun = ({ reply, network, ...run }: DryRun) => ({
  ...run,
  ...(network && { network: network.address }),
  ...(reply && { reply: reply.toString('base64') }),
})

const withTexts = <T extends object>(each: T) =>
  'run' in each ? { ...each, run: shownRun(each.run as DryRun) } : each
