import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseCsv, renderCsv } from '../../src/definition/csv.ts'
import { type Definition, placed, type Unplaced } from '../../src/definition/definition.ts'
import { parseStanzas, renderStanzas } from '../../src/definition/stanza.ts'
import { parseYaml, renderYaml } from '../../src/definition/yaml.ts'
import { UserError } from '../../src/fault.ts'

const plain = (all: Definition[]): Unplaced[] => all.map(({ type, name, attrs }) => ({ type, name, attrs }))
const sample: Unplaced[] = [
  { type: 'group', name: 'rack1', attrs: { where: 'arch==x86_64::groups=~a' } },
  { type: 'node', name: 'n1', attrs: { groups: 'all,rack1', kcmdline: 'a=[1,2] b=c' } },
  { type: 'node', name: 'n2', attrs: {} },
]
const stanzas = `# <xCAT data object stanza file>

rack1:
    objtype=group
    where=arch==x86_64::groups=~a

n1:
    objtype=node
    groups=all,rack1
    kcmdline=a=[1,2] b=c

n2:
    objtype=node
`
test('stanzas: written as xCAT writes them, and read back', () => {
  expect(renderStanzas(sample)).toBe(stanzas)
  const read = parseStanzas(stanzas, 'node')
  expect(plain(read)).toEqual(sample)
  expect(read[1]).toMatchObject({ line: 7, lines: { groups: 9, kcmdline: 10 } })
  expect(parseStanzas('x:\n\tip=10.0.0.7\n', 'osimage')).toMatchObject([{ type: 'osimage', name: 'x' }])
})

test('YAML: written, and read back; lists and numbers are texts', () => {
  expect(plain(parseYaml(renderYaml(sample)))).toEqual(sample)
  const text = 'node:\n  n1:\n    groups: [a, b]\n    serialport: 0\n    ip:\n    lock: 1\n  n2:\nosimage:\n'
  const read = parseYaml(text)
  expect(plain(read)).toEqual([
    { type: 'node', name: 'n1', attrs: { groups: 'a,b', serialport: '0', ip: '', lock: '1' } },
    { type: 'node', name: 'n2', attrs: {} },
  ])
  expect(read[0]).toMatchObject({ line: 2, lines: { groups: 3, ip: 5 } })
})

test('CSV: written, and read back; quotes, and lines as an editor counts them', () => {
  const nodes = sample.filter(({ type }) => type === 'node')
  expect(renderCsv('node', nodes)).toBe('node,groups,kcmdline\nn1,"all,rack1","a=[1,2] b=c"\nn2,,\n')
  expect(plain(parseCsv(renderCsv('node', nodes)))).toEqual([
    nodes[0],
    { ...nodes[1], attrs: { groups: '', kcmdline: '' } },
  ])
  const read = parseCsv('\ufeffnode,usercomment\r\nn1,"two ""words"",\nx"\r\n\r\nn2,b')
  expect(read).toMatchObject([
    { name: 'n1', attrs: { usercomment: 'two "words",\nx' }, line: 2 },
    { name: 'n2', attrs: { usercomment: 'b' }, line: 5 },
  ])
})

const word = fc.stringMatching(/^[!-~]([ -~]{0,20}[!-~])?$/)
const definitions = fc.uniqueArray(
  fc.record({
    type: fc.constantFrom('node' as const, 'group' as const, 'osimage' as const),
    name: fc.stringMatching(/^[a-z][a-z0-9.-]{0,10}$/),
    attrs: fc.dictionary(
      fc.stringMatching(/^[a-z]\w{0,8}$/).filter((name) => name !== 'objtype'),
      word,
    ),
  }),
  { selector: ({ type, name }) => `${type} ${name}` },
)
test('law: whatever is written comes back', () => {
  fc.assert(
    fc.property(definitions, (all) => {
      expect(plain(parseStanzas(renderStanzas(all), 'node'))).toEqual(all)
      const sorted = [...new Set(all.map(({ type }) => type))].flatMap((type) =>
        all.filter((each) => each.type === type),
      )
      expect(plain(parseYaml(renderYaml(all)))).toEqual(sorted)
      const nodes = all.filter(({ type }) => type === 'node')
      const back = parseCsv(renderCsv('node', nodes))
      expect(renderCsv('node', plain(back))).toBe(renderCsv('node', nodes))
    }),
    { numRuns: 300 },
  )
})

test('law: any text is read or refused with a line', () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^(node|n1|objtype|[:,="'&*#?| \n\t-]){0,15}$/))
  fc.assert(
    fc.property(text, (each) => {
      for (const parse of [parseYaml, parseCsv, (t: string) => parseStanzas(t, 'node')])
        try {
          parse(each)
        } catch (error) {
          expect(error).toBeInstanceOf(UserError)
          expect((error as UserError).fault.object).toMatch(/^line \d+$/)
        }
    }),
    { numRuns: 1000 },
  )
})

const bad: [parse: (text: string) => unknown, text: string, message: RegExp][] = [
  [(t) => parseStanzas(t, 'node'), 'n1:\n  ip\n', /line 2: not attr=value \(ip/],
  [(t) => parseStanzas(t, 'node'), '  ip=1\n', /line 1: an attribute before the first object/],
  [(t) => parseStanzas(t, 'node'), 'n1:\nip=1\n', /line 2: neither an object nor an attribute/],
  [
    (t) => parseStanzas(t, 'node'),
    'n1:\n\nn1:\n',
    /line 3: the node is given twice \(n1; allowed: it is in line 1 too/,
  ],
  [(t) => parseStanzas(t, 'node'), 'n1:\n  ip=1\n  ip=2\n', /line 3: ip is given twice/],
  [
    (t) => parseStanzas(t, 'node'),
    'n1:\n  objtype=site\n',
    /line 2: no such type of object \(site; allowed: node \| group/,
  ],
  [parseCsv, 'node,ip\nn1\n', /line 2: another number of cells than in the first line \(1; allowed: 2/],
  [parseCsv, 'node,ip\nn1,"a\n', /line 2: quotes do not match/],
  [parseCsv, 'host,ip\n', /line 1: no such type/],
  [parseCsv, 'node,ip,ip\n', /line 1: the column is given twice/],
  [parseYaml, 'node:\n  n1: {ip: [}\n', /line 2: not YAML/],
  [parseYaml, 'node:\n  n1:\n  n1:\n', /line 3: the node is given twice/],
  [parseYaml, 'node:\n  n1:\n    ip: {a: b}\n', /line 3: not a value/],
  [parseYaml, 'node: [n1]\n', /line 1: not a list of names/],
  [parseYaml, 'node:\n  n1: &a\n    ip: 1\n  n2: *a\n', /line 4: not a list of attributes/],
]
describe('what is refused', () => {
  for (const [parse, text, message] of bad)
    test(JSON.stringify(text), () => expect(() => parse(text)).toThrow(message))
})

test('a fault of the server finds its line', () => {
  const all = parseStanzas(stanzas, 'node')
  const at = (fault: object) => placed({ error: 'x', what: 'y', ...fault }, 'f', all).object
  expect(at({ object: 'n1', error: 'kcmdline: too long' })).toBe('f: line 10: n1')
  expect(at({ object: 'n1', error: 'no such attribute', what: 'groups' })).toBe('f: line 9: n1')
  expect(at({ object: 'n2', error: 'the node exists already' })).toBe('f: line 12: n2')
  expect(at({ object: 'line 3' })).toBe('f: line 3')
  expect(at({})).toBe('f')
})
