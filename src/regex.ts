// Regular expressions whose time is bounded by text times pattern: an admin's typing slip must not stop the server, and
// JavaScript's own engine needs an age for /(a+)+b/. Patterns become a set of states that are walked all at once
// (Thompson 1968); what that can't say (back references, looking around) is refused.
import { UserError } from './fault.ts'

export type Matcher = (text: string) => boolean

const MAX_PATTERN = 500
const MAX_STATES = 4000
const MAX_KEPT = 1000 // sets of states that are remembered
const MAX_DEPTH = 50

type Test = (code: number) => boolean
type Tree =
  | { kind: 'one'; test: Test }
  | { kind: 'at'; end: 'start' | 'end' }
  | { kind: 'all'; parts: Tree[] }
  | { kind: 'any'; parts: Tree[] }
  | { kind: 'repeat'; part: Tree; least: number; most: number }

/** Does the whole text match? As xCAT reads a pattern between slashes among names. */
export function matchesWhole(pattern: string): Matcher {
  return compile(parse(pattern))
}

/** Is there a match anywhere in the text? As xCAT reads `attr=~pattern`. */
export function matchesSomewhere(pattern: string): Matcher {
  const anything: Tree = { kind: 'repeat', part: { kind: 'one', test: () => true }, least: 0, most: Infinity }
  return compile({ kind: 'all', parts: [anything, parse(pattern), anything] })
}

// ---- pattern -> tree ----

const digit: Test = (code) => code >= 48 && code <= 57
const wordly: Test = (code) =>
  digit(code) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122) || code === 95
const blank: Test = (code) => code === 32 || (code >= 9 && code <= 13)
const not =
  (test: Test): Test =>
  (code) =>
    !test(code)
const is =
  (character: string): Test =>
  (code) =>
    code === character.charCodeAt(0)
const classes: Record<string, Test> = {
  d: digit,
  D: not(digit),
  w: wordly,
  W: not(wordly),
  s: blank,
  S: not(blank),
}

function parse(pattern: string): Tree {
  let at = 0
  const refuse = (what: string) =>
    new UserError('not a regular expression', {
      what: `${pattern.slice(0, 100)}: ${what}`,
      allowed: '. [a-z] [^a] \\d \\w \\s (a|b) * + ? {2,3} ^ $',
    })
  if (pattern.length > MAX_PATTERN) throw refuse(`longer than ${MAX_PATTERN} characters`)

  function choice(depth: number): Tree {
    if (depth > MAX_DEPTH) throw refuse('too many parentheses')
    const parts = [sequence(depth)]
    while (pattern[at] === '|') {
      at += 1
      parts.push(sequence(depth))
    }
    return parts.length === 1 ? parts[0]! : { kind: 'any', parts }
  }

  function sequence(depth: number): Tree {
    const parts: Tree[] = []
    while (at < pattern.length && pattern[at] !== '|' && pattern[at] !== ')') parts.push(repeated(depth))
    return { kind: 'all', parts }
  }

  function repeated(depth: number): Tree {
    const part = single(depth)
    const [said, sign, from, comma, to] =
      /^(?:([*+?])|\{(\d{1,3})(,?)(\d{0,3})\})\??/.exec(pattern.slice(at)) ?? []
    if (said === undefined) return part
    at += said.length
    if (/^[*+?{]/.test(pattern.slice(at))) throw refuse(`nothing to repeat before ${pattern[at]}`)
    const least = sign ? (sign === '+' ? 1 : 0) : Number(from)
    const most = sign ? (sign === '?' ? 1 : Infinity) : to ? Number(to) : comma ? Infinity : least
    if (most < least) throw refuse(`${said} runs backwards`)
    return { kind: 'repeat', part, least, most }
  }

  function single(depth: number): Tree {
    const character = pattern[at++]!
    if (character === '(') return group(depth)
    if (character === '[') return { kind: 'one', test: set() }
    if (character === '.') return { kind: 'one', test: () => true }
    if (character === '^') return { kind: 'at', end: 'start' }
    if (character === '$') return { kind: 'at', end: 'end' }
    if (/[*+?{]/.test(character)) throw refuse(`nothing to repeat before ${character}`)
    return { kind: 'one', test: character === '\\' ? escaped() : is(character) }
  }

  function group(depth: number): Tree {
    if (pattern.startsWith('?:', at)) at += 2
    else if (pattern[at] === '?') throw refuse(`(${pattern.slice(at, at + 2)} is not supported`)
    const tree = choice(depth + 1)
    if (pattern[at++] !== ')') throw refuse('a parenthesis is not closed')
    return tree
  }

  function escaped(): Test {
    const character = pattern[at++]
    if (character === undefined) throw refuse('nothing after \\')
    if (Object.hasOwn(classes, character)) return classes[character]!
    if (/[A-Za-z0-9]/.test(character)) throw refuse(`\\${character} is not supported`)
    return is(character)
  }

  function set(): Test {
    const inverted = pattern[at] === '^'
    if (inverted) at += 1
    const tests: Test[] = []
    for (let first = true; first || pattern[at] !== ']'; first = false) {
      const from = pattern[at++]
      if (from === undefined) throw refuse('a bracket is not closed')
      if (from === '\\') tests.push(escaped())
      else if (pattern[at] === '-' && pattern[at + 1] !== undefined && pattern[at + 1] !== ']') {
        const to = pattern[at + 1]!
        at += 2
        if (to < from) throw refuse(`${from}-${to} runs backwards`)
        tests.push((code) => code >= from.charCodeAt(0) && code <= to.charCodeAt(0))
      } else tests.push(is(from))
    }
    at += 1
    const some: Test = (code) => tests.some((test) => test(code))
    return inverted ? not(some) : some
  }

  const tree = choice(0)
  if (at < pattern.length) throw refuse('a parenthesis too many')
  return tree
}

// ---- tree -> states -> sets of states ----

type State =
  | { kind: 'one'; test: Test; next: number }
  | { kind: 'at'; end: 'start' | 'end'; next: number }
  | { kind: 'fork'; next: number[] }
  | { kind: 'found' }
/** A set of states between two characters; where each character leads is remembered. */
type Step = { states: number[]; found: boolean; next: Map<number, Step> }

function compile(tree: Tree): Matcher {
  const states: State[] = [{ kind: 'found' }]
  const start = build(states, tree, 0)
  let kept = new Map<string, Step>()

  /** What is reached without a character. */
  function reached(from: number[], isStart: boolean, isEnd: boolean): Set<number> {
    const seen = new Set<number>()
    const waiting = [...from]
    for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
      if (seen.has(id)) continue
      seen.add(id)
      const state = states[id]!
      if (state.kind === 'fork') waiting.push(...state.next)
      if (state.kind === 'at' && (state.end === 'start' ? isStart : isEnd)) waiting.push(state.next)
    }
    return seen
  }

  function stepOf(from: number[], isStart: boolean): Step {
    const all = [...reached(from, isStart, false)].sort((a, b) => a - b)
    const key = `${isStart} ${all.join()}`
    const known = kept.get(key)
    if (known) return known
    if (kept.size >= MAX_KEPT) kept = new Map()
    const made = { states: all, found: reached(all, isStart, true).has(0), next: new Map() }
    kept.set(key, made)
    return made
  }

  function after(step: Step, code: number): Step {
    const known = step.next.get(code)
    if (known) return known
    const next = step.states.flatMap((id) => {
      const state = states[id]!
      return state.kind === 'one' && state.test(code) ? [state.next] : []
    })
    const made = stepOf(next, false)
    if (step.next.size < MAX_KEPT) step.next.set(code, made)
    return made
  }

  const first = stepOf([start], true)
  return (text) => {
    let step = first
    for (let i = 0; i < text.length && step.states.length > 0; i++) step = after(step, text.charCodeAt(i))
    return step.found
  }
}

/** Adds the states of a tree that lead to the state `next`; answers with the first of them. */
function build(states: State[], tree: Tree, next: number): number {
  const add = (state: State) => {
    if (states.length >= MAX_STATES)
      throw new UserError('not a regular expression', { what: 'too large', allowed: 'smaller {repetitions}' })
    return states.push(state) - 1
  }
  switch (tree.kind) {
    case 'one':
      return add({ kind: 'one', test: tree.test, next })
    case 'at':
      return add({ kind: 'at', end: tree.end, next })
    case 'all':
      return tree.parts.reduceRight((last, part) => build(states, part, last), next)
    case 'any':
      return add({ kind: 'fork', next: tree.parts.map((part) => build(states, part, next)) })
    case 'repeat': {
      const { part, least, most } = tree
      let last = next
      if (most === Infinity) {
        const loop: State & { kind: 'fork' } = { kind: 'fork', next: [next] }
        last = add(loop)
        loop.next.push(build(states, part, last))
      } else
        for (let i = least; i < most; i++)
          last = add({ kind: 'fork', next: [next, build(states, part, last)] })
      for (let i = 0; i < least; i++) {
        const before = build(states, part, last)
        if (before === last) break // an empty part: nothing more would come of ((){99}){99}
        last = before
      }
      return last
    }
  }
}
