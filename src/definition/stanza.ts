// xCAT's stanza files: a name with a colon, then indented `attr=value` lines, `objtype` among them.
import type { Definition, DefinitionType, Unplaced } from './definition.ts'
import { openCollection, refuse, setAttribute, typeOf } from './definition.ts'

const HEADER = '# <xCAT data object stanza file>'

/** @param usual the type of objects that do not say theirs */
export function parseStanzas(text: string, usual: DefinitionType): Definition[] {
  const { all, begin } = openCollection()
  let open: { name: string; line: number; attrs: { name: string; value: string; line: number }[] } | undefined

  function close() {
    if (!open) return
    const said = open.attrs.filter(({ name }) => name === 'objtype')
    if (said.length > 1) refuse(said[1]!.line, 'objtype is given twice', open.name)
    const type = said[0] ? typeOf(said[0].value, said[0].line) : usual
    const definition = begin(type, open.name, open.line)
    for (const { name, value, line } of open.attrs)
      if (name !== 'objtype') setAttribute(definition, name, value, line)
  }

  for (const [index, each] of text.split('\n').entries()) {
    const line = index + 1
    const said = each.trim()
    if (said === '' || said.startsWith('#')) continue
    if (/^\s/.test(each)) {
      const [, name, value] = /^([^=\s]+)\s*=(.*)$/s.exec(said) ?? []
      if (name === undefined) refuse(line, 'not attr=value', said)
      if (!open) refuse(line, 'an attribute before the first object', said, 'NAME:')
      open.attrs.push({ name, value: value!.trim(), line })
    } else {
      if (!said.endsWith(':') || said.includes('='))
        refuse(
          line,
          'neither an object nor an attribute',
          said,
          'NAME: or, with blanks before it, attr=value',
        )
      close()
      open = { name: said.slice(0, -1).trim(), line, attrs: [] }
    }
  }
  close()
  return all
}

export function renderStanzas(definitions: readonly Unplaced[]): string {
  const stanzas = definitions.map(({ type, name, attrs }) =>
    [
      '',
      `${name}:`,
      `    objtype=${type}`,
      ...Object.keys(attrs)
        .sort()
        .map((attribute) => `    ${attribute}=${attrs[attribute]}`),
      '',
    ].join('\n'),
  )
  return [HEADER, '\n', ...stanzas].join('')
}
