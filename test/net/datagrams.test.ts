import dgram from 'node:dgram'
import { once } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import { openDatagrams, type Peer } from '../../services/net/datagrams.ts'
import { descriptorOf, openRequestSocket } from '../../services/net/linux.ts'
import type { Ipv4 } from '../../src/address.ts'

const loopback = '127.0.0.1' as Ipv4
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

/** With a descriptor the kernel's own calls are used; without one, as on a machine without koffi, Node's. */
const sockets = {
  'by the kernel': () => openRequestSocket(loopback, 0),
  'by node': async () => {
    const socket = dgram.createSocket('udp4')
    socket.bind(0, loopback)
    await once(socket, 'listening')
    return socket
  },
}

for (const [how, open] of Object.entries(sockets))
  describe(how, () => {
    test('a burst is handed on whole and in order, each packet with its sender and a buffer of its own', async () => {
      const socket = await open()
      expect(descriptorOf(socket) !== undefined).toBe(how === 'by the kernel')
      const datagrams = await openDatagrams(socket)
      closing.push(datagrams.close)
      const got: { bytes: Buffer; peer: Peer }[] = []
      datagrams.listen(
        (bytes, peer) => got.push({ bytes, peer }),
        (error) => expect.fail(error.message),
      )
      const client = dgram.createSocket('udp4').bind(0, loopback)
      closing.push(() => client.close())
      await once(client, 'listening')
      const count = 200
      for (let n = 0; n < count; n++) client.send(Buffer.from(`packet ${n}`), socket.address().port, loopback)
      await expect.poll(() => got.length).toBe(count)
      expect(got.map(({ bytes }) => bytes.toString())).toEqual(
        Array.from({ length: count }, (_, n) => `packet ${n}`),
      )
      expect(got.every(({ peer }) => peer.port === client.address().port && peer.address === loopback)).toBe(
        true,
      )
    })

    test('what is sent arrives; what the kernel refuses is told', async () => {
      const datagrams = await openDatagrams(await open())
      closing.push(datagrams.close)
      const client = dgram.createSocket('udp4').bind(0, loopback)
      closing.push(() => client.close())
      await once(client, 'listening')
      const arrived = once(client, 'message')
      datagrams.send(Buffer.from('answer'), { address: loopback, port: client.address().port }, expect.fail)
      expect(String((await arrived)[0])).toBe('answer')
      const refused = await new Promise<string>((done) =>
        datagrams.send(Buffer.from('x'), { address: '255.255.255.255' as Ipv4, port: 9 }, done),
      )
      expect(refused).toMatch(/EACCES|ENETUNREACH/)
    })

    test('nothing is sent once it is closed: the descriptor may be that of another socket by then', async () => {
      const datagrams = await openDatagrams(await open())
      await datagrams.close()
      const client = dgram.createSocket('udp4').bind(0, loopback)
      closing.push(() => client.close())
      await once(client, 'listening')
      const got: string[] = []
      client.on('message', (bytes) => got.push(String(bytes)))
      const other = await open() // takes the lowest free descriptor
      closing.push(() => other.close())
      const failed: string[] = []
      const to = { address: loopback, port: client.address().port }
      datagrams.send(Buffer.from('late'), to, (why) => failed.push(why))
      await new Promise((done) => setTimeout(done, 50))
      expect([got, failed]).toEqual([[], ['closed']])
    })
  })
