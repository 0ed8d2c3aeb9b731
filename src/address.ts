// Addresses and names as branded strings, each made by one parser: what has the type has been checked.
import { UserError } from './fault.ts'

export type Mac = string & { readonly __brand: 'Mac' } // '52:54:00:77:00:11', lower case
export type Ipv4 = string & { readonly __brand: 'Ipv4' } // '10.77.0.1', no leading zeros
export type NodeName = string & { readonly __brand: 'NodeName' }
export type ImageName = string & { readonly __brand: 'ImageName' }
export type Digest = string & { readonly __brand: 'Digest' } // 'sha256:<64 lower-case hex digits>'

/** Every written form: `52:54:00:77:00:11`, dashes, dots (5254.0077.0011), bare hex, any case. */
export function parseMac(text: string): Mac {
  const hex = text.replace(/[:.-]/g, '').toLowerCase()
  const form = /^([0-9a-f]{12}|([0-9a-f]{1,2}[:-]){5}[0-9a-f]{1,2}|([0-9a-f]{4}\.){2}[0-9a-f]{4})$/i
  if (!form.test(text))
    throw new UserError('not a MAC address', { what: text, allowed: 'six hex pairs, as 52:54:00:77:00:11' })
  if (hex.length === 12) return hex.match(/../g)!.join(':') as Mac
  return text
    .toLowerCase()
    .split(/[:-]/)
    .map((pair) => pair.padStart(2, '0'))
    .join(':') as Mac
}

const hexPairs = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** The first six bytes of a BOOTP chaddr. */
export function macFromBytes(bytes: Uint8Array): Mac {
  const pair = (at: number) => hexPairs[bytes[at]!]
  return `${pair(0)}:${pair(1)}:${pair(2)}:${pair(3)}:${pair(4)}:${pair(5)}` as Mac
}

/**
 * Six of the eight bytes of an InfiniBand or Omni-Path port GUID: without the two in the middle, as the cards' makers
 * form their MAC from it and as iPXE does.
 */
export const macFromGuid = (guid: Uint8Array): Mac =>
  macFromBytes(Uint8Array.of(...guid.subarray(0, 3), ...guid.subarray(5, 8)))

/** The address of a network card: a MAC, a port GUID, or the 20 bytes of IP over InfiniBand, which end in the GUID. */
export function parseCardAddress(text: string): Mac {
  const hex = text.replace(/[:-]/g, '')
  const pairs = /^[0-9a-f]{2}([:-][0-9a-f]{2})+$/i.test(text) || /^[0-9a-f]+$/i.test(text)
  if (pairs && (hex.length === 16 || hex.length === 40))
    return macFromGuid(Buffer.from(hex.slice(-16), 'hex'))
  return parseMac(text)
}
/** The six bytes of a MAC. */
export const macBytes = (mac: Mac): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex')

/** `52-54-00-77-00-11`, as GRUB and pxelinux write it in file names. */
export const macWithDashes = (mac: Mac): string => mac.replaceAll(':', '-')

/** Four decimal parts, none with a leading zero: `010.1.1.1` is refused because libraries disagree on it. */
export function parseIpv4(text: string): Ipv4 {
  if (!isIpv4(text))
    throw new UserError('not an IPv4 address', {
      what: text,
      allowed: 'four numbers 0-255 without leading zeros, as 10.0.0.1',
    })
  return text as Ipv4
}

export function isIpv4(text: string): text is Ipv4 {
  const parts = text.split('.')
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)
}

/** The address as an unsigned 32-bit number, network order. */
export function ipv4ToNumber(ip: Ipv4): number {
  let number = 0
  let part = 0
  // By character: this is asked dozens of times a packet.
  for (let at = 0; at < ip.length; at++) {
    const code = ip.charCodeAt(at)
    if (code !== DOT) {
      part = part * 10 + code - ZERO
      continue
    }
    number = number * 256 + part
    part = 0
  }
  return number * 256 + part
}
const DOT = 0x2e
const ZERO = 0x30

export const ipv4FromNumber = (n: number): Ipv4 =>
  `${n >>> 24}.${(n >>> 16) & 255}.${(n >>> 8) & 255}.${n & 255}` as Ipv4

/** `0A4D000B`, as GRUB, elilo and pxelinux write an address in file names. */
export const ipv4ToHex = (ip: Ipv4): string => ipv4ToNumber(ip).toString(16).toUpperCase().padStart(8, '0')

/** An IPv4 subnet: `base` is the network address as a number, `prefix` its length in bits. */
export type Subnet = { base: number; prefix: number }

export function parseSubnet(text: string): Subnet {
  const [address = '', length = ''] = text.split('/')
  const prefix = Number(length)
  if (!isIpv4(address) || !/^\d{1,2}$/.test(length) || prefix < 1 || prefix > 30)
    throw new UserError('not a subnet', {
      what: text,
      allowed: 'address/prefix with a prefix of 1 to 30, as 10.0.0.0/24',
    })
  const base = ipv4ToNumber(address)
  if (base % 2 ** (32 - prefix) !== 0)
    throw new UserError('not a subnet', {
      what: `${text} has host bits set`,
      allowed: `${ipv4FromNumber(base - (base % 2 ** (32 - prefix)))}/${prefix}`,
    })
  return { base, prefix }
}

export const subnetSize = ({ prefix }: Subnet): number => 2 ** (32 - prefix)
export const subnetContains = (s: Subnet, ip: Ipv4): boolean => {
  const n = ipv4ToNumber(ip)
  return n >= s.base && n < s.base + subnetSize(s)
}
export const subnetMask = (s: Subnet): Ipv4 => ipv4FromNumber(2 ** 32 - subnetSize(s))
export const subnetBroadcast = (s: Subnet): Ipv4 => ipv4FromNumber(s.base + subnetSize(s) - 1)

/** A host name label: letters, digits and inner dashes, at most 63, starting with a letter or a digit. */
export function parseNodeName(text: string): NodeName {
  if (!/^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(text))
    throw new UserError('not a node name', {
      what: JSON.stringify(text.slice(0, 80)),
      allowed: 'letters, digits and inner dashes, at most 63 characters',
    })
  return text as NodeName
}

export function parseImageName(text: string): ImageName {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(text))
    throw new UserError('not an osimage name', {
      what: JSON.stringify(text.slice(0, 80)),
      allowed: 'a letter or digit, then at most 63 of letters, digits, dot, underscore, dash',
    })
  return text as ImageName
}

export function parseDigest(text: string): Digest {
  if (!/^sha256:[0-9a-f]{64}$/.test(text))
    throw new UserError('not a digest', {
      what: JSON.stringify(text.slice(0, 100)),
      allowed: 'sha256: and 64 lower-case hex digits',
    })
  return text as Digest
}
