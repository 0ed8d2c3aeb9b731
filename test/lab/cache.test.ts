import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { cached, recipeKey } from '../../services/lab/cache.ts'

const folder = mkdtempSync(join(tmpdir(), 'sysclone-cache-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('two who want the same thing at once: one builds, the other waits and gets it whole', async () => {
  let builds = 0
  const build = async (path: string) => {
    builds++
    mkdirSync(path)
    writeFileSync(join(path, 'a'), 'half')
    await sleep(100)
    writeFileSync(join(path, 'a'), 'whole')
  }
  const paths = await Promise.all([cached(folder, 'thing', build), cached(folder, 'thing', build)])
  expect(builds).toBe(1)
  expect(paths[0]).toBe(paths[1])
  expect(readFileSync(join(paths[0], 'a'), 'utf8')).toBe('whole')
})

test('a build that failed leaves nothing that could be taken for the thing, and the next one starts afresh', async () => {
  const broken = cached(folder, 'other', async (path) => {
    writeFileSync(path, 'half')
    throw new Error('no space left')
  })
  await expect(broken).rejects.toThrow('no space left')
  expect(existsSync(join(folder, 'other'))).toBe(false)
  const path = await cached(folder, 'other', async (temporary) => {
    expect(existsSync(temporary)).toBe(false)
    writeFileSync(temporary, 'whole')
  })
  expect(readFileSync(path, 'utf8')).toBe('whole')
  expect(readdirSync(folder).filter((name) => name.startsWith('partial-'))).toEqual([])
})

test('another recipe is another key', () => {
  expect(recipeKey({ a: 1 })).toMatch(/^[0-9a-f]{16}$/)
  expect(recipeKey({ a: 1 })).not.toBe(recipeKey({ a: 2 }))
})
