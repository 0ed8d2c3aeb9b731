// The scrub table in use: what an osimage says of its rows, and of which rows a file is.
import { UserError } from '../fault.ts'
import { type Row, type Rule, type ScrubName, scrubTable } from './scrub-table.ts'

const rows: Record<string, Row> = scrubTable
export const scrubNames = Object.keys(scrubTable) as ScrubName[]

/** What is done with each, by name. */
export type ScrubRules = Record<ScrubName, Rule>

export const defaultRules: ScrubRules = Object.fromEntries(
  scrubNames.map((name) => [name, rows[name]!.rules[0]]),
) as ScrubRules

export const scrubFacts = (name: ScrubName): Pick<Row, 'kind' | 'is' | 'rules'> => scrubTable[name]

/** One word of `scrub=`: 'machine-id:keep'. Throws UserError for a name or a rule that there is not. */
export function parseScrub(word: string): string {
  const [name = '', rule = '', ...more] = word.split(':')
  const row = Object.hasOwn(rows, name) ? rows[name]! : undefined
  if (row === undefined || more.length > 0)
    throw new UserError('not a scrub rule', {
      what: word.slice(0, 100),
      allowed: `NAME:RULE, with one of ${scrubNames.join(' ')}`,
    })
  if (!(row.rules as string[]).includes(rule))
    throw new UserError(`not a rule of ${name}, which are ${row.rules.join(' | ')}`, {
      what: word.slice(0, 100),
    })
  return word
}

/** The rules of an osimage: the defaults, and what its `scrub=` says; of two words about one name the later one counts. */
export function rulesOf(words: readonly string[] = []): ScrubRules {
  const said = words.map((word) => parseScrub(word).split(':') as [ScrubName, Rule])
  return { ...defaultRules, ...Object.fromEntries(said) }
}

/** The rules as words, all of them: what a version was made with. */
export const renderRules = (rules: ScrubRules): string =>
  scrubNames.map((name) => `${name}:${rules[name]}`).join(' ')

/** Names and rules that this version does not know of are left out; what is not said is as by default. */
export function parseRules(text: string): ScrubRules {
  const known = text.split(' ').filter((word) => {
    const [name = '', rule = ''] = word.split(':')
    return Object.hasOwn(rows, name) && (rows[name]!.rules as string[]).includes(rule)
  })
  return rulesOf(known)
}

type Found = { path: string; type: string } // one character a byte, as all names of files here

/** The rows that a file is one of, so far as its name can say. */
export function makeClassify(): (file: Found) => ScrubName[] {
  const tests = scrubNames.map((name) => {
    const { paths, types } = rows[name]!
    return { name, types, test: new RegExp(paths.map(patternSource).join('|'), 's') }
  })
  // Nearly all files match nothing: one look says so.
  const any = new RegExp(tests.map(({ test }) => test.source).join('|'), 's')
  return ({ path, type }) =>
    !any.test(path)
      ? []
      : tests.flatMap(({ name, types, test }) =>
          (types?.includes(type) ?? true) && test.test(path) ? [name] : [],
        )
}

/** What grep has to find in a file for it to be one of these; undefined: its name is enough. */
export const contentOf = (name: ScrubName): string | undefined => rows[name]!.content

/** Whether such a file stays on the golden client. */
export const staysThere = (name: ScrubName, rule: Rule): boolean =>
  rule === 'drop' || (rule === 'regenerate' && rows[name]!.edited !== true)

// `etc/**/x` is x at any depth below etc, `{a,b}` is a or b.
function patternSource(pattern: string): string {
  const source = pattern
    .replace(/[.+?^$()|[\]\\]/g, '\\$&')
    .replace(/[{},]/g, (mark) => ({ '{': '(?:', '}': ')' })[mark] ?? '|')
    .replace(/\/\*\*(\/|$)|\*/g, (found, slash) =>
      found === '*' ? '[^/]*' : slash === '/' ? '/(?:.*/)?' : '/.+',
    )
  return `^${source}$`
}
