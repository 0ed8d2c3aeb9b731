// Attributes: a record of the image database as the texts `attr=value` that a person reads and writes.
// A table has one row per attribute; both directions and the help come from the row.
import { UserError } from './fault.ts'

export type Attribute<R> = {
  /** What it is and what it may be: shown by help and with every refusal. */
  describe: string
  /** The text of it, undefined when it has no value. */
  print(record: R): string | undefined
  /** The record with this value; absent on attributes that only the server sets. */
  set?(record: R, text: string): R
  /** Lists can be added to and taken from. */
  list?: true
  /** Its text is not in the record: said instead when somebody selects by it. */
  elsewhere?: string
  /** Never shown, logged or compared; commands can read it from the standard input. */
  secret?: true
}
export type AttributeTable<R> = Record<string, Attribute<R>>

/** How `attr=value` is applied: replace, add to a list (`-p`), take from a list (`-m`). */
export type Operation = 'set' | 'add' | 'remove'
export type Change = { op: Operation; attrs: Record<string, string> }

type Kind<T> = { parse(text: string): T; print(value: T): string; list?: true; empty?(): T }

/** A row for a field that a person sets. An empty text takes the value away. */
export function field<R extends object, K extends keyof R & string>(
  key: K,
  kind: Kind<NonNullable<R[K]>>,
  describe: string,
): Attribute<R> {
  return {
    describe,
    ...(kind.list && { list: true as const }),
    print: (record) => printField(record[key], kind),
    set: (record, text) => {
      const { [key]: _, ...rest } = record
      const value = text.trim() === '' ? kind.empty?.() : kind.parse(text.trim())
      return (value === undefined ? rest : { ...rest, [key]: value }) as R
    },
  }
}

/** A row for a field that only the server sets. */
export function shown<R extends object>(
  print: (record: R) => string | undefined,
  describe: string,
): Attribute<R> {
  return { describe, print }
}

function printField<T>(value: T, kind: Kind<NonNullable<T>>): string | undefined {
  return value === undefined || value === null ? undefined : kind.print(value) || undefined
}

const MAX_LIST = 16_384

/** Words with commas (xCAT also writes several MACs with bars) between; said twice is said once. */
export function listOf<T extends string>(parse: (word: string) => T): Kind<T[]> {
  return {
    list: true,
    empty: () => [],
    parse: (text) => {
      if (text.length > MAX_LIST) throw refused('too long', `${text.length} characters`)
      return [...new Set(wordsOf(text).map(parse))]
    },
    print: (values) => values.join(','),
  }
}

/** A list that is absent when it has no words. */
export function optionalListOf<T extends string>(parse: (word: string) => T): Kind<T[]> {
  const { empty: _, ...kind } = listOf(parse)
  return kind
}

/** The words of a list as it is typed or printed. */
export const wordsOf = (text: string): string[] =>
  text
    .split(/[,|]/)
    .map((word) => word.trim())
    .filter(Boolean)

/** One of a few words. */
export function oneOf<T extends string>(...words: T[]): Kind<T> {
  return {
    parse: (text) => {
      const found = words.find((word) => word === text)
      if (found === undefined) throw refused('not a known word', text)
      return found
    },
    print: String,
  }
}

/** A whole number, written without sign or leading zeros. */
export function wholeNumber(least: number, most: number): Kind<number> {
  return {
    parse: (text) => {
      if (!/^(0|[1-9]\d{0,8})$/.test(text) || Number(text) < least || Number(text) > most)
        throw refused(`not a number from ${least} to ${most}`, text)
      return Number(text)
    },
    print: String,
  }
}

/** A text of one shape. */
export function textLike(shape: RegExp, error: string): Kind<string> {
  return {
    parse: (text) => {
      if (!shape.test(text)) throw refused(error, text)
      return text
    },
    print: String,
  }
}

/** The text of what is kept for a part of the product that is still to come: nobody shall wait for it to act. */
export const later = (what: string, user: string) => `${what} (kept; used by ${user} when that comes)`

/** Words that only people read. */
export const remark = textLike(/^[^\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd]{0,500}$/, 'not a text of one line')

/** A value that `parse` of another file makes. */
export const parsedBy = <T extends string>(parse: (text: string) => T): Kind<T> => ({ parse, print: String })

/** xCAT writes 1 and 0. */
export const flag: Kind<boolean> = {
  parse: (text) => {
    if (!/^(0|1|yes|no)$/.test(text)) throw refused('not a switch', text)
    return text === '1' || text === 'yes'
  },
  print: (value) => (value ? '1' : '0'),
}

/**
 * Words for the kernel command line, as every loader can carry them: iPXE has no quotes, expands `${...}` and ends a
 * command at `||`, `&&`, `;` and `#`; elilo cannot say a double quote.
 */
export const kernelArguments: Kind<string> = {
  parse: (text) => {
    if (text.length > 1000) throw refused('too long', `${text.length} characters`)
    const character = /[^ !#%-&(-[\]-_a-~]/.exec(text)?.[0]
    if (character !== undefined) throw refused('no loader can say this character', JSON.stringify(character))
    const word = text.split(/ +/).find((each) => /^(#.*|&&|\|\||;)$/.test(each))
    if (word !== undefined) throw refused('iPXE ends the command at this word', word)
    return text
  },
  print: String,
}

const refused = (error: string, text: string) =>
  new UserError(error, { what: text.length > 100 ? `${text.slice(0, 100)}...` : text })

/** The record after a change; `object` and the row's description go into every refusal. */
export function applyChange<R>(table: AttributeTable<R>, record: R, change: Change, object: string): R {
  return Object.entries(change.attrs).reduce((changed, [name, text]) => {
    const row = rowOf(table, name, object)
    if (!row.set)
      throw new UserError('only the server sets this attribute', {
        what: name,
        object,
        allowed: settable(table),
      })
    if (change.op !== 'set' && !row.list)
      throw new UserError('not a list', { what: name, object, allowed: listNames(table) })
    try {
      return row.set(changed, change.op === 'set' ? text : edited(row, changed, change.op, text))
    } catch (error) {
      throw error instanceof UserError ? withAttribute(error, name, row.describe, object) : error
    }
  }, record)
}

/** The list after adding or taking away; compared as the row prints it, so that every form of a MAC is one MAC. */
function edited<R>(row: Attribute<R>, record: R, op: 'add' | 'remove', text: string): string {
  const canonical = wordsOf(row.print(row.set!(record, text)) ?? '')
  const before = wordsOf(row.print(record) ?? '')
  return (op === 'add' ? [...before, ...canonical] : before.filter((word) => !canonical.includes(word))).join(
    ',',
  )
}

function withAttribute({ fault, status }: UserError, name: string, allowed: string, object: string) {
  return new UserError(`${name}: ${fault.error}`, { what: fault.what, allowed, object, status })
}

/** Looks an attribute up, without being fooled by names such as `constructor`. */
export function rowOf<R>(table: AttributeTable<R>, name: string, object?: string): Attribute<R> {
  if (Object.hasOwn(table, name)) return table[name]!
  throw new UserError('no such attribute', {
    what: name.slice(0, 80),
    allowed: Object.keys(table).sort().join(' '),
    ...(object !== undefined && { object }),
  })
}

const settable = <R>(table: AttributeTable<R>) =>
  Object.keys(table)
    .filter((name) => table[name]!.set)
    .join(' ')
const listNames = <R>(table: AttributeTable<R>) =>
  Object.keys(table)
    .filter((name) => table[name]!.list)
    .join(' ')

/** Every attribute that has a value, in the order of the alphabet; `names` asks for these alone, empty ones too. */
export function printAttributes<R>(
  table: AttributeTable<R>,
  record: R,
  names?: string[],
): Record<string, string> {
  const asked = names ?? Object.keys(table).sort()
  const all = asked.map((name) => [name, rowOf(table, name).print(record)] as const)
  return Object.fromEntries(
    all.flatMap(([name, text]) => (text === undefined && !names ? [] : [[name, text ?? '']])),
  )
}
