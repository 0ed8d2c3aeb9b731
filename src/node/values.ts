// What the attributes of a node may be: one parser for each kind of text.
import { isIpv4, parseMac } from '../address.ts'
import { oneOf, parsedBy, textLike } from '../attribute.ts'
import { UserError } from '../fault.ts'

/** A name that a noderange can say: never taken for an exclusion, a range or a list. */
export function parseGroupName(text: string): string {
  if (!/^[A-Za-z_][A-Za-z0-9._-]{0,63}$/.test(text))
    throw new UserError('not a group name', {
      what: JSON.stringify(text.slice(0, 80)),
      allowed: 'a letter or _, then at most 63 of letters, digits, dot, underscore, dash',
    })
  return text
}

export const devicePath = textLike(/^\/dev(\/(?!\.)[A-Za-z0-9#+.:=@_-]{1,255}){1,4}$/, 'not a path of a disk')
export const fingerprint = textLike(/^SHA256:[A-Za-z0-9+/]{43}$/, 'not a fingerprint')
export const login = textLike(/^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/, 'not a user name')
// No dash in front: tools that are given it would take it for an option.
export const account = textLike(/^(?!-)[!-~]{1,64}$/, 'not a user name')
export const word = textLike(/^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/, 'not a plain word')
export const management = oneOf('ipmi', 'redfish', 'qemu', 'wol')

export const speeds = [1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600]
export const speed = {
  parse: (text: string) => {
    if (!speeds.includes(Number(text))) throw refused('not a speed', text)
    return Number(text)
  },
  print: String,
}

/** RFC 1123 2.1: labels of letters, digits and inner dashes. What looks like an address must be one. */
function parseHost(text: string): string {
  const label = /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/
  const isName = text.length <= 253 && text.split('.').every((part) => label.test(part))
  if (isIpv4(text) || (isName && !/(^|\.)\d+$/.test(text))) return text
  throw refused('not an address or a host name', text)
}
export const host = parsedBy(parseHost)

/** `[user@]host[:port]`, as ssh -J takes it. */
export const jumpHost = parsedBy((text) => {
  const [, user, name, port] = /^(?:([^@]*)@)?([^@:]*)(?::([1-9]\d{0,4}))?$/.exec(text) ?? []
  if (name === undefined || Number(port ?? 0) > 65_535) throw refused('not [user@]host[:port]', text)
  if (user !== undefined) login.parse(user)
  parseHost(name)
  return text
})

/** What `sshjump=` says. */
export function readJumpHost(text: string): { user?: string; host: string; port: number } {
  const [, user, name = '', port = '22'] = /^(?:([^@]*)@)?([^:]*)(?::(\d+))?$/.exec(text) ?? []
  return { ...(user !== undefined && { user }), host: name, port: Number(port) }
}

/** RFC 9562 4: lower case on output, either on input. */
export const uuid = parsedBy((text) => {
  const lower = text.toLowerCase()
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(lower)) throw refused('not a UUID', text)
  // Boards whose vendor never set it say all zeros or all ones: that names no machine.
  if (/^[0-]*$|^[f-]*$/.test(lower)) throw refused('a UUID that many machines have', text)
  return lower
})
export const serial = textLike(/^[ -~]{1,64}$/, 'not a serial number')

export const scriptNames = 'names of scripts, with commas between'
/** A file in one folder: no path, no hidden file, nothing that looks like an option. */
export function parseScriptName(text: string): string {
  if (!/^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/.test(text)) throw refused('not the name of a script', text)
  return text
}

/** `eth0`, xCAT's word `mac`, or an address. Linux names an interface with at most 15 characters. */
export const nic = parsedBy((text) => {
  if (/^[A-Za-z][A-Za-z0-9._-]{0,14}$/.test(text)) return text
  try {
    return parseMac(text)
  } catch {
    throw refused('not a network interface', text)
  }
})

/** A folder beside others: no path, no hidden folder. */
export function parseOverrideName(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(text)) throw refused('not the name of an override', text)
  return text
}

export const pathPatterns = 'paths from the root, * in names, with commas between'
export function parsePathPattern(text: string): string {
  const isPath = /^(\/[^/\x00-\x1f\x7f-\x9f,|\ufffd]+)+\/?$/.test(text) && text.length <= 1000
  if (!isPath || text.split('/').some((part) => part === '.' || part === '..'))
    throw refused('not a path from the root', text)
  return text
}

const refused = (error: string, text: string) => new UserError(error, { what: text.slice(0, 100) })
