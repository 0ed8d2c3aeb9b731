// Where in the configuration file a value stands: faults name its line and key.
import type { Document, LineCounter, Node as YamlNode } from 'yaml'
import { isMap, isNode, isScalar } from 'yaml'
import type { Fault } from './fault.ts'

export type Key = string | number
/** The file as read: from here comes the line of a key. */
export type Place = { name: string; document: Document; lines: LineCounter }

/** A fault of the value at `keys`, with its line. */
export function faultAt(place: Place, keys: Key[], error: string, value: unknown, allowed?: string): Fault {
  const what = value === undefined ? 'absent' : typeof value === 'string' ? value : JSON.stringify(value)
  const shown = what.length > 100 ? `${what.slice(0, 100)}...` : what
  const object = `${place.name}:${lineOf(place, keys)}`
  return { error: `${keyText(keys)}: ${error}`, what: shown, ...(allowed && { allowed }), object }
}

/** `networks[0].pool` */
const keyText = (keys: Key[]) =>
  keys
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${key}`))
    .join('')
    .replace(/^\./, '') || 'file'

/** The line of the key; of the nearest map around it when it is absent. */
function lineOf({ document, lines }: Place, keys: Key[]): number {
  for (let depth = keys.length; depth > 0; depth--) {
    const start = startOf(document.getIn(keys.slice(0, depth - 1), true), keys[depth - 1]!)
    if (start !== undefined) return lines.linePos(start).line
  }
  return 1
}

function startOf(parent: unknown, key: Key): number | undefined {
  const inMap =
    isMap(parent) && parent.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === key)
  const node = inMap ? inMap.key : isNode(parent) && 'items' in parent ? parent.items[Number(key)] : undefined
  return isNode(node) ? (node as YamlNode).range?.[0] : undefined
}

/** The value at `keys`, undefined where there is none. */
export const valueAt = (value: unknown, keys: Key[]): unknown =>
  keys.reduce<unknown>(
    (inside, key) =>
      typeof inside === 'object' && inside !== null && Object.hasOwn(inside, key)
        ? (inside as Record<Key, unknown>)[key]
        : undefined,
    value,
  )
