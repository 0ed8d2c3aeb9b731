// POSIX ACLs in archives: as Linux keeps them, in an attribute, and as GNU tar restores them, from a record of their own.
//   SCHILY.xattr.system.posix_acl_access   version 4 = 2 | (tag 2 | permissions 2 | id 4)*, little endian
//   SCHILY.acl.access                      user::rw-\nuser:1000:r--\ngroup::r--\nmask::r--\nother::r--\n
// and the same of .default. An archive may have either or both. tar takes away what it set by the attribute when there is no
// record. A record with names that nobody has there is warned of and passed over: what the attribute gave stays.
import { WireError } from '../fault.ts'

const VERSION = 2
const ENTRY = 8
/** By tag, and whether it has an id. */
const tags = new Map([
  [0x01, { name: 'user', named: false }],
  [0x02, { name: 'user', named: true }],
  [0x04, { name: 'group', named: false }],
  [0x08, { name: 'group', named: true }],
  [0x10, { name: 'mask', named: false }],
  [0x20, { name: 'other', named: false }],
])

/** The records that these lack beside their attributes, in numbers; values as one character a byte. */
export function missingAcls(records: ReadonlyMap<string, string>): [key: string, text: string][] {
  return ['access', 'default'].flatMap((which): [string, string][] => {
    const key = `SCHILY.acl.${which}`
    const attribute = records.get(`SCHILY.xattr.system.posix_acl_${which}`)
    const text = attribute === undefined || records.has(key) ? '' : aclText(Buffer.from(attribute, 'latin1'))
    return text === '' ? [] : [[key, text]]
  })
}

/** Nothing for an ACL without entries. Throws WireError for what is none. */
export function aclText(bytes: Buffer): string {
  if (bytes.length % ENTRY !== 4 || bytes.readUInt32LE(0) !== VERSION)
    throw new WireError(`ACL: ${bytes.length} bytes that are none`)
  let text = ''
  for (let at = 4; at < bytes.length; at += ENTRY) {
    const tag = tags.get(bytes.readUInt16LE(at))
    if (tag === undefined) throw new WireError(`ACL: tag ${bytes.readUInt16LE(at)}`)
    const id = tag.named ? bytes.readUInt32LE(at + 4) : ''
    text += `${tag.name}:${id}:${permissions(bytes.readUInt16LE(at + 2))}\n`
  }
  return text
}

const permissions = (bits: number): string =>
  ['r', 'w', 'x'].map((letter, i) => (bits & (4 >> i) ? letter : '-')).join('')
