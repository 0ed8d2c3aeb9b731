// Unknown machines, from their first DISCOVER to a node: real clients against the whole server.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Machine, openMachine } from './machine.ts'
import { addresses, openWorld, until, type World } from './world.ts'

const macs = ['52:54:00:99:01:01', '52:54:00:99:01:02'] as const
const scripts = macs.map((mac) => `/boot/ipxe/${mac.replaceAll(':', '-')}`)
const grubName = (mac: string) => `boot/grub/grub.cfg-01-${mac.replaceAll(':', '-')}`
let world: World
let machines: Machine[]
beforeAll(async () => {
  world = await openWorld({ network: 'discovery: hold, pool: 10.99.0.100-10.99.0.109' })
  await world.publish()
  await world.start()
  machines = macs.map((mac) => openMachine(world, mac))
}, 240_000)
afterAll(async () => {
  for (const machine of machines ?? []) machine.close()
  await world?.close()
})

const api = (path: string) =>
  JSON.parse(world.inside('curl', '-s', '--unix-socket', world.socket, `http://x${path}`))
const discovered = (): any[] => api('/discovered').machines
const attrsOf = (node: string, attrs: string) => api(`/nodes?objects=${node}&attrs=${attrs}`).objects[0].attrs
const codeOn = (text: string) => /adopt (\d{6}) NAME/.exec(text)?.[1]

const slow = 60_000 // the commands are processes, on a machine that may be busy

test('nobody waits before somebody asks; a system that asks for an address is nobody', () => {
  expect(discovered()).toEqual([])
  expect(machines[0]!.dhcp('os')?.file).toBe('')
  expect(discovered()).toEqual([])
  expect(machines[0]!.http(scripts[1]!).status).toBe(404) // a name that is made up makes nobody wait
  expect(discovered()).toEqual([])
})

test('two at once: an address, a screen and a code each, and looking changes nothing', {
  timeout: slow,
}, async () => {
  const got = await Promise.all(machines.map((machine) => machine.dhcpAsync('ipxe')))
  expect(new Set(got.map((each) => each?.ip)).size).toBe(2)
  expect(got.map((each) => each?.file)).toEqual(
    scripts.map((script) => `http://${addresses.server}${script}`),
  )
  const screens = machines.map((machine, i) => machine.http(scripts[i]!).body)
  const codes = screens.map(codeOn)
  expect(new Set(codes).size).toBe(2)
  for (const [i, screen] of screens.entries()) expect(screen).toContain(macs[i])
  const list = discovered()
  expect(list.map(({ mac, code, machine }) => [mac, code, machine])).toEqual(
    expect.arrayContaining(macs.map((mac, i) => [mac, codes[i], 'bios x86_64'])),
  )
  for (let i = 0; i < 3; i++) discovered()
  expect(machines.map((machine, i) => codeOn(machine.http(scripts[i]!).body))).toEqual(codes)
  // GRUB of the same machine shows the same code.
  expect(machines[0]!.dhcp('bios')?.file).toBe('boot/grub/i386-pc/core.0')
  expect(codeOn(machines[0]!.tftp(grubName(macs[0])).out)).toBe(codes[0])
  expect(world.sysclone('discovered').out).toMatch(
    new RegExp(`^${codes[0]} +${macs[0]} +bios x86_64 +10\\.99\\.0\\.`, 'm'),
  )
})

test('the serial number comes from the loader, and only from the machine’s own address', () => {
  machines[0]!.http(`${scripts[0]}/serial/SN%2042`)
  machines[1]!.http(`${scripts[0]}/serial/forged`)
  machines[1]!.tftp(`boot/known/${macs[1].replaceAll(':', '-')}/serial/Default string`)
  expect(discovered().map(({ mac, serial }) => [mac, serial])).toEqual(
    expect.arrayContaining([
      [macs[0], 'SN 42'],
      [macs[1], 'Default string'],
    ]),
  )
})

test('the boot process killed -9: the screens that ask on get a code again', async () => {
  const before = new Set(discovered().map(({ code }) => code))
  process.kill(world.pids('boot')[0]!, 'SIGKILL')
  await until('the screen is answered again', () => machines[0]!.http(scripts[0]!).status === 200)
  const [only] = discovered()
  expect([only.mac, before.has(only.code)]).toEqual([macs[0], false])
  machines[1]!.http(scripts[1]!)
  expect(discovered().length).toBe(2)
})

test('a wrong code adopts nobody; a right one makes the node, once, and it is in the audit log', {
  timeout: slow,
}, () => {
  const waiting = discovered().find(({ mac }) => mac === macs[0])
  const wrong = waiting.code.replace(/.$/, (digit: string) => String((Number(digit) + 1) % 10))
  expect(world.sysclone('adopt', wrong, 'n5')).toMatchObject({
    code: 1,
    err: expect.stringContaining('no machine shows this code'),
  })
  expect(world.sysclone('adopt', waiting.code, 'n5', 'mac=52:54:00:00:00:01').err).toContain(
    'mac is what the machine has',
  )
  expect(api('/nodes').objects).toEqual([])

  const spaced = `${waiting.code.slice(0, 3)} ${waiting.code.slice(3)}`
  const adopted = world.sysclone(
    'adopt',
    spaced,
    'n5',
    `ip=${addresses.n1}`,
    'groups=rack1',
    '--nodeset',
    'osimage=img',
  )
  expect(adopted).toMatchObject({
    code: 0,
    err: '',
    out: `n5: adopted ${macs[0]}\nn5: sysclone debian12-x86_64\n`,
  })
  expect(attrsOf('n5', 'mac,arch,groups,ip,serial')).toEqual({
    ...{ mac: macs[0], arch: 'x86_64', groups: 'rack1', ip: addresses.n1, serial: '' },
  })
  expect(world.sysclone('adopt', waiting.code, 'n6').code).toBe(1)
  expect(discovered().map(({ mac }) => mac)).toEqual([macs[1]])
  expect(world.sysclone('audit').out).toMatch(new RegExp(`adopt +n5 .*mac: - -> ${macs[0]}`))
})

test('the machine goes on by itself, as that node', () => {
  expect(machines[0]!.tftp(`boot/known/${macs[0].replaceAll(':', '-')}/serial/SN 42`).out).toBe('known\n')
  expect(machines[0]!.http(`${scripts[0]}/serial/SN%2042`).body).toContain('sysclone.node=n5')
  world.inside('ip', 'addr', 'del', `${addresses.n1}/24`, 'dev', 'br0')
  expect(machines[0]!.dhcp('ipxe')).toEqual({
    ip: addresses.n1,
    file: `http://${addresses.server}${scripts[0]}`,
  })
  expect(machines[1]!.tftp(`boot/known/${macs[1].replaceAll(':', '-')}/serial`).out).toBe('')
})

test('a node that was defined before its machine came gets its MAC, and shim for its Secure Boot; one that has a machine keeps it', {
  timeout: slow,
}, () => {
  machines[1]!.tftp(`boot/known/${macs[1].replaceAll(':', '-')}/secure/serial/`)
  const [waiting] = discovered()
  expect(waiting).toMatchObject({ mac: macs[1], secureBoot: true })
  world.sysclone('mkdef', 'n7', 'groups=rack1', 'netboot=grub2-http')
  expect(world.sysclone('adopt', waiting.code, 'n5').err).toContain('the node has a machine already')
  // Nothing but shim would start there: what was set before is not kept without a word, nor is what is asked for.
  const refusal = (netboot: string) =>
    `n7: the machine has Secure Boot, and that starts shim alone (netboot=${netboot}; allowed: netboot=shim, or none`
  expect(world.sysclone('adopt', waiting.code, 'n7').err).toContain(refusal('grub2-http'))
  expect(world.sysclone('chdef', 'n7', 'netboot=')).toMatchObject({ code: 0 })
  expect(world.sysclone('adopt', waiting.code, 'n7', 'netboot=ipxe').err).toContain(refusal('ipxe'))
  expect(attrsOf('n7', 'mac,netboot')).toEqual({ mac: '', netboot: '' })
  expect(discovered()).toHaveLength(1)
  expect(world.sysclone('adopt', waiting.code, 'n7', '--json')).toMatchObject({ code: 0 })
  expect(attrsOf('n7', 'mac,serial,groups,netboot')).toEqual({
    ...{ mac: macs[1], serial: '', groups: 'rack1', netboot: 'shim' },
  })
  expect(discovered()).toEqual([])
})
