// Definitions as YAML: type, name, attribute, value. Lists may be written as such.
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, stringify } from 'yaml'
import type { Definition, Unplaced } from './definition.ts'
import { openCollection, refuse, setAttribute, typeOf } from './definition.ts'

export function parseYaml(text: string): Definition[] {
  const counter = new LineCounter()
  const document = parseDocument(text, { lineCounter: counter, prettyErrors: false, uniqueKeys: false })
  const lineAt = (offset: number | undefined) => counter.linePos(offset ?? 0).line
  const [error] = document.errors
  if (error) refuse(lineAt(error.pos[0]), 'not YAML', error.message)
  const { all, begin } = openCollection()

  /** Keys with their lines, and what belongs to them. */
  function entriesOf(node: unknown, line: number, what: string) {
    if (node === null || (isScalar(node) && node.value === null)) return []
    if (!isMap(node))
      return refuse(line, `not a list of ${what}`, String(node).trim(), `${what} with a colon`)
    return node.items.map(({ key, value }) => {
      const at = lineAt((key as Node | null)?.range?.[0])
      return { key: textOf(key, at), line: at, value }
    })
  }
  function textOf(node: unknown, line: number): string {
    if (node === null) return ''
    if (isSeq(node)) return node.items.map((item) => textOf(item, line)).join()
    if (!isScalar(node)) return refuse(line, 'not a value', String(node).trim(), 'a text or a list of texts')
    if (node.value === null) return ''
    // As it was written: the number 010 and the text 010 are the same here.
    return typeof node.value === 'string' ? node.value : (node.source ?? String(node.value))
  }

  for (const kind of entriesOf(document.contents, 1, 'types')) {
    const type = typeOf(kind.key, kind.line)
    for (const object of entriesOf(kind.value, kind.line, 'names')) {
      const definition = begin(type, object.key, object.line)
      for (const { key, line, value } of entriesOf(object.value, object.line, 'attributes'))
        setAttribute(definition, key, textOf(value, line), line)
    }
  }
  return all
}

export function renderYaml(definitions: readonly Unplaced[]): string {
  const types = new Map<string, Map<string, Record<string, string>>>()
  for (const { type, name, attrs } of definitions) {
    const objects = types.get(type) ?? new Map()
    types.set(type, objects.set(name, attrs))
  }
  return types.size === 0 ? '' : stringify(types, { lineWidth: 0 })
}
