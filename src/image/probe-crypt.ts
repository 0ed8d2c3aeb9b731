// Encryption of devices, as cryptsetup tells of it: with what a new header would be made, and nothing that opens the old one.
import type { Crypt, Held } from './disk-layout.ts'
import { plainHolds } from './probe-holds.ts'
import { type Block, toolSaid } from './probe-said.ts'
import type { World } from './probe-world.ts'

/** What a device holds: one of a file system, a place in an array or a group, and encryption. */
export function holdsAt(world: World, path: string): Held {
  const block = world.byName.get(path)
  if (block === undefined) return {}
  const crypt = cryptOf(world, block)
  if (crypt !== undefined) return { crypt }
  return plainHolds(world, block)
}

function cryptOf(world: World, block: Block): Crypt | undefined {
  const open = world.blocks.find(({ type, parents }) => type === 'crypt' && parents.includes(block.path))
  if (block.fstype !== 'crypto_LUKS' && open === undefined) return undefined
  const header = settingsOf(toolSaid(world.said, `luks ${block.path}`))
  const status = open ? settingsOf(toolSaid(world.said, `crypt ${open.path}`)) : {}
  const isLuks = block.fstype === 'crypto_LUKS'
  const { cipher, keysize, 'sector size': sector } = status
  const settings = {
    ...header,
    ...(cipher && { cipher }),
    ...(keysize && { keysize }),
    ...(sector && { 'sector size': sector }),
  }
  for (const key of ['Version', 'UUID', 'Label']) delete (settings as Record<string, string>)[key]
  const inside = open ? plainHolds(world, open) : {}
  if (!isLuks && inside.filesystem?.type !== 'swap')
    world.say(`${block.path} is encrypted without a LUKS header: a clone would not know how`)
  if (open?.fstype === 'crypto_LUKS') world.say(`${open.path} is encrypted twice`)
  return {
    format: isLuks ? (header.Version === '1' ? 'luks1' : 'luks2') : 'plain',
    ...(isLuks && block.uuid !== undefined && { uuid: block.uuid }),
    ...(isLuks && block.label !== undefined && { label: block.label }),
    ...(open && { path: open.path }),
    ...(Object.keys(settings).length > 0 && { settings }),
    ...inside,
  }
}

/** `  cipher:  aes-xts-plain64`; of several that are named alike (key slots) the first. */
function settingsOf(text: string): Record<string, string> {
  const found: Record<string, string> = {}
  for (const [, key, value] of text.matchAll(/^\s*([A-Za-z][A-Za-z ]*):\s+(\S.*)$/gm))
    found[key!] ??= value!.trim()
  return found
}
