import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { cutLayers, layerCount, weightOf } from '../../src/image/cut-layers.ts'
import type { Seen } from '../../src/image/rows.ts'
import { cutListLine } from '../../src/image/rows.ts'

type File = { path: string; size: number; group: string; links: string; type: string }
const seen = ({ path, size, group, links, type }: File): Seen =>
  cutListLine(`1\t${group}\t${links}\t${type}\t644\t0\t0\t${type === 'd' ? '-' : size}\t1\t-\t${path}\t`)

describe('layers', () => {
  const files = fc
    .array(fc.tuple(fc.integer({ min: 0, max: 2e8 }), fc.integer({ min: 0, max: 12 })), {
      minLength: 1,
      maxLength: 60,
    })
    .map((facts) =>
      facts.map(([size, group], i) => {
        const several = group < 4
        return seen({
          path: `f${String(i).padStart(3, '0')}`,
          size,
          group: several ? String(group) : String(100 + i),
          links: several ? '3' : '1',
          type: 'f',
        })
      }),
    )

  test('1 to 3 layers of files; links of one file together', () => {
    fc.assert(
      fc.property(files, (list) => {
        const weight = list.reduce((sum, each) => sum + weightOf(each), 0)
        const count = layerCount(weight)
        expect(count).toBeGreaterThanOrEqual(1)
        expect(count).toBeLessThanOrEqual(3)
        const layerOf = cutLayers({ weight, count }, ({ inode }) => inode)
        const layers = new Map<string, Set<number>>()
        for (const each of list) {
          const layer = layerOf(each)
          expect(layer).toBeGreaterThanOrEqual(0)
          expect(layer).toBeLessThan(count)
          layers.set(each.inode, (layers.get(each.inode) ?? new Set()).add(layer))
        }
        for (const found of layers.values()) expect(found.size).toBe(1)
      }),
    )
  })

  test('about equal weight', () => {
    const list = Array.from({ length: 3000 }, (_, i) =>
      seen({ path: `usr/${i}`, size: (i * 7919) % 500_000, group: String(i), links: '1', type: 'f' }),
    )
    const weight = list.reduce((sum, each) => sum + weightOf(each), 0)
    const layerOf = cutLayers({ weight, count: 3 }, () => '')
    const sizes = [0, 0, 0]
    for (const each of list) sizes[layerOf(each)]! += weightOf(each)
    for (const size of sizes) expect(size / (weight / 3)).toBeCloseTo(1, 1)
  })

  test('nothing but directories needs no layer of files', () => {
    expect(layerCount(weightOf(seen({ path: 'd', size: 0, group: '1', links: '9', type: 'd' })))).toBe(0)
  })
})
