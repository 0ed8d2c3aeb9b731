// Definitions from files, and what the server has as definitions.
import type { AttributeTable } from '../../src/attribute.ts'
import {
  type Definition,
  type DefinitionType,
  placed,
  type Unplaced,
} from '../../src/definition/definition.ts'
import { UserError } from '../../src/fault.ts'
import { osimageAttributes } from '../../src/image/osimage.ts'
import { nodeAttributes } from '../../src/node/attributes.ts'
import { groupAttributes } from '../../src/node/group.ts'
import type { Api } from './api.ts'
import { readText } from './files.ts'

export const attributeTables: Record<DefinitionType, AttributeTable<any>> = {
  node: nodeAttributes,
  group: groupAttributes(() => []),
  osimage: osimageAttributes,
}

type Shown = { name: string; attrs: Record<string, string> }

/** What a person could have written: without what only the server sets or computes. */
export function definitionOf(type: DefinitionType, { name, attrs }: Shown): Unplaced {
  const isOwn = (attribute: string) =>
    attributeTables[type][attribute]?.set !== undefined && !(attribute === 'members' && attrs.where)
  return { type, name, attrs: Object.fromEntries(Object.entries(attrs).filter(([name]) => isOwn(name))) }
}

/** Without the attributes that a person can not set here, as those of another product; `left` names each once. */
export function withoutUnknown(definitions: readonly Definition[]) {
  const left = new Set<string>()
  const known = definitions.map((definition) => {
    const table = attributeTables[definition.type]
    const isKnown = (name: string) => Object.hasOwn(table, name) && table[name]!.set !== undefined
    for (const name of Object.keys(definition.attrs))
      if (!isKnown(name)) left.add(`${definition.type} ${name}`)
    const attrs = Object.fromEntries(Object.entries(definition.attrs).filter(([name]) => isKnown(name)))
    return { ...definition, attrs }
  })
  return { known, left: [...left].sort() }
}

/** Reads a file, has the server write all or nothing, and finds the lines of what it refuses. */
export async function writeFile(
  client: Api,
  path: string,
  mode: 'make' | 'change' | 'put',
  parse: (text: string) => Definition[],
): Promise<string[]> {
  const file = path === '-' ? 'standard input' : path
  let definitions: Definition[] = []
  try {
    definitions = parse(readText(path))
    if (definitions.length === 0)
      throw new UserError('the file defines nothing', { what: 'no object in it', object: file })
    const entries = definitions.map(({ type, name, attrs }) => ({ type, name, attrs }))
    return (await client.post('/definitions', { mode, entries })).objects
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    const { fault, status } = error
    if (definitions.length === 0 && !fault.object?.startsWith('line ')) throw error
    const { error: said, ...rest } = placed(fault, file, definitions)
    throw new UserError(said, { ...rest, status })
  }
}
