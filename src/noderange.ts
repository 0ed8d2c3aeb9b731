// Node ranges, xCAT's syntax:
//   list    = part ("," part)*          part  = ["-"] chain            a dash in front leaves out
//   chain   = term ("@" term)*          term  = "(" list ")" | "/regex/" | "^file" | attr==value | name
//   name    = n1 | group | n[1-3,07] | f[1-2]n[1-3] | n1-n3 | n1:n3 | n10+3 | *
import type { NodeName } from './address.ts'
import { parseNodeName } from './address.ts'
import { UserError } from './fault.ts'
import { matchesWhole } from './regex.ts'
import { parseSelection, type Selection } from './selection.ts'

export const MAX_NAMES = 65_536
const MAX_SAID = 4 * MAX_NAMES // with those that are said twice or left out
const MAX_TEXT = 4_200_000 // 65,536 names of 63 characters
const MAX_TERM = 500
const MAX_DEPTH = 20

export type Known = {
  nodes: ReadonlySet<string>
  groups: ReadonlyMap<string, readonly string[]>
  /** The nodes whose attributes are so; absent where nothing can be selected. */
  selected?(selection: Selection): readonly string[]
}
/** One piece of a noderange as it was understood, `depth` parentheses deep. */
export type Reading = { text: string; how: string; names: readonly string[]; depth: number }

/** The names of existing nodes, each once, in the order they are first said. */
export function expandNoderange(text: string, known: Known): string[] {
  return explainNoderange(text, known).names
}

/** The same, with how each piece of the text was read. */
export function explainNoderange(text: string, known: Known): { names: string[]; readings: Reading[] } {
  const readings: Reading[] = []
  const missing: string[] = []
  let said = 0

  function namesOfList(list: Part[], depth: number): string[] {
    const chosen = new Set<string>()
    const left = new Set<string>()
    for (const part of list)
      for (const name of namesOfPart(part, depth)) (part.excluded ? left : chosen).add(name)
    return left.size === 0 ? [...chosen] : [...chosen].filter((name) => !left.has(name))
  }

  function namesOfPart({ chain, excluded }: Part, depth: number): readonly string[] {
    const [first, ...others] = chain
    if (others.length === 0) return namesOfTerm(first!, depth, excluded ? 'left out: ' : '')
    return others.reduce(
      (names, term) => {
        const both = new Set(namesOfTerm(term, depth, 'and in '))
        return names.filter((name) => both.has(name))
      },
      namesOfTerm(first!, depth, excluded ? 'left out: ' : ''),
    )
  }

  function namesOfTerm(term: Term, depth: number, before: string): readonly string[] {
    const place = readings.push({ text: term.text, how: before, names: [], depth }) - 1
    const { how, names } =
      term.kind === 'list'
        ? { how: 'a list', names: namesOfList(term.parts, depth + 1) }
        : readTerm(term, known)
    said += names.length
    bounded(said, text, MAX_SAID)
    const unknown = names.filter((name) => !known.nodes.has(name))
    for (const name of unknown) missing.push(name)
    const there = unknown.length === 0 ? names : names.filter((name) => known.nodes.has(name))
    readings[place] = { text: term.text, how: before + how, names: there, depth }
    return there
  }

  const names = namesOfList(parseNoderange(text), 0)
  if (missing.length > 0) throw doesNotExist(missing)
  bounded(names.length, text)
  return { names, readings }
}

/** The names that a text of lists and ranges spells, whether they exist or not: what `mkdef` is about to make. */
export function spellNames(text: string): NodeName[] {
  const names = new Set<NodeName>()
  for (const { excluded, chain } of parseNoderange(text)) {
    const [term, ...others] = chain
    if (excluded) throw fault('nothing to leave out from', term!.text)
    if (others.length > 0 || term!.kind !== 'name')
      throw fault('no names to be made', term!.text, 'names and ranges, as n1,n[2-9]')
    for (const name of rangeOf(term!.text) ?? [term!.text]) names.add(parseNodeName(name))
    bounded(names.size, text)
  }
  return [...names]
}

/** Puts what files say in the place of their names; `read` gives a file's text. The server itself reads none. */
export function readFiles(text: string, read: (path: string) => string): string {
  if (!text.includes('^')) return text
  let made = text
  for (const { path, from, to } of filesIn(parseNoderange(text)).reverse()) {
    const lines = read(path)
      .split('\n')
      .map((line) => line.replace(/#.*$/, '').trim())
      .filter(Boolean)
    if (lines.length === 0) throw fault('the file names no node', path)
    made = `${made.slice(0, from)}(${lines.join()})${made.slice(to)}`
  }
  return made
}

const filesIn = (parts: Part[]): FileTerm[] =>
  parts.flatMap(({ chain }) =>
    chain.flatMap((term) => {
      if (term.kind === 'list') return filesIn(term.parts)
      return term.kind === 'file' ? [term] : []
    }),
  )

// ---- text -> terms ----

type FileTerm = { kind: 'file'; text: string; path: string; from: number; to: number }
type Single =
  | { kind: 'name'; text: string }
  | { kind: 'regex'; text: string; pattern: string }
  | { kind: 'selection'; text: string; selection: Selection }
  | FileTerm
type Term = Single | { kind: 'list'; text: string; parts: Part[] }
type Part = { excluded: boolean; chain: Term[] }

function parseNoderange(text: string): Part[] {
  if (text.length > MAX_TEXT) throw fault('too long', `${text.length} characters`, `${MAX_TEXT}`)
  let at = 0
  const start = /([A-Za-z]\w*)(=~|!~)\//y
  const hasPatterns = text.includes('~')
  const plain = /[^,@()[\]]*/y
  const skipBlanks = () => {
    while (text[at] === ' ' || text[at] === '\t') at += 1
  }
  /** Steps over it, and the blanks before it. */
  const accept = (character: string) => {
    skipBlanks()
    const found = text[at] === character
    if (found) at += 1
    return found
  }

  function list(depth: number): Part[] {
    if (depth > MAX_DEPTH) throw fault('too many parentheses', text)
    const parts: Part[] = []
    do {
      const excluded = accept('-')
      const chain: Term[] = []
      do chain.push(term(depth))
      while (accept('@'))
      parts.push({ excluded, chain })
    } while (accept(','))
    return parts
  }

  function term(depth: number): Term {
    skipBlanks()
    const from = at
    if (text[at] === '/') {
      const pattern = betweenSlashes()
      return { kind: 'regex', text: text.slice(from, at), pattern }
    }
    if (accept('(')) {
      const parts = list(depth + 1)
      if (!accept(')')) throw fault('parentheses do not match', text)
      return { kind: 'list', text: text.slice(from, at), parts }
    }
    start.lastIndex = at
    if (hasPatterns && start.test(text)) {
      at = start.lastIndex - 1
      betweenSlashes()
    } else skipName()
    const said = text.slice(from, at).trim()
    if (said === '') throw fault('a name is missing', text)
    if (said.length > MAX_TERM) throw fault('too long', said, `${MAX_TERM} characters`)
    if (said.startsWith('^')) return { kind: 'file', text: said, path: said.slice(1), from, to: at }
    if (/[=~]/.test(said) && /^[A-Za-z]\w*(==|!=|=~|!~)/.test(said))
      return { kind: 'selection', text: said, selection: parseSelection(said) }
    return { kind: 'name', text: said }
  }

  /** To the next comma, at sign or parenthesis that is not inside brackets. */
  function skipName() {
    for (;;) {
      plain.lastIndex = at
      plain.test(text)
      at = plain.lastIndex
      if (text[at] === ']') throw fault('brackets do not match', text)
      if (text[at] !== '[') return
      const end = text.indexOf(']', at)
      if (end < 0 || text.slice(at + 1, end).includes('[')) throw fault('brackets do not match', text)
      at = end + 1
    }
  }

  /** What is between this slash and the next one that has no backslash before it. */
  function betweenSlashes(): string {
    const [said, pattern] = /^\/((?:[^/\\]|\\.)*)\//s.exec(text.slice(at, at + 2 * MAX_TERM)) ?? []
    if (said === undefined)
      throw fault('the slash after a regular expression is missing', text.slice(at), '/n[12].*/')
    at += said.length
    return pattern!
  }

  const parts = list(0)
  if (at < text.length) {
    if (text[at] === ')') throw fault('parentheses do not match', text)
    throw fault('a comma is missing', text.slice(at))
  }
  return parts
}

// ---- a term -> names ----

type Read = { how: string; names: readonly string[] }

function readTerm(term: Single, { nodes, groups, selected }: Known): Read {
  switch (term.kind) {
    case 'name':
      return readName(term.text, nodes, groups)
    case 'regex':
      return { how: 'names that match', names: [...nodes].filter(matchesWhole(term.pattern)) }
    case 'selection':
      if (!selected) throw fault('nothing is selected by attributes here', term.text)
      return { how: 'nodes selected by an attribute', names: selected(term.selection) }
    case 'file':
      throw fault('files are read by the command line', term.text, 'names')
  }
}

/** A node's own name wins over a group's, a group's over a range: the text that exists is what was meant. */
function readName(text: string, nodes: Known['nodes'], groups: Known['groups']): Read {
  if (nodes.has(text)) return { how: 'a node', names: [text] }
  const members = groups.get(text)
  if (members) return { how: 'a group', names: members }
  if (text === '*') return { how: 'all nodes', names: [...nodes] }
  const range = rangeOf(text)
  return range ? { how: 'a range', names: range } : { how: 'a node', names: [text] }
}

function rangeOf(term: string): string[] | undefined {
  if (term.includes('[')) return bracketRange(term)
  return dashRange(term) ?? plusRange(term)
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
    const match = /^(\d{1,15})(?:[-:](\d{1,15}))?$/.exec(each.trim())
    if (!match) throw fault('not a range of numbers', term, 'as n[1-3] or n[01-10,12]')
    for (const number of count(match[1]!, match[2] ?? match[1]!, term)) numbers.push(number)
    bounded(numbers.length, term)
  }
  return numbers
}

/** `n1-n3`, `n1:n3`: the same text around two numbers. A dash inside names is no range. */
function dashRange(term: string): string[] | undefined {
  if (term.length > 127 || !/[-:]/.test(term)) return undefined // two names of 63
  const match = /^(.*?)(\d{1,15})(|\D.*)[-:]\1(\d{1,15})\3$/.exec(term)
  if (!match) return undefined
  const [, before = '', from = '', after = '', to = ''] = match
  return count(from, to, term).map((number) => before + number + after)
}

/** `n10+3`: n10 and the three after it. */
function plusRange(term: string): string[] | undefined {
  const [, before = '', from, after = '', more] = /^(.*?)(\d{1,15})(\D*)\+(\d{1,9})$/.exec(term) ?? []
  if (from === undefined) return undefined
  bounded(Number(more), term)
  const to = String(Number(from) + Number(more)).padStart(from.length, '0')
  if (to.length > from.length && from.startsWith('0') && from.length > 1)
    throw fault('numbers of different widths', term, 'as n001+3')
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
