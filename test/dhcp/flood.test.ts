// One machine floods in the name of thousands of our nodes, as fast as it can; machines beside it and on another network boot.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseSubnet } from '../../src/address.ts'
import { openLan, type Server, startServer, until } from './lan.ts'

const lan = openLan('flood', ['server', 'far'] as const)
const hex = (n: number) => n.toString(16).padStart(2, '0')
const NODES = 4000
const nodes = Array.from({ length: NODES }, (_, i) => ({
  ...{ name: `n${i}`, mac: [`52:54:00:7a:${hex(i >> 8)}:${hex(i & 255)}`], kernelArgs: [] },
  ip: `10.77.${16 + (i >> 8)}.${i & 255}`,
}))
const honest = [
  ['h0', 's0', '10.77.0.0/16', '10.77.0.1', '52:54:00:7b:00:01', '10.77.1.1'],
  ['h1', 's1', '10.78.0.0/24', '10.78.0.1', '52:54:00:7b:00:02', '10.78.0.2'],
] as const
let server: Server

beforeAll(async () => {
  lan.wire(['server', 's0'], ['far', 'f0'])
  lan.wire(['server', 's1'], ['far', 'h1', honest[1][4]])
  lan.ip('far', 'link', 'add', 'h0', 'link', 'f0', 'address', honest[0][4], 'type', 'macvlan')
  lan.ip('far', 'link', 'set', 'h0', 'up')
  lan.address('server', 's0', '10.77.0.1/16')
  lan.address('server', 's1', '10.78.0.1/24')
  lan.address('far', 'f0', '10.77.255.9/16')
  writeFileSync(join(lan.folder, 'flood.cjs'), flood)
  const more = honest.map(([name, , , , mac, ip]) => ({ name, mac: [mac], ip, kernelArgs: [] }))
  const networks = honest.map(([, device, subnet, address]) => ({
    ...{ interface: device, subnet: parseSubnet(subnet), address },
    ...(device === 's0' && { pool: { from: '10.77.64.0', to: '10.77.127.255' } }),
  }))
  server = await startServer(lan, 'server', { networks, nodes: [...more, ...nodes] })
})
afterAll(() => lan.close())

/** In the name of the nodes one after the other, or of machines that nobody defined; every packet is another exchange. */
const flood = `
const dgram = require('node:dgram')
const socket = dgram.createSocket('udp4')
const packet = Buffer.alloc(300)
packet.set([1, 1, 6])
packet[10] = 128 // answers by broadcast
packet.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 55, 3, 1, 66, 67, 60, 32], 236)
packet.write('PXEClient:Arch:00007:UNDI:003016', 250)
packet[282] = 255
let count = 0
function more() {
  for (let i = 0; i < 64; i++) {
    const one = Buffer.from(packet)
    one.writeUInt32BE(++count, 4)
    const node = count % ${NODES}
    one.set(process.argv[2] === 'nodes' ? [0x52, 0x54, 0, 0x7a, node >> 8, node & 255] : [2, 0, count >> 24, count >> 16, count >> 8, count], 28)
    socket.send(one, 67, '255.255.255.255')
  }
  setImmediate(more)
}
socket.bind(0, '10.77.255.9', () => {
  socket.setBroadcast(true)
  more()
})
`

for (const names of ['nodes', 'strangers'])
  test(`a flood in the name of ${names}: a node beside it and one on another network get their addresses`, async () => {
    const attacker = lan.start('far', [process.execPath, join(lan.folder, 'flood.cjs'), names])
    await until(() => server.seen('dhcp.offer').length > 500)
    for (const [device, , , , , ip] of honest) {
      const argv = ['udhcpc', '-f', '-n', '-q', '-t', '12', '-T', '2', '-i', device, '-s', '/bin/true']
      expect((await lan.run('far', argv)).said).toContain(`lease of ${ip} obtained`)
    }
    await lan.stop(attacker)
    server.forget()
  })
