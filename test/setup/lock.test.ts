import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

type Entry = { optionalDependencies?: Record<string, string>; version?: string }
const lock = JSON.parse(readFileSync(join(import.meta.dirname, '../../package-lock.json'), 'utf8'))
const packages = lock.packages as Record<string, Entry>

// npm leaves out what its registry does not have, and `npm ci` then refuses the whole file on every other machine.
test('the lock file names every optional package of every package', () => {
  const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (name) => !packages[`${path}/node_modules/${name}`] && !packages[`node_modules/${name}`],
    ),
  )
  expect(missing).toEqual([])
  expect(Object.keys(packages).length).toBeGreaterThan(100)
})

test('versions are exact', () => {
  const { dependencies, devDependencies, optionalDependencies } = JSON.parse(
    readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'),
  )
  const all = Object.values({ ...dependencies, ...devDependencies, ...optionalDependencies }) as string[]
  expect(all.filter((version) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([])
})
