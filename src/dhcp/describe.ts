// A packet as a person reads it: every field and option with where it stands, and how two packets differ.
import { ipv4FromNumber } from '../address.ts'
import { type OptionName, optionText } from './options.ts'

/** One field: `at` is the offset of its first byte, `name` as in RFC 2131, or 'option 51'. */
export type Field = {
  at: number
  length: number
  name: string
  about?: OptionName | string
  text: string
  hex: string
}
/** `captured` or `ours` is absent where only the other has it; `at` is the first byte that differs. */
export type Difference = { name: string; about?: string; captured?: Side; ours?: Side }
export type Side = { at: number; text: string; hex: string }

type Print = (b: Buffer) => string
const number: Print = (b) => String(b.readUIntBE(0, b.length))
const hex: Print = (b) => b.toString('hex')
const address: Print = (b) => ipv4FromNumber(b.readUInt32BE(0))
const words: Print = (b) => {
  const end = b.indexOf(0)
  return JSON.stringify(b.toString('latin1', 0, end < 0 ? b.length : end))
}
// RFC 2131 2, in order: name, bytes, how it is shown.
const header: [name: string, length: number, print: Print][] = [
  ['op', 1, number],
  ['htype', 1, number],
  ['hlen', 1, number],
  ['hops', 1, number],
  ['xid', 4, hex],
  ['secs', 2, number],
  ['flags', 2, hex],
  ['ciaddr', 4, address],
  ['yiaddr', 4, address],
  ['siaddr', 4, address],
  ['giaddr', 4, address],
  [
    'chaddr',
    16,
    (b) =>
      b
        .subarray(0, 6)
        .toString('hex')
        .replace(/..(?=.)/g, '$&:'),
  ],
  ['sname', 64, words],
  ['file', 128, words],
  ['cookie', 4, hex],
]
const HEADER_BYTES = header.reduce((sum, [, length]) => sum + length, 0)
const PAD = 0
const END = 255

/** The fields of a packet in their order; what is cut off is left out. A long option (RFC 3396) is a field a piece. */
export function describePacket(packet: Uint8Array): Field[] {
  const bytes = Buffer.from(packet.buffer, packet.byteOffset, packet.byteLength)
  const fields: Field[] = []
  let at = 0
  for (const [name, length, print] of header) {
    if (at + length > bytes.length) return fields
    const value = bytes.subarray(at, at + length)
    fields.push({ at, length, name, text: print(value), hex: hex(value) })
    at += length
  }
  while (at < bytes.length) {
    const code = bytes[at]!
    if (code === PAD) {
      at++
      continue
    }
    if (code === END) {
      fields.push({ at, length: 1, name: 'end', text: `${bytes.length - at - 1} bytes follow`, hex: 'ff' })
      return fields
    }
    const length = 2 + (bytes[at + 1] ?? 0)
    const value = bytes.subarray(at + 2, at + length)
    const { name: about, text } = optionText(code, value)
    fields.push({ at, length, name: `option ${code}`, about, text, hex: hex(value) })
    at += length
  }
  return fields
}

/** The fields of which any byte differs, and the order of the options where only that does; the empty list: no byte differs. */
export function comparePackets(captured: Uint8Array, ours: Uint8Array): Difference[] {
  const [theirs, mine] = [describePacket(captured), describePacket(ours)]
  const byName = (fields: Field[]) => Map.groupBy(fields, ({ name }) => name)
  const [left, right] = [byName(theirs), byName(mine)]
  const names = [...new Set([...left.keys(), ...right.keys()])].filter((name) => name !== 'end')
  const differing = names.flatMap((name) => {
    const [a = [], b = []] = [left.get(name), right.get(name)]
    const count = Math.max(a.length, b.length)
    return Array.from({ length: count }, (_, i) => difference(a[i], b[i])).filter(
      (each) => each !== undefined,
    )
  })
  if (differing.length > 0) return differing
  const order = (fields: Field[]) =>
    fields.filter(({ at }) => at >= HEADER_BYTES).map(({ name }) => name.slice(7))
  const [a, b] = [order(theirs).join(' '), order(mine).join(' ')]
  if (a !== b) return [{ name: 'order of options', captured: side(a), ours: side(b) }]
  return captured.length === ours.length
    ? []
    : [{ name: 'length', captured: side(`${captured.length} bytes`), ours: side(`${ours.length} bytes`) }]
}

const side = (text: string): Side => ({ at: HEADER_BYTES, text, hex: '' })

function difference(a: Field | undefined, b: Field | undefined): Difference | undefined {
  if (a && b && a.hex === b.hex) return undefined
  const about = (a ?? b)!.about
  const first = a && b ? firstDifference(a.hex, b.hex) : 0
  const shown = ({ at, name, text, hex }: Field): Side => ({
    at: at + first + (name.startsWith('option') ? 2 : 0),
    text,
    hex,
  })
  return {
    name: (a ?? b)!.name,
    ...(about !== undefined && { about }),
    ...(a && { captured: shown(a) }),
    ...(b && { ours: shown(b) }),
  }
}

/** The number of equal bytes in front of it. */
function firstDifference(a: string, b: string): number {
  let at = 0
  while (at < a.length && a.slice(at, at + 2) === b.slice(at, at + 2)) at += 2
  return at / 2
}
