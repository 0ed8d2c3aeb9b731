import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { UserError } from '../src/fault.ts'
import { matchesSomewhere, matchesWhole } from '../src/regex.ts'

const patterns = [
  '',
  'abc',
  'a|b|',
  'a*',
  'a+b?',
  '(ab)*c',
  '(?:a|bc){2}',
  'a{1,3}',
  'a{2,}',
  '(a{1,2}){2}',
  '[abc]+',
  '[^a]b',
  '[a-c]{0,2}',
  '[]a]',
  '[a-]',
  '\\d+',
  '[\\d]c',
  '\\w\\W',
  '\\.',
  'a.c',
  '^a',
  'c$',
  '^$',
  'a$|^b',
  '(a|ab)(c|bcd)',
  'a*?b',
  '()*a',
  '(a*)*b',
]
/** JavaScript reads `[]a]` otherwise: there `[]` is empty. */
const own = (pattern: string) => pattern.replace('[]a]', '[\\]a]')

test('law: the same answers as JavaScript’s own engine', () => {
  const text = fc.oneof(fc.stringMatching(/^[abc1.-]{0,8}$/), fc.string({ maxLength: 6 }))
  fc.assert(
    fc.property(fc.constantFrom(...patterns), text, (pattern, each) => {
      expect(matchesWhole(pattern)(each)).toBe(new RegExp(`^(?:${own(pattern)})$`, 's').test(each))
      expect(matchesSomewhere(pattern)(each)).toBe(new RegExp(own(pattern), 's').test(each))
    }),
    { numRuns: 2000 },
  )
})

test('what makes others backtrack for ages takes no time', () => {
  const text = `${'a'.repeat(5000)}!`
  const start = performance.now()
  for (const pattern of ['(a+)+b', '(a|a)*b', '(a*)*b', 'a*a*a*a*a*a*b', '(.*)*(.*)*x'])
    expect([matchesWhole(pattern)(text), matchesSomewhere(pattern)(text)]).toEqual([false, false])
  expect(matchesWhole('(((((){99}){99}){99}){99}){99}')('')).toBe(true)
  expect(performance.now() - start).toBeLessThan(1000)
})

const bad: [pattern: string, message: RegExp][] = [
  ['(', /a parenthesis is not closed/],
  ['a)', /a parenthesis too many/],
  ['[a', /a bracket is not closed/],
  ['*', /nothing to repeat before \*/],
  ['a**', /nothing to repeat/],
  ['a{3,2}', /runs backwards/],
  ['[z-a]', /runs backwards/],
  ['(a)\\1', /\\1 is not supported/],
  ['(?=a)', /not supported/],
  ['a\\', /nothing after/],
  ['x'.repeat(501), /longer than 500/],
  ['((((a{99}){99}){99}){99})', /too large/],
  ['('.repeat(100), /too many parentheses/],
]
describe('what is refused', () => {
  for (const [pattern, message] of bad)
    test(pattern.slice(0, 30), () => expect(() => matchesWhole(pattern)).toThrow(message))
})

test('law: any text is a pattern or refused with UserError', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (pattern, text) => {
      try {
        matchesSomewhere(pattern)(text)
      } catch (error) {
        expect(error).toBeInstanceOf(UserError)
      }
    }),
    { numRuns: 1000 },
  )
})
