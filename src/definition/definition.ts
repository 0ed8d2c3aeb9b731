// Definitions of objects as files carry them. Each knows its lines, so that a fault can be found by who wrote it.
import { type Fault, UserError } from '../fault.ts'

export const definitionTypes = ['node', 'group', 'osimage'] as const
export type DefinitionType = (typeof definitionTypes)[number]

export type Definition = {
  type: DefinitionType
  name: string
  attrs: Record<string, string>
  line: number
  /** The line of each attribute. */
  lines: Record<string, number>
}
export type Unplaced = Omit<Definition, 'line' | 'lines'>

export const MAX_ATTRIBUTES = 100

export function typeOf(text: string, line: number): DefinitionType {
  return (
    definitionTypes.find((type) => type === text) ??
    refuse(line, 'no such type of object', text, definitionTypes.join(' | '))
  )
}

/** Refuses what stands in a line of a file. */
export function refuse(line: number, error: string, what: string, allowed?: string): never {
  const shown = what.length > 100 ? `${what.slice(0, 100)}...` : what
  throw new UserError(error, {
    what: shown,
    object: `line ${line}`,
    ...(allowed !== undefined && { allowed }),
  })
}

/** Collects definitions and refuses what is said twice. */
export function openCollection() {
  const all: Definition[] = []
  const places = new Map<string, number>()

  function begin(type: DefinitionType, name: string, line: number): Definition {
    const key = `${type} ${name}`
    const before = places.get(key)
    if (before !== undefined) refuse(line, `the ${type} is given twice`, name, `it is in line ${before} too`)
    places.set(key, line)
    const made: Definition = { type, name, attrs: {}, line, lines: {} }
    all.push(made)
    return made
  }
  return { all, begin }
}

export function setAttribute(definition: Definition, attribute: string, value: string, line: number) {
  const { attrs, lines, name } = definition
  if (!/^[A-Za-z]\w{0,63}$/.test(attribute)) refuse(line, 'not the name of an attribute', attribute)
  if (Object.hasOwn(lines, attribute)) refuse(line, `${attribute} is given twice`, name)
  if (Object.keys(lines).length >= MAX_ATTRIBUTES) refuse(line, 'too many attributes', name)
  attrs[attribute] = value
  lines[attribute] = line
}

/** What the server refused, with the file and line that it came from. */
export function placed(fault: Fault, file: string, definitions: readonly Definition[]): Fault {
  const { object, error, what } = fault
  if (object?.startsWith('line ')) return { ...fault, object: `${file}: ${object}` }
  const attributeIn = ({ lines }: Definition) =>
    Object.keys(lines).find((name) => error.startsWith(`${name}:`) || what === name)
  const meant = definitions.filter(({ name }) => name === object)
  const found = meant.find(attributeIn) ?? meant[0]
  if (!found) return { ...fault, object: object === undefined ? file : `${file}: ${object}` }
  const attribute = attributeIn(found)
  const line = attribute === undefined ? found.line : found.lines[attribute]
  return { ...fault, object: `${file}: line ${line}: ${object}` }
}
