// Secrets of the image database: a person's text on its way in, encrypted for ever after; never printed.
import type { Attribute } from './attribute.ts'
import { UserError } from './fault.ts'

/** `clear` only until the database has it: what comes from there is `sealed`, and only the store can open it. */
export type Secret = { clear: string } | { sealed: string }

/** What is shown in the place of a secret; read back, it leaves the secret as it is, so that files round-trip. */
export const HIDDEN = '********'

/** A row for a secret. `instead` is what can be selected by: a comparison would tell what the secret is. */
export function secretField<K extends string>(key: K, describe: string, instead: string) {
  type R = { [P in K]?: Secret }
  return {
    describe: `${describe}; shown as ${HIDDEN}, which leaves it as it is; - reads one line of the standard input`,
    secret: true,
    elsewhere: instead,
    print: (record: R) => (record[key] === undefined ? undefined : HIDDEN),
    set<S extends R>(record: S, text: string): S {
      if (text === HIDDEN) return record
      const { [key]: _, ...rest } = record
      return (text === '' ? rest : { ...rest, [key]: { clear: parseSecret(text) } }) as S
    },
  } satisfies Attribute<R>
}

/** A refusal goes to logs and screens: it never has the text itself. */
function parseSecret(text: string): string {
  const refused = (what: string) =>
    new UserError('not a secret', { what, allowed: '1 to 128 characters of one line' })
  if (text.length > 128) throw refused(`${text.length} characters`)
  if (/[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd]/.test(text)) throw refused('a character that can not be typed')
  return text
}

/** Whether somebody sets a secret anew by this text: nothing that is shown tells it from the one before. */
export const isNewSecret = (text: string): boolean => text !== '' && text !== HIDDEN
