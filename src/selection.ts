// Selections by attribute, as xCAT writes them: `arch==x86_64`, `ip!=`, `groups=~rack[12]`, `status!~/inst/`.
import type { AttributeTable } from './attribute.ts'
import { rowOf, wordsOf } from './attribute.ts'
import { UserError } from './fault.ts'
import { matchesSomewhere } from './regex.ts'

export type Selection = { attribute: string; op: '==' | '!=' | '=~' | '!~'; value: string }

const shape = /^\s*([A-Za-z]\w*)(==|!=|=~|!~)(.*)$/s

/** Several selections have `::` between them, as xCAT keeps those of a dynamic group; all of them must hold. */
export function parseSelections(text: string): Selection[] {
  return text.split('::').map(parseSelection)
}

export function parseSelection(text: string): Selection {
  const [, attribute, op, value] = shape.exec(text) ?? []
  if (attribute === undefined)
    throw new UserError('not a selection', {
      what: text.slice(0, 100),
      allowed: 'attr==value attr!=value attr=~pattern attr!~pattern',
    })
  return { attribute, op: op as Selection['op'], value: value!.trim() }
}

export const printSelections = (all: readonly Selection[]): string =>
  all.map(({ attribute, op, value }) => `${attribute}${op}${value}`).join('::')

/** Which records are meant. Values are compared in their one written form; a list also has each of its words. */
export function selects<R>(table: AttributeTable<R>, selection: Selection, empty: R): (record: R) => boolean {
  const { attribute, op, value } = selection
  const row = rowOf(table, attribute)
  if (row.elsewhere)
    throw new UserError('nothing is selected by this attribute', { what: attribute, allowed: row.elsewhere })
  const canonical = () => row.print(row.set!(empty, value)) ?? ''
  const textOf = (record: R) => row.print(record) ?? ''
  if (op === '=~' || op === '!~') {
    const matches = matchesSomewhere(value.length > 1 ? value.replace(/^\/(.*)\/$/s, '$1') : value)
    return (record) => matches(textOf(record)) === (op === '=~')
  }
  const wanted = value === '' || !row.set ? value : asked(attribute, row.describe, canonical)
  const equals = (text: string) => text === wanted || (row.list === true && wordsOf(text).includes(wanted))
  return (record) => equals(textOf(record)) === (op === '==')
}

/** Those that all selections mean. */
export function selectsAll<R>(table: AttributeTable<R>, all: readonly Selection[], empty: R) {
  const tests = all.map((selection) => selects(table, selection, empty))
  return (record: R): boolean => tests.every((test) => test(record))
}

/** A value that the attribute can't have selects nothing for ever: a slip, which is said. */
function asked(attribute: string, allowed: string, canonical: () => string): string {
  try {
    return canonical()
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    throw new UserError(`${attribute}: ${error.fault.error}`, { what: error.fault.what, allowed })
  }
}
