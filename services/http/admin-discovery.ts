// Unknown machines: those that wait, and how one of them becomes a node. Looking changes nothing.
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { type Mac, type NodeName, parseNodeName } from '../../src/address.ts'
import { isSerial, type Stranger, uuidText } from '../../src/boot/strangers.ts'
import { machineName } from '../../src/dhcp/client.ts'
import { parsePacket } from '../../src/dhcp/packet.ts'
import { readRequest } from '../../src/dhcp/request.ts'
import { UserError } from '../../src/fault.ts'
import type { Netboot } from '../../src/node/node.ts'
import type { AdminNeeds } from './admin-needs.ts'
import { Adopt } from './admin-schemas.ts'
import { writeDefinitions } from './definitions.ts'

const archs: Record<string, string> = { x86_64: 'x86_64', aarch64: 'aarch64', ppc64le: 'ppc64le' }

export function discoveryRoutes(app: FastifyInstance, needs: AdminNeeds) {
  const { store, networks, strangers, emit } = needs
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()

  typed.get('/discovered', async () => ({
    machines: await waiting(),
    holding: networks.some(({ discovery }) => discovery === 'hold'),
  }))

  typed.post('/discovered/adopt', { schema: { body: Adopt } }, async ({ body }) => {
    const { code, attrs = {} } = body
    const name = parseNodeName(body.name)
    const found = (await waiting()).find((each) => each.code === code)
    if (!found)
      throw new UserError('no machine shows this code', {
        what: code,
        allowed: 'a code of sysclone discovered, as it stands on the screen of the machine',
        status: 404,
      })
    if (attrs.mac !== undefined)
      throw new UserError('mac is what the machine has', {
        what: attrs.mac,
        allowed: found.mac,
        object: name,
      })
    const mode = await modeFor(name)
    const loader = await loaderOf(found, { name, asked: attrs.netboot })
    const all = { ...knownOf(found), ...attrs, ...loader, mac: found.mac }
    await writeDefinitions(needs, [{ type: 'node', name, attrs: all }], { mode })
    emit('admin.change', { who: 'local', what: 'adopt', object: name, mac: found.mac })
    return { objects: [name], mac: found.mac, changes: [{ object: name, after: all }] }
  })

  /** What the boot process forgot in a restart stands in the record of the machine's boot. */
  async function waiting(): Promise<Stranger[]> {
    return Promise.all(
      (await strangers()).map(async (stranger) =>
        stranger.machine === undefined ? { ...(await recorded(stranger.mac)), ...stranger } : stranger,
      ),
    )
  }

  async function recorded(mac: Mac): Promise<Pick<Stranger, 'machine' | 'uuid'>> {
    const [last] = (await store.boots.list({ macs: [mac] })).slice(-1)
    const steps = last ? await store.boots.stepsOf(last) : []
    const asked = steps.flatMap((step) => (step.kind === 'dhcp' ? [Buffer.from(step.request, 'base64')] : []))
    return asked.map(describeAsker).find(({ machine }) => machine !== undefined) ?? {}
  }

  /** With Secure Boot nothing but shim starts: another netboot, asked for now or set before, would not boot the machine. */
  async function loaderOf(
    { secureBoot }: Stranger,
    { name, asked }: { name: NodeName; asked: string | undefined },
  ): Promise<{ netboot?: Netboot }> {
    if (!secureBoot) return {}
    const netboot = asked ?? (await store.nodes.get(name))?.netboot ?? ''
    if (!['', 'shim'].includes(netboot))
      throw new UserError('the machine has Secure Boot, and that starts shim alone', {
        what: `netboot=${netboot}`,
        allowed: 'netboot=shim, or none, which becomes shim',
        object: name,
      })
    return { netboot: 'shim' }
  }

  /** A node that was defined before its machine came gets its MAC; one that has a machine keeps it. */
  async function modeFor(name: ReturnType<typeof parseNodeName>): Promise<'make' | 'change'> {
    const node = await store.nodes.get(name)
    if (!node) return 'make'
    if (node.mac.length === 0) return 'change'
    throw new UserError('the node has a machine already', {
      what: `mac=${node.mac.join()}`,
      allowed: `chdef ${name} mac= first, or another name`,
      object: name,
      status: 409,
    })
  }
}

/** Only what was answered is recorded: it parses. */
function describeAsker(bytes: Buffer): Pick<Stranger, 'machine' | 'uuid'> {
  const request = readRequest(parsePacket(bytes))
  if (request.kind === 'ignore') return {}
  const machine = machineName(request.client)
  const uuid = uuidText(request.options.uuid)
  return { ...(machine !== undefined && { machine }), ...(uuid !== undefined && { uuid }) }
}

/** What it said of itself. A placeholder of its maker is no serial number. */
function knownOf({ machine, uuid, serial }: Stranger): Record<string, string> {
  const arch = archs[machine?.split(' ')[1] ?? '']
  return {
    ...(arch !== undefined && { arch }),
    ...(uuid !== undefined && { uuid }),
    ...(serial !== undefined && isSerial(serial) && { serial }),
  }
}
