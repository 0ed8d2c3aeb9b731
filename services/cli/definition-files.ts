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
