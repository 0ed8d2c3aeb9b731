import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'

const main = join(import.meta.dirname, '../../services/cli/main.ts')
const cache = mkdtempSync(join(tmpdir(), 'sysclone-compiled-'))
afterAll(() => rmSync(cache, { recursive: true }))

function help(cacheDir: string) {
  const env = { PATH: process.env.PATH, SYSCLONE_CACHE: cacheDir }
  return spawnSync(process.execPath, [main, 'nodeset', '--help'], { env, encoding: 'utf8' })
}

test('what a command compiled is kept beside the other caches, and the next one uses it', () => {
  const first = help(cache)
  expect(first.status).toBe(0)
  const kept = () => readdirSync(join(cache, 'compiled'), { recursive: true }).sort()
  const before = kept()
  expect(before.length).toBeGreaterThan(5)
  expect(help(cache).stdout).toBe(first.stdout)
  expect(kept()).toEqual(before)
})

test('where nothing can be kept commands work all the same', () => {
  expect(help('/dev/null/cache')).toMatchObject({ status: 0, stderr: expect.not.stringMatching(/cache/) })
})
