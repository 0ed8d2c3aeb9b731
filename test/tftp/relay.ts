// A wire that loses, doubles and delays packets. Loopback only.
import dgram from 'node:dgram'
import { once } from 'node:events'

export type Fate = 'pass' | 'lose' | 'twice' | 'late'

/** A wire between one client after the other and the server: `fateOf` says what becomes of each packet. */
export async function openRelay(serverPort: number, fateOf: () => Fate) {
  const front = dgram.createSocket('udp4')
  const back = dgram.createSocket('udp4')
  front.bind(0, '127.0.0.1')
  back.bind(0, '127.0.0.1')
  await Promise.all([once(front, 'listening'), once(back, 'listening')])
  let client = 0
  let transfer = serverPort
  let closed = false
  const deliver = (socket: dgram.Socket, bytes: Buffer, port: () => number) => {
    const go = () => closed || socket.send(bytes, port(), '127.0.0.1', () => {})
    const fate = fateOf()
    if (fate === 'late') setTimeout(go, 3)
    else if (fate !== 'lose') go()
    if (fate === 'twice') go()
  }
  front.on('message', (bytes, { port }) => {
    if (port !== client) transfer = serverPort
    client = port
    const to = bytes[1] === 1 ? serverPort : transfer
    deliver(back, bytes, () => to)
  })
  back.on('message', (bytes, { port }) => {
    transfer = port
    deliver(front, bytes, () => client)
  })
  const close = () => {
    closed = true
    front.close()
    back.close()
  }
  return { port: front.address().port, close }
}
