import fc from 'fast-check'
import { expect, test } from 'vitest'
import { UserError } from '../src/fault.ts'
import { parseXml } from '../src/xml.ts'

test('elements, text, comments, CDATA, the five named characters', () => {
  const text = `<?xml version="1.0"?>
<!DOCTYPE cluster SYSTEM "cluster.dtd">
<!-- <group> in a comment -->
<a x="1" y='2'>
  <b>one &amp; &#x26; &lt;two&gt;</b><c/>
  <b><![CDATA[<three> &amp;]]></b>
</a>
`
  const root = parseXml(text, 'f')
  expect([root.name, root.line]).toEqual(['a', 4])
  expect(root.children.map(({ name, line, text }) => [name, line, text])).toEqual([
    ['b', 5, 'one & & <two>'],
    ['c', 5, ''],
    ['b', 6, '<three> &amp;'],
  ])
})

const wrong: [text: string, where: number, error: RegExp][] = [
  ['', 1, /no element/],
  ['<a>\n<b>\n</a>', 3, /closes what is not open/],
  ['<a>\n', 1, /<a> is not closed/],
  ['<a/>\n<b/>', 2, /more than one root/],
  ['<a/>\nx', 2, /text outside/],
  ['<a>\n&nbsp;</a>', 2, /not a known entity/],
  ['<a>&constructor;</a>', 1, /not a known entity/],
  ['<a>&#0;</a>', 1, /not a known entity/],
  ['<a>x & y</a>', 1, /not a known entity/],
  ['<a\n', 1, /not XML/],
  ['<!DOCTYPE a [<!ENTITY l "lol"><!ENTITY m "&l;&l;">]>\n<a>&m;</a>', 1, /a declaration that is not read/],
  ['<a>'.repeat(17), 1, /deeper than 16/],
  [`<a>${'<b/>'.repeat(500_000)}</a>`, 1, /more than 500000 elements/],
]
for (const [text, line, error] of wrong)
  test(`refused: ${JSON.stringify(text.slice(0, 60))}`, () => {
    let caught: unknown
    try {
      parseXml(text, 'f')
    } catch (thrown) {
      caught = thrown
    }
    expect(caught).toBeInstanceOf(UserError)
    expect((caught as UserError).fault).toMatchObject({
      error: expect.stringMatching(error),
      object: `f:${line}`,
    })
  })

test('law: any text is read or refused, and in time', () => {
  const pieces = fc.constantFrom(
    '<a>',
    '</a>',
    '<b x="1"/>',
    '<!--',
    '-->',
    '<![CDATA[',
    ']]>',
    '&lt;',
    '&',
    '<',
    ' ',
    '\n',
    'x',
  )
  fc.assert(
    fc.property(fc.array(fc.oneof(pieces, fc.string()), { maxLength: 30 }), (parts) => {
      try {
        parseXml(parts.join(''), 'f')
      } catch (error) {
        expect(error).toBeInstanceOf(UserError)
      }
    }),
  )
  const start = performance.now()
  parseXml(`<a>${'<b>x</b>'.repeat(200_000)}</a>`, 'f') // one line: its end is looked for once
  expect(performance.now() - start).toBeLessThan(3000)
})
