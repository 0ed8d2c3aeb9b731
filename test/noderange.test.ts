import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { UserError } from '../src/fault.ts'
import { expandNoderange, explainNoderange, MAX_NAMES, readFiles, spellNames } from '../src/noderange.ts'

const nodes = new Set([
  'n1',
  'n2',
  'n3',
  'n01',
  'n02',
  'n10',
  'golden',
  'a-1',
  'r1n1',
  'r1n2',
  'r2n1',
  'r2n2',
])
const groups = new Map([
  ['compute', ['n1', 'n2', 'n3']],
  ['broken', ['n2']],
  ['golden', ['n1']], // a node has this name too
  ['stale', ['n1', 'gone']],
])
const known = {
  nodes,
  groups,
  /** Only `arch` is known, and only n1 and n01 have it. */
  selected: ({ op, value }: { op: string; value: string }) =>
    [...nodes].filter((name) => ((name === 'n1' || name === 'n01') === (value === 'x86')) === (op === '==')),
}

const good: [text: string, names: string][] = [
  ['n1', 'n1'],
  ['n2,n1,n2', 'n2 n1'],
  [' n1 , n2 ', 'n1 n2'],
  ['n[1-3]', 'n1 n2 n3'],
  ['n[1,3]', 'n1 n3'],
  ['n[01-02]', 'n01 n02'],
  ['n[01-02,10]', 'n01 n02 n10'],
  ['r[1-2]n[1-2]', 'r1n1 r1n2 r2n1 r2n2'],
  ['n1-n3', 'n1 n2 n3'],
  ['n01-n02', 'n01 n02'],
  ['r1n1-r1n2', 'r1n1 r1n2'],
  ['r1n1-r2n1', 'r1n1 r2n1'],
  ['a-1', 'a-1'],
  ['compute', 'n1 n2 n3'],
  ['golden', 'golden'],
  ['compute,-n2', 'n1 n3'],
  ['compute,-broken,golden', 'n1 n3 golden'],
  ['-n[1-2],compute', 'n3'],
  ['n1,-n1', ''],
  ['n1:n3', 'n1 n2 n3'],
  ['n[1:3]', 'n1 n2 n3'],
  ['n1+2', 'n1 n2 n3'],
  ['n01+1', 'n01 n02'],
  ['r1n1+1', 'r1n1 r1n2'],
  ['n1+0', 'n1'],
  ['*,-/n.*/', 'golden a-1 r1n1 r1n2 r2n1 r2n2'],
  ['/n[12]/', 'n1 n2'],
  ['/n[1,2]/@compute', 'n1 n2'],
  ['/nothing/', ''],
  ['/r\\d(n1|n2)/,-/.*2/', 'r1n1 r2n1'],
  ['compute@broken', 'n2'],
  ['n1,compute@broken,n3', 'n1 n2 n3'],
  ['compute@broken@n1', ''],
  ['-compute@broken,compute', 'n1 n3'],
  ['compute@(n1,n3)', 'n1 n3'],
  ['(compute,-n2)@(n[1-2],-n3)', 'n1'],
  ['compute,-(n1,n2)', 'n3'],
  ['arch==x86', 'n1 n01'],
  ['arch!=x86@compute', 'n2 n3'],
  ['compute,-arch==x86', 'n2 n3'],
  ['( n1 , n2 ) @ n2', 'n2'],
]
describe('what a noderange says', () => {
  for (const [text, names] of good)
    test(text, () => expect(expandNoderange(text, known).join(' ')).toBe(names))
})

const bad: [text: string, message: RegExp][] = [
  ['', /a name is missing/],
  ['n1,,n2', /a name is missing/],
  ['-', /a name is missing/],
  ['n9', /no such node or group \(n9\)/],
  ['n[1-5],x', /\(n4, n5, x\)/],
  ['compute,-n9', /n9/],
  ['stale', /gone/],
  ['n[3-1]', /backwards \(n\[3-1\]\)/],
  ['n3-n1', /backwards/],
  ['n[1-03]', /different widths/],
  ['n[1-2', /brackets do not match/],
  ['n1-2]', /brackets do not match/],
  ['n[[1]]', /brackets do not match/],
  ['n[]', /not a range of numbers/],
  ['n[a-b]', /not a range of numbers/],
  [`n[1-${MAX_NAMES + 1}]`, /too many names/],
  ['a[1-999]b[1-999]', /too many names/],
  [Array(50).fill('n[1-65536]').join(), /too many names/],
  ['x'.repeat(501), /too long/],
  ['constructor', /no such node/],
  ['__proto__', /no such node/],
  ['n1:n9', /\(n4, n5, n6, n7, n8, n9\)/],
  ['n9+99999', /too many names/],
  ['n09+99', /different widths/],
  ['n3:n1', /backwards/],
  ['/n[/', /a bracket is not closed/],
  ['/n1', /the slash after a regular expression is missing/],
  ['/n1/x', /a comma is missing/],
  ['(n1', /parentheses do not match/],
  ['n1)', /parentheses do not match/],
  ['()', /a name is missing/],
  ['n1@', /a name is missing/],
  ['@n1', /a name is missing/],
  ['('.repeat(50), /too many parentheses/],
  ['^/etc/hosts', /files are read by the command line/],
  ['n1@n9', /\(n9\)/],
]
describe('what is refused', () => {
  for (const [text, message] of bad)
    test(text.slice(0, 40) || 'nothing', () => expect(() => expandNoderange(text, known)).toThrow(message))
})

test('the largest range is spelled at once', () => {
  const names = spellNames(`n[00001-${MAX_NAMES}]`)
  expect([names.length, names[0], names.at(-1)]).toEqual([MAX_NAMES, 'n00001', 'n65536'])
})

test('names to be made: no exclusion, and only names that a node may have', () => {
  expect(() => spellNames('n1,-n2')).toThrow(/nothing to leave out/)
  expect(() => spellNames('n_[1-2]')).toThrow(/not a node name/)
  expect(() => spellNames('../etc')).toThrow(/not a node name/)
})

test('names to be made are spelled, never looked for', () => {
  expect(spellNames('x1:x3,y5+1,z[1-2]')).toEqual(['x1', 'x2', 'x3', 'y5', 'y6', 'z1', 'z2'])
  for (const text of ['/n.*/', 'arch==x86', 'n1@n2', '(n1)', '^file'])
    expect(() => spellNames(text)).toThrow(/no names to be made/)
})

test('each piece says how it was read', () => {
  const { names, readings } = explainNoderange('compute@(n[1-2],golden),-/.*2/', known)
  expect(names).toEqual(['n1'])
  expect(readings.map(({ text, how, names, depth }) => [depth, text, how, names.length])).toEqual([
    [0, 'compute', 'a group', 3],
    [0, '(n[1-2],golden)', 'and in a list', 3],
    [1, 'n[1-2]', 'a range', 2],
    [1, 'golden', 'a node', 1],
    [0, '/.*2/', 'left out: names that match', 4],
  ])
})

test('files are put in by whoever may read them', () => {
  const files: Record<string, string> = { '/tmp/some': '# rack 1\nn1\n\n n2,n3 # two\n', b: 'n2' }
  const read = (path: string) => files[path]!
  expect(readFiles('^/tmp/some,-^b', read)).toBe('(n1,n2,n3),-(n2)')
  expect(expandNoderange(readFiles('compute@^b', read), known)).toEqual(['n2'])
  expect(readFiles('/^n1/', read)).toBe('/^n1/')
  expect(() => readFiles('^e', () => '# none\n')).toThrow(/the file names no node \(e\)/)
})

test('law: any text gives known names, each once, or a UserError', () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^[nab,[\]0-9@()/+:.*^=~-]{0,40}$/))
  fc.assert(
    fc.property(text, (expression) => {
      try {
        const names = expandNoderange(expression, known)
        expect(names.every((name) => nodes.has(name))).toBe(true)
        expect(new Set(names).size).toBe(names.length)
      } catch (error) {
        expect(error).toBeInstanceOf(UserError)
      }
    }),
    { numRuns: 500 },
  )
})

test('law: what is left out is not in, and leaving out comes from what was in', () => {
  const some = fc.subarray([...nodes], { minLength: 1 })
  fc.assert(
    fc.property(some, some, (chosen, left) => {
      const text = [...chosen, ...left.map((name) => `-${name}`)].join()
      expect(expandNoderange(text, known)).toEqual(chosen.filter((name) => !left.includes(name)))
    }),
  )
})

test('law: a padded range counts what a list would', () => {
  fc.assert(
    fc.property(fc.nat(300), fc.nat(50), fc.integer({ min: 3, max: 6 }), (from, more, width) => {
      const pad = (n: number) => `n${String(n).padStart(width, '0')}`
      const list = Array.from({ length: more + 1 }, (_, i) => pad(from + i))
      expect(spellNames(`n[${pad(from).slice(1)}-${pad(from + more).slice(1)}]`)).toEqual(list)
      expect(spellNames(`${pad(from)}-${pad(from + more)}`)).toEqual(list)
    }),
  )
})
