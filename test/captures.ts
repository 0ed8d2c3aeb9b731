// Captures made by hand, for tests: UDP datagrams in Ethernet frames, in each of the file formats.

export type Packet = { time: number; from: string; to: string; ports: [number, number]; payload: Buffer }

const ip = (address: string) => Buffer.from(address.split('.').map(Number))

export function ethernet({ from, to, ports, payload }: Packet, { vlans = [] as number[] } = {}): Buffer {
  const tags = vlans.map((vlan) => Buffer.from([0x81, 0, vlan >> 8, vlan & 255]))
  return Buffer.concat([
    Buffer.alloc(12, 2),
    ...tags,
    Buffer.from([8, 0]),
    datagram(from, to, ports, payload),
  ])
}

export function datagram(
  from: string,
  to: string,
  [source, target]: [number, number],
  payload: Buffer,
): Buffer {
  const head = Buffer.alloc(28)
  head.writeUInt8(0x45, 0)
  head.writeUInt16BE(28 + payload.length, 2)
  head.writeUInt8(64, 8)
  head.writeUInt8(17, 9)
  head.set(ip(from), 12)
  head.set(ip(to), 16)
  head.writeUInt16BE(source, 20)
  head.writeUInt16BE(target, 22)
  head.writeUInt16BE(8 + payload.length, 24)
  return Buffer.concat([head, payload])
}

type Frame = { time: number; bytes: Buffer; whole?: number }

/** Classic pcap; `magic` as it stands in the file. */
export function pcap(frames: Frame[], { magic = 'd4c3b2a1', link = 1 } = {}): Buffer {
  const little = magic === 'd4c3b2a1' || magic === '4d3cb2a1'
  const perMs = magic.includes('b2a1') || magic.startsWith('a1b2') ? (/3c/.test(magic) ? 1e6 : 1e3) : 1e3
  const u32 = (n: number) => {
    const bytes = Buffer.alloc(4)
    if (little) bytes.writeUInt32LE(n)
    else bytes.writeUInt32BE(n)
    return bytes
  }
  const head = [
    Buffer.from(magic, 'hex'),
    u32(little ? 0x00040002 : 0x00020004),
    u32(0),
    u32(0),
    u32(65_535),
    u32(link),
  ]
  return Buffer.concat([
    ...head,
    ...frames.flatMap(({ time, bytes, whole }) => [
      u32(Math.floor(time / 1000)),
      u32(Math.round((time % 1000) * perMs)),
      u32(bytes.length),
      u32(whole ?? bytes.length),
      bytes,
    ]),
  ])
}

/** pcapng with one section and one interface; nanoseconds. */
export function pcapng(frames: Frame[], { little = true, link = 1, simple = false } = {}): Buffer {
  const u32 = (n: number) => {
    const bytes = Buffer.alloc(4)
    if (little) bytes.writeUInt32LE(n >>> 0)
    else bytes.writeUInt32BE(n >>> 0)
    return bytes
  }
  const u16 = (n: number) => (little ? u32(n).subarray(0, 2) : u32(n).subarray(2))
  const block = (type: number, body: Buffer) => {
    const padded = Buffer.concat([body, Buffer.alloc((4 - (body.length % 4)) % 4)])
    return Buffer.concat([u32(type), u32(12 + padded.length), padded, u32(12 + padded.length)])
  }
  const section = block(0x0a0d0d0a, Buffer.concat([u32(0x1a2b3c4d), u16(1), u16(0), u32(-1), u32(-1)]))
  const nanoseconds = Buffer.concat([u16(9), u16(1), Buffer.from([9, 0, 0, 0]), u16(0), u16(0)])
  const device = block(1, Buffer.concat([u16(link), u16(0), u32(0), nanoseconds]))
  const packets = frames.map(({ time, bytes, whole = bytes.length }) => {
    if (simple) return block(3, Buffer.concat([u32(whole), bytes]))
    const stamp = BigInt(Math.round(time * 1000)) * 1000n
    const halves = [u32(Number(stamp >> 32n)), u32(Number(stamp & 0xffffffffn))]
    return block(6, Buffer.concat([u32(0), ...halves, u32(bytes.length), u32(whole), bytes]))
  })
  return Buffer.concat([section, device, block(0x0bad, Buffer.from('unknown')), ...packets])
}
