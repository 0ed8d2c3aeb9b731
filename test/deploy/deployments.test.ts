import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openDeployments } from '../../services/deploy/deployments.ts'
import type { Digest, ImageName, Ipv4, NodeName } from '../../src/address.ts'
import type { Delta } from '../../src/boot/plan.ts'
import { checkTexts } from '../../src/boot/text.ts'
import type { Deployment } from '../../src/deploy/deployment.ts'
import type { Event } from '../../src/events.ts'
import { UserError } from '../../src/fault.ts'
import type { Osimage } from '../../src/image/osimage.ts'
import { readProbe } from '../../src/image/probe.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import type { NodeFacts } from '../../src/install/protocol.ts'
import type { Node } from '../../src/node/node.ts'
import { sampleImage } from '../install/sample-image.ts'

const n1 = 'n1' as NodeName
const peer = '10.0.0.11' as Ipv4
const thief = '10.0.0.66' as Ipv4
const nonce = 'a'.repeat(32)
const digest = (digit: string) => `sha256:${digit.repeat(64)}` as Digest
const blob = (digit: string) => ({ digest: digest(digit), bytes: 10 })
const facts: NodeFacts = {
  firmware: 'bios',
  secureBoot: false,
  arch: 'x86_64',
  memoryKb: 1,
  disks: [],
  nics: [],
}
const image = {
  name: 'img' as ImageName,
  version: 1,
  digest: digest('1'),
  arch: 'x86_64',
  os: { id: 'debian', version: '12', name: 'Debian' },
  kernel: blob('2'),
  modules: blob('3'),
  layout: sampleImage.layout,
} as ImageVersion
const hostKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl root@n1'
const bootServer = { address: '10.0.0.1' as Ipv4, httpPort: 80, imagePort: 8081 }
const receipt = {
  hostKeys: [hostKey],
  espUuid: 'A1B2-C3D4',
  loader: '/EFI/debian/grubx64.efi',
  bytes: 5,
  seconds: 9,
}

const rescue: Osimage = {
  name: 'rescue' as ImageName,
  provmethod: 'boot',
  kernel: '/k',
  initrd: ['/i'],
  kcmdline: 'nofb',
  files: { '/k': blob('5'), '/i': blob('6') },
}

/** A service over plain maps, which can be opened again as after a crash. */
async function setUp(node: Partial<Node> = {}) {
  const nodes = new Map<NodeName, Node>([
    [n1, { name: n1, groups: [], mac: ['52:54:00:00:00:11'], ip: peer, ...node } as Node],
  ])
  const stored = new Map<string, Deployment>()
  const events: Event[] = []
  const deltas: Delta[] = []
  const world = {
    time: 1_000_000,
    up: false,
    sshport: 22,
    full: false,
    refuse: undefined as UserError | undefined,
    missing: undefined as UserError | undefined,
    laid: [] as string[],
    packed: Promise.resolve(),
    osimages: [rescue] as Osimage[],
    image,
  }
  const open = () =>
    openDeployments({
      nodes: {
        get: async (name) => nodes.get(name),
        list: async (names) => [...nodes.values()].filter(({ name }) => names?.includes(name) ?? true),
        change: async (names, edit) => {
          for (const name of names) nodes.set(name, edit(nodes.get(name)!))
        },
      },
      osimages: { list: async () => [{ name: image.name, addkcmdline: 'quiet' }, ...world.osimages] },
      stored: {
        list: async () => [...stored.values()],
        put: async (d) => {
          if (world.full) throw new UserError('the disk of the database is full', { what: 'x', status: 507 })
          stored.set(d.id, d)
        },
        remove: async (id) => {
          if (world.full) throw new UserError('the disk of the database is full', { what: 'x', status: 507 })
          stored.delete(id)
        },
      },
      images: { get: (name, version) => (name === 'img' && (version ?? 1) === 1 ? world.image : undefined) },
      ramdisk: () => blob('4'),
      checkBoot: (node) => checkTexts(node, bootServer),
      overrides: {
        check: async () => {
          if (world.missing) throw world.missing
        },
        pack: async ({ name }, image) => {
          await world.packed
          return [{ ...blob('5'), name: `${name}-${image}` }]
        },
      },
      script: ({ session, overrides }) => {
        if (world.refuse) throw world.refuse
        world.laid = overrides.map(({ name }) => name)
        return `SESSION=${session}`
      },
      refusal: (error) => `REFUSED ${error.message}`,
      answers: async (_address, keys, port) => world.up && keys.length > 0 && port === world.sshport,
      push: (delta) => void deltas.push(delta),
      key: Buffer.alloc(32, 7),
      emit: (type, fields) => void events.push({ time: world.time, type, ...fields } as Event),
      now: () => world.time,
    })
  const deployments = await open()
  const token = () => deltas.at(-1)!.changed[0]!.deployment!.token
  return { nodes, stored, events, deltas, world, open, deployments, token }
}

async function installing() {
  const all = await setUp()
  await all.deployments.arm(n1, 'img' as ImageName)
  const script = await all.deployments.start({ token: all.token(), nonce, facts }, peer)
  return { ...all, session: script.replace('SESSION=', '') }
}
const caught = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: UserError) => error,
  )

test('what a loader of the node can not say is said by nodeset, not by a machine that stops', async () => {
  const long = await setUp({ addkcmdline: `x=${'y'.repeat(1500)}` })
  await expect(long.deployments.arm(n1, image.name)).rejects.toThrow(
    /^n1: the kernel command line is too long/,
  )
  expect(await long.deployments.stat(n1)).toBe('boot')
  const kernel = { digest: digest('5'), bytes: 9 << 20 }
  const elilo = await setUp({ netboot: 'elilo' })
  elilo.world.osimages = [{ ...rescue, files: { ...rescue.files, '/k': kernel } }]
  expect(await elilo.deployments.arm(n1, rescue.name)).toMatch(
    /^netboot rescue \(the kernel has 9437184 bytes: elilo/,
  )
  elilo.world.osimages = [{ ...rescue, files: { ...rescue.files, '/k': { ...kernel, bytes: 16 << 20 } } }]
  await expect(elilo.deployments.arm(n1, rescue.name)).rejects.toThrow(
    /^n1: the kernel is too large for elilo/,
  )
})

test('an override that is missing is said by nodeset, not by the machine', async () => {
  const { deployments, world } = await setUp()
  world.missing = new UserError('an override is missing', { what: 'a of group g', object: 'n1' })
  await expect(deployments.arm(n1, image.name)).rejects.toThrow('n1: an override is missing (a of group g)')
  expect(await deployments.stat(n1)).toBe('boot')
})

test('the whole way of one clone', async () => {
  const { deployments, token, session, nodes, world, deltas } = await installing()
  expect(token()).toMatch(/^[0-9a-f]{64}$/)
  expect(deltas.at(-1)!.changed[0]!.kernelArgs).toEqual(['quiet'])
  await deployments.progress({ session, seq: 1, phase: 'copy', percent: 50, bytes: 5 }, peer)
  expect(await deployments.stat(n1)).toBe('img:1 installing copy 50%')
  await deployments.finish({ session, result: 'ok', receipt }, peer)
  expect(nodes.get(n1)).toMatchObject({
    status: 'installed',
    localLoader: { espUuid: 'A1B2-C3D4', path: '/EFI/debian/grubx64.efi' },
  })
  expect(nodes.get(n1)!.cloneHostKeys![0]).toMatch(/^SHA256:[A-Za-z0-9+/]{43}$/)
  await deployments.tick()
  expect(nodes.get(n1)!.status).toBe('installed') // nobody answers yet
  world.up = true
  await deployments.tick()
  expect(nodes.get(n1)!.status).toBe('booted')
  expect(await deployments.stat(n1)).toBe('boot')
  expect(deltas.at(-1)!.changed[0]!.deployment!.state).toBe('booted')
})

test('a machine that replays the boot token is refused and told of; the first one goes on', async () => {
  const { deployments, token, session, events, world } = await installing()
  const error = await caught(deployments.start({ token: token(), nonce: 'b'.repeat(32), facts }, thief))
  expect(error).toMatchObject({ status: 409, fault: { what: `the token is bound to ${peer}` } })
  expect(events.filter((e) => e.type === 'node.refuse')).toMatchObject([{ peer: thief, node: 'n1' }])
  expect(await deployments.start({ token: token(), nonce, facts }, peer)).toBe(`SESSION=${session}`)
  expect(world.laid).toEqual(['n1-img'])
  await deployments.finish({ session, result: 'ok', receipt }, peer)
  expect(await caught(deployments.start({ token: token(), nonce, facts }, peer))).toMatchObject({
    status: 403,
  })
})

test('wrong tokens and sessions are refused', async () => {
  const { deployments, session } = await installing()
  const start = { token: 'f'.repeat(64), nonce, facts }
  expect(await caught(deployments.start(start, thief))).toMatchObject({
    fault: { what: 'unknown boot token' },
  })
  for (const wrong of ['', 'x', `${session}0`, session.replace(/.$/, (c) => (c === '0' ? '1' : '0'))]) {
    const progress = { session: wrong, seq: 1, phase: 'copy', percent: 1, bytes: 0 }
    expect(await caught(deployments.progress(progress, thief))).toMatchObject({
      fault: { what: 'unknown session' },
    })
  }
})

test.each(['firmware', 'ipxe'])(
  'a reset (%s) begins a new attempt with a new token; the old session is dead',
  async (client) => {
    const { deployments, token, session, world } = await installing()
    const old = token()
    world.time += 20_000
    await deployments.seen({ time: world.time, type: 'dhcp.discover', node: 'n1', client: 'os' })
    expect(token()).toBe(old) // the ramdisk's own
    await deployments.seen({ time: world.time, type: 'dhcp.discover', node: 'n1', client })
    expect(token()).not.toBe(old)
    expect(await caught(deployments.start({ token: old, nonce, facts }, peer))).toMatchObject({ status: 403 })
    const progress = { session, seq: 2, phase: 'copy', percent: 1, bytes: 0 }
    expect(await caught(deployments.progress(progress, peer))).toMatchObject({ status: 403 })
    const again = await deployments.start({ token: token(), nonce: 'c'.repeat(32), facts }, peer)
    expect(again).not.toContain(session)
  },
)

test('only an install text of the present deployment moves armed to booting', async () => {
  const { deployments, nodes, stored, world } = await setUp()
  await deployments.arm(n1, 'img' as ImageName)
  const id = [...stored.keys()][0]!
  const text = { time: world.time, type: 'http.text', node: 'n1', kind: 'install' } as const
  await deployments.seen({ ...text, deployment: 'older' })
  await deployments.seen({ ...text, deployment: id, kind: 'local' })
  expect(nodes.get(n1)!.status).toBeUndefined()
  await deployments.seen({ ...text, deployment: id })
  expect(nodes.get(n1)!.status).toBe('netbooting')
})

test('main killed in the middle: opened again, the same session goes on', async () => {
  const { open, session, nodes } = await installing()
  const again = await open()
  await again.progress({ session, seq: 9, phase: 'copy', percent: 70, bytes: 5 }, peer)
  await again.finish({ session, result: 'ok', receipt }, peer)
  expect(nodes.get(n1)!.status).toBe('installed')
})

test('an image that does not fit is refused with its numbers, and asked again it says the same', async () => {
  const { deployments, world, token, nodes } = await setUp()
  await deployments.arm(n1, 'img' as ImageName)
  world.refuse = new UserError('the disk is too small', {
    what: 'needs 3 GB, /dev/vda has 1 GB',
    object: 'n1',
  })
  const answer = await deployments.start({ token: token(), nonce, facts }, peer)
  expect(answer).toBe('REFUSED n1: the disk is too small (needs 3 GB, /dev/vda has 1 GB)')
  expect(nodes.get(n1)!.status).toBe('failed')
  expect((await caught(deployments.start({ token: token(), nonce, facts }, peer)))?.message).toContain(
    'needs 3 GB',
  )
})

test('what nodeset refuses, it refuses before anything changes', async () => {
  const img = 'img' as ImageName
  const rows: [Partial<Node>, ImageName, number | undefined, string][] = [
    [{}, 'none' as ImageName, undefined, 'no such osimage'],
    [{}, img, 9, 'no such osimage'],
    [{ lock: true }, img, undefined, 'the node is locked'],
    [{ mac: [] }, img, undefined, 'No MAC address available for this node'],
    [{ arch: 'aarch64' }, img, undefined, 'the image is for another architecture'],
  ]
  for (const [node, name, version, error] of rows) {
    const { deployments, stored, deltas } = await setUp(node)
    expect((await caught(deployments.arm(n1, name, version)))?.fault.error).toBe(error)
    expect([stored.size, deltas.length]).toEqual([0, 0])
  }
})

test('an image of what cannot be installed yet is refused with all the reasons', async () => {
  const { deployments, stored, world } = await setUp()
  const json = readFileSync(join(import.meta.dirname, '../fixtures/capture/probes/luks.json'), 'utf8')
  world.image = { ...image, layout: readProbe(json).layout }
  expect((await caught(deployments.arm(n1, image.name)))?.fault).toEqual({
    error: 'the image cannot be installed yet',
    what:
      'img:1 has several disks (/dev/vda, /dev/vdb, /dev/vdc); /dev/md127 (md raid1); LVM group system (linear); ' +
      'encryption of partition 1 of /dev/vdc; encryption of partition 2 of /dev/vdc; encryption of /dev/md127',
    allowed: 'ext4, vfat and swap on the partitions of one GPT disk',
    object: 'n1',
  })
  expect(stored.size).toBe(0)
})

test('a node that was locked after its nodeset is not installed until it is unlocked', async () => {
  const { deployments, nodes, token, stored } = await setUp()
  await deployments.arm(n1, 'img' as ImageName)
  nodes.set(n1, { ...nodes.get(n1)!, lock: true })
  const start = () => deployments.start({ token: token(), nonce, facts }, peer)
  expect(await caught(start())).toMatchObject({
    status: 403,
    fault: { what: 'the node is locked; chdef n1 lock=0 lets it go on' },
  })
  expect([...stored.values()].map(({ state }) => state)).toEqual(['armed'])
  nodes.set(n1, { ...nodes.get(n1)!, lock: false })
  expect(await start()).toMatch(/^SESSION=/)
})

test('nodeset, or a lock, while the overrides are packed: the machine gets no script that would erase its disk', async () => {
  const meanwhile: Record<string, (all: Awaited<ReturnType<typeof setUp>>) => unknown> = {
    'unknown boot token': ({ deployments }) => deployments.setState(n1, 'boot'),
    'the node is locked': ({ nodes }) => nodes.set(n1, { ...nodes.get(n1)!, lock: true }),
  }
  for (const [why, change] of Object.entries(meanwhile)) {
    const all = await setUp()
    const { deployments, world, token } = all
    await deployments.arm(n1, 'img' as ImageName)
    const packed = Promise.withResolvers<void>()
    world.packed = packed.promise
    const answer = deployments.start({ token: token(), nonce, facts }, peer).catch((error) => error)
    await new Promise((done) => setTimeout(done, 20))
    await change(all)
    packed.resolve()
    expect(String(await answer)).toMatch(/refused|REFUSED/)
    expect(String(await answer)).toContain(why)
    expect(world.laid).toEqual([])
  }
})

test('a refusal that names thousands of disks is kept as a line', async () => {
  const { deployments, token, world, stored } = await setUp()
  await deployments.arm(n1, 'img' as ImageName)
  world.refuse = new UserError('no disk to install on', { what: '/dev/sda, '.repeat(80_000) })
  await deployments.start({ token: token(), nonce, facts }, peer)
  expect([...stored.values()].map(({ reason }) => reason!.length)).toEqual([1000])
})

test('two machines show one token at the same moment: one is installed', async () => {
  const { deployments, token } = await setUp()
  await deployments.arm(n1, 'img' as ImageName)
  const ask = (nonce: string, from: Ipv4) =>
    caught(deployments.start({ token: token(), nonce, facts }, from)).then((error) => error?.status ?? 200)
  const answers = await Promise.all([
    ask(nonce, peer),
    ask('b'.repeat(32), thief),
    ask('c'.repeat(32), thief),
  ])
  expect(answers.sort()).toEqual([200, 409, 409])
})

test('nodeset boot ends an intent; the node that was installing is refused from then on', async () => {
  const { deployments, session, deltas, stored } = await installing()
  expect(await deployments.setState(n1, 'boot')).toBe('boot')
  expect(deltas.at(-1)!.changed[0]!).not.toHaveProperty('deployment')
  expect(stored.size).toBe(0)
  expect(await caught(deployments.finish({ session, result: 'ok', receipt }, peer))).toMatchObject({
    status: 403,
  })
  await deployments.setState(n1, 'offline')
  expect(deltas.at(-1)!.changed[0]!.offline).toBe(true)
  expect(await deployments.stat(n1)).toBe('offline')
})

test('a receipt can not put words into the loader text', async () => {
  for (const loader of ["/EFI/x'; reboot #.efi", '/../../x.efi', 'x', '/EFI/a b.efi']) {
    const { deployments, session, nodes } = await installing()
    await deployments.finish({ session, result: 'ok', receipt: { ...receipt, loader } }, peer)
    expect(nodes.get(n1)).not.toHaveProperty('localLoader')
  }
})

test('a boot-only osimage: armed, booting, however often, until nodeset boot', async () => {
  const { deployments, deltas, world, events, nodes, token, open, stored } = await setUp({ serialport: 0 })
  expect(await deployments.arm(n1, rescue.name)).toBe('netboot rescue')
  expect(await deployments.stat(n1)).toBe('rescue armed')
  const { id } = deltas.at(-1)!.changed[0]!.deployment!
  expect(deltas.at(-1)!.changed[0]).toMatchObject({
    kernelArgs: ['nofb', 'console=tty0', 'console=ttyS0,115200'],
    deployment: { image: 'rescue', kernel: blob('5'), initrds: [blob('6')], bootOnly: true },
  })
  await deployments.seen({ time: 1, type: 'http.text', node: n1, deployment: id, kind: 'boot' } as Event)
  expect(await deployments.stat(n1)).toBe('rescue booting')
  expect(nodes.get(n1)).toMatchObject({ osimage: 'rescue', status: 'netbooting' })
  world.time += 365 * 24 * 3_600_000
  await deployments.seen({ time: 2, type: 'dhcp.discover', node: n1, client: 'firmware' } as Event)
  await deployments.tick()
  expect(await (await open()).stat(n1)).toBe('rescue booting') // also after a restart
  expect(await caught(deployments.start({ token: token(), nonce, facts }, peer))).toMatchObject({
    status: 403,
    fault: { what: 'the osimage rescue is boot-only: it installs nothing' },
  })
  expect(events.filter(({ type }) => type === 'node.start')).toEqual([])
  world.osimages = [{ ...rescue, files: { '/k': blob('7'), '/i': blob('6') } }]
  await deployments.changed([n1])
  expect(deltas.at(-1)!.changed[0]!.deployment!.kernel).toEqual(blob('7')) // as it is defined now
  await deployments.setState(n1, 'boot')
  expect(await deployments.stat(n1)).toBe('boot')
  expect([deltas.at(-1)!.changed[0]!.deployment, stored.size]).toEqual([undefined, 0])
})

test('a boot-only osimage whose definition went away: a hold that says so', async () => {
  const { deployments, world, deltas } = await setUp()
  await deployments.arm(n1, rescue.name)
  world.osimages = []
  await deployments.changed([n1])
  expect(deltas.at(-1)!.changed[0]!.deployment).toMatchObject({
    state: 'failed',
    reason: 'image rescue is missing',
  })
})

test('an install that was given up does not come back after a rescue and a restart', async () => {
  const { deployments, open, session, stored } = await installing()
  await deployments.finish({ session, result: 'failed', phase: 'copy', reason: 'x' }, peer)
  await deployments.arm(n1, rescue.name)
  await deployments.setState(n1, 'boot')
  expect(stored.size).toBe(0)
  expect(await (await open()).stat(n1)).toBe('boot')
})

test('a clone that is not seen to come up boots from its disk for good once nodeset boot said so', async () => {
  const { deployments, open, session, world, deltas } = await installing()
  await deployments.finish({ session, result: 'ok', receipt }, peer)
  await deployments.setState(n1, 'boot')
  world.time += 3_600_000
  await deployments.tick()
  expect(await deployments.stat(n1)).toBe('boot')
  expect(deltas.at(-1)!.changed[0]).not.toHaveProperty('deployment')
  expect(await (await open()).stat(n1)).toBe('boot')
})

test('a clone whose sshd has a port of its own is looked for there', async () => {
  const { deployments, session, world, nodes } = await installing()
  await deployments.finish({ session, result: 'ok', receipt }, peer)
  Object.assign(world, { up: true, sshport: 2222 })
  await deployments.tick()
  expect(nodes.get(n1)!.status).toBe('installed')
  nodes.set(n1, { ...nodes.get(n1)!, sshport: 2222 })
  await deployments.tick()
  expect(nodes.get(n1)!.status).toBe('booted')
})

test('an install that did not come up yet does not come back to fail after a rescue and a restart', async () => {
  const { deployments, open, session, stored } = await installing()
  await deployments.finish({ session, result: 'ok', receipt }, peer)
  await deployments.arm(n1, rescue.name)
  await deployments.setState(n1, 'boot')
  expect(stored.size).toBe(0)
  expect(await (await open()).stat(n1)).toBe('boot')
})

test('a disk that is full: what can not be stored has not happened, and asked again it happens', async () => {
  const { deployments, world, deltas, session, nodes } = await installing()
  const pushed = deltas.length
  world.full = true
  const finish = () => deployments.finish({ session, result: 'ok', receipt }, peer)
  expect(await caught(finish())).toMatchObject({ status: 507 })
  expect([await deployments.stat(n1), deltas.length]).toEqual(['img:1 installing start 0%', pushed])
  expect(await caught(deployments.arm(n1, rescue.name))).toMatchObject({ status: 507 })
  expect(await caught(deployments.setState(n1, 'boot'))).toMatchObject({ status: 507 })
  expect(await deployments.stat(n1)).toBe('img:1 installing start 0%')
  world.full = false
  await finish()
  expect([await deployments.stat(n1), nodes.get(n1)!.status]).toEqual(['img:1 installed', 'installed'])
})
