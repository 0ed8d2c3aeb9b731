// A YAML file read by a schema: the value, or the list of everything that is wrong, each with file, line, key, value and
// what is allowed.
import type { Static, TSchema } from 'typebox'
import { Value } from 'typebox/value'
import type { Document } from 'yaml'
import { LineCounter, parseDocument } from 'yaml'
import { faultAt, type Key, type Place } from './config-place.ts'
import { type Fault, UserError } from './fault.ts'

/**
 * The value with its defaults; `rules` find what no schema can say. Throws UserError with all faults, by line. `name` of
 * the file is for the faults alone.
 */
export function readYaml<T extends TSchema>(
  schema: T,
  text: string,
  name: string,
  rules: (value: unknown, place: Place) => Fault[] = () => [],
): Static<T> {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, merge: false })
  const broken = document.errors.map((error) => yamlFault(error, name))
  if (broken.length > 0) throw allOf(broken)
  const place: Place = { name, document, lines }
  const value = Value.Default(schema, plainValue(document, name) ?? {})
  const faults = [...schemaFaults(schema, value, [], place), ...rules(value, place)]
  if (faults.length > 0) throw allOf(faults.sort((a, b) => lineIn(a) - lineIn(b)))
  return value as Static<T>
}

function yamlFault(
  error: { message: string; linePos?: [{ line: number }, ...unknown[]] },
  name: string,
): Fault {
  const what = error.message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, '')
  return { error: 'not YAML', what, object: `${name}:${error.linePos?.[0].line ?? 1}` }
}

/** Anchors can blow a small file up without bound; the library says so by throwing. */
function plainValue(document: Document, name: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 20 })
  } catch (error) {
    throw allOf([{ error: 'not YAML', what: (error as Error).message, object: `${name}:1` }])
  }
}

const allOf = ([first, ...others]: Fault[]) => new UserError(first!.error, first!, others)
const lineIn = ({ object = '' }: Fault) => Number(object.slice(object.lastIndexOf(':') + 1))

/** What the walk below reads of a schema. */
type SchemaNode = TSchema & {
  description?: string
  properties?: Record<string, TSchema>
  required?: string[]
  items?: TSchema
  minItems?: number
  maxItems?: number
}

/** Walks the schema itself: `Value.Errors` stops at the eighth error, and an admin shall see all at once. */
function schemaFaults(schema: TSchema, value: unknown, keys: Key[], place: Place): Fault[] {
  const { properties, items, minItems = 0, maxItems = 0 } = schema as SchemaNode
  if (properties && isMap(value)) return mapFaults(schema, properties, value, keys, place)
  if (items && Array.isArray(value) && value.length >= minItems && value.length <= maxItems)
    return value.flatMap((each, index) => schemaFaults(items, each, [...keys, index], place))
  return Value.Check(schema, value) ? [] : [faultAt(place, keys, 'not allowed', value, allowedBy(schema))]
}

function mapFaults(
  schema: SchemaNode,
  properties: Record<string, TSchema & { description?: string }>,
  value: Record<string, unknown>,
  keys: Key[],
  place: Place,
): Fault[] {
  const missing = (schema.required ?? []).filter((key) => !Object.hasOwn(value, key))
  return [
    ...missing.map((key) =>
      faultAt(place, [...keys, key], 'needed', undefined, properties[key]?.description),
    ),
    ...Object.entries(value).flatMap(([key, inside]) =>
      Object.hasOwn(properties, key)
        ? schemaFaults(properties[key]!, inside, [...keys, key], place)
        : [faultAt(place, [...keys, key], 'no such key', inside, allowedBy(schema))],
    ),
  ]
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** What a refusal says is allowed: the names of a map's keys, else the description. */
const allowedBy = ({ properties, description }: SchemaNode) =>
  properties ? Object.keys(properties).join(' ') : description
