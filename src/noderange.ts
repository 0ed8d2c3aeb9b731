// Node ranges, xCAT's syntax: `n1,n2`, `n[1-3]`, `n[01-10,12]`, `f[1-2]n[1-3]`, `n1-n3`, `group`, and with a dash in
// front what is left out: `compute,-n2,-broken`.
import type { NodeName } from './address.ts'
import { parseNodeName } from './address.ts'
import { UserError } from './fault.ts'

export const MAX_NAMES = 65_536
const MAX_SAID = 4 * MAX_NAMES // with those that are said twice or left out
const MAX_TEXT = 4_200_000 // 65,536 names of 63 characters
const MAX_TERM = 500

export type Known = { nodes: ReadonlySet<string>; groups: ReadonlyMap<string, readonly string[]> }

/** The names of existing nodes, each once, in the order they are first said. */
export function expandNoderange(text: string, known: Known): string[] {
  const chosen = new Set<string>()
  const left = new Set<string>()
  const missing: string[] = []
  for (const { excluded, name } of said(text, (term) => namesOf(term, known))) {
    if (!known.nodes.has(name)) missing.push(name)
    else (excluded ? left : chosen).add(name)
  }
  if (missing.length > 0) throw doesNotExist(missing)
  const names = [...chosen].filter((name) => !left.has(name))
  bounded(names.length, text)
  return names
}

/** The names that a text of lists and ranges spells, whether they exist or not: what `mkdef` is about to make. */
export function spellNames(text: string): NodeName[] {
  const names = new Set<NodeName>()
  for (const { excluded, name } of said(text, (term) => rangeOf(term) ?? [term])) {
    if (excluded) throw fault('nothing to leave out from', name)
    names.add(parseNodeName(name))
  }
  bounded(names.size, text)
  return [...names]
}

function said(text: string, expand: (term: string) => readonly string[]) {
  const all: { excluded: boolean; name: string }[] = []
  for (const term of splitTerms(text)) {
    const excluded = term.startsWith('-')
    for (const name of expand(excluded ? term.slice(1) : term)) all.push({ excluded, name })
    bounded(all.length, text, MAX_SAID)
  }
  return all
}

/** A node's own name wins over a group's, a group's over a range: the text that exists is what was meant. */
function namesOf(term: string, { nodes, groups }: Known): readonly string[] {
  if (nodes.has(term)) return [term]
  return groups.get(term) ?? rangeOf(term) ?? [term]
}

function rangeOf(term: string): string[] | undefined {
  if (/[[\]]/.test(term)) return bracketRange(term)
  return dashRange(term)
}

/** Splits at commas that are not inside brackets. */
function splitTerms(text: string): string[] {
  if (text.length > MAX_TEXT) throw fault('too long', `${text.length} characters`, `${MAX_TEXT}`)
  if (/\[[^\]]*(\[|$)/.test(text) || /(^|\])[^[]*\]/.test(text)) throw fault('brackets do not match', text)
  const terms = text.split(/,(?![^[]*\])/).map((term) => term.trim())
  if (terms.some((term) => term === '' || term === '-')) throw fault('a name is missing', text)
  const long = terms.find((term) => term.length > MAX_TERM)
  if (long !== undefined) throw fault('too long', long, `${MAX_TERM} characters`)
  return terms
}

/** `f[1-2]n[01,3-5]`: every combination, the last bracket counting fastest. */
function bracketRange(term: string): string[] {
  const parts = term.split(/(?=\[)|(?<=\])/)
  return parts.reduce(
    (names, part) => {
      const ends = part.startsWith('[') ? numbersOf(part.slice(1, -1), term) : [part]
      bounded(names.length * ends.length, term)
      return names.flatMap((name) => ends.map((end) => name + end))
    },
    [''],
  )
}

function numbersOf(list: string, term: string): string[] {
  const numbers: string[] = []
  for (const each of list.split(',')) {
    const match = /^(\d{1,15})(?:-(\d{1,15}))?$/.exec(each)
    if (!match) throw fault('not a range of numbers', term, 'as n[1-3] or n[01-10,12]')
    numbers.push(...count(match[1]!, match[2] ?? match[1]!, term))
    bounded(numbers.length, term)
  }
  return numbers
}

/** `n1-n3`: the same text around two numbers. A dash inside names is no range. */
function dashRange(term: string): string[] | undefined {
  if (term.length > 127) return undefined // two names of 63
  const match = /^(.*?)(\d{1,15})(|\D.*)-\1(\d{1,15})\3$/.exec(term)
  if (!match) return undefined
  const [, before = '', from = '', after = '', to = ''] = match
  return count(from, to, term).map((number) => before + number + after)
}

/** Zero padding of the first number is kept. */
function count(from: string, to: string, term: string): string[] {
  const length = Number(to) - Number(from) + 1
  if (length < 1) throw fault('the range runs backwards', term)
  const padded = [from, to].some((number) => number.length > 1 && number.startsWith('0'))
  if (padded && from.length !== to.length) throw fault('numbers of different widths', term, 'as n[01-10]')
  bounded(length, term)
  return Array.from({ length }, (_, i) => String(Number(from) + i).padStart(from.length, '0'))
}

function bounded(names: number, text: string, most = MAX_NAMES) {
  if (names > most) throw fault('too many names', text, `${most} at once`)
}

function doesNotExist(names: string[]): UserError {
  const shown = names.slice(0, 10).join(', ')
  const more = names.length > 10 ? ` and ${names.length - 10} more` : ''
  return new UserError('no such node or group', { what: `${shown}${more}`, status: 404 })
}

function fault(error: string, text: string, allowed?: string): UserError {
  const what = text.length > 100 ? `${text.slice(0, 100)}...` : text
  return new UserError(`noderange: ${error}`, { what, ...(allowed !== undefined && { allowed }) })
}
