// The import table of the house. A reader finds the room for a change from the folder names alone; this keeps it so.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')
const files = ['src', 'services', 'test'].flatMap((top) =>
  readdirSync(join(root, top), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `${top}/${name}`),
)

type Import = { from: string; to: string; typeOnly: boolean }
const imports: Import[] = files.flatMap((from) => {
  const text = readFileSync(join(root, from), 'utf8')
  const statements = text.matchAll(
    /^(?:import|export)\s+(type\s)?(?:[\w*{][^'"`;=]*?\sfrom\s+)?['"]([^'"]+)['"]/gm,
  )
  const dynamic = text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g)
  return [
    ...[...statements].map((m) => ({ from, to: resolve(from, m[2]!), typeOnly: m[1] !== undefined })),
    ...[...dynamic].map((m) => ({ from, to: resolve(from, m[1]!), typeOnly: false })),
  ]
})
function resolve(from: string, specifier: string) {
  return specifier.startsWith('.') ? normalize(join(dirname(from), specifier)) : specifier
}

/** Packages that compute and do nothing else: the only ones the core may use. */
const purePackages = [
  'yaml',
  'ipaddr.js',
  'typebox',
  'typebox/value',
  'typebox/schema',
  'node:crypto',
  'node:buffer',
]
/** Folders of services that every other service may use. */
const shared = ['services/store/', 'services/remote/', 'services/net/']
/** The files that wire: they may import any service. */
const entries = [
  'services/serve.ts',
  'services/main.ts',
  'services/boot.ts',
  'services/job.ts',
  'services/blob.ts',
  'services/cli/serve.ts',
  'services/cli/lab.ts',
  'services/cli/bootfiles.ts',
]

const isLocal = (to: string) => /^(src|services|bootfiles|test)\//.test(to)
const room = (file: string) => `${file.split('/').slice(0, 2).join('/')}/`

test('every file that is imported exists', () => {
  const known = new Set(files)
  expect(imports.filter((i) => isLocal(i.to) && !known.has(i.to))).toEqual([])
  expect(imports.length).toBeGreaterThan(files.length / 2) // the reader of imports itself still reads
})

test('src imports only src and pure packages', () => {
  const wrong = imports.filter(
    (i) => i.from.startsWith('src/') && !i.to.startsWith('src/') && !purePackages.includes(i.to),
  )
  expect(wrong).toEqual([])
})

test('src has no clock and no random numbers', () => {
  const ambient =
    /\b(Date\.now\(\)|new Date\(\)|Math\.random|randomBytes|randomUUID|process\.[a-z]|setTimeout|setInterval)/
  const wrong = files.filter(
    (file) => file.startsWith('src/') && ambient.test(readFileSync(join(root, file), 'utf8')),
  )
  expect(wrong).toEqual([])
})

test('services import src, their own folder and the shared ones; entry files wire the rest', () => {
  const wrong = imports.filter((i) => {
    if (!i.from.startsWith('services/') || entries.includes(i.from) || i.typeOnly || !isLocal(i.to))
      return false
    if (i.to.startsWith('src/') || i.to === 'services/emit.ts') return false
    return room(i.from) !== room(i.to) && !shared.some((folder) => i.to.startsWith(folder))
  })
  expect(wrong).toEqual([])
})

test('nothing outside test imports test', () => {
  expect(imports.filter((i) => !i.from.startsWith('test/') && i.to.startsWith('test/'))).toEqual([])
})

test('no cycles', () => {
  const edges = new Map(files.map((file) => [file, imports.filter((i) => i.from === file && !i.typeOnly)]))
  const done = new Set<string>()
  const cycles: string[] = []
  function visit(file: string, path: string[]) {
    if (path.includes(file)) return void cycles.push([...path.slice(path.indexOf(file)), file].join(' -> '))
    if (done.has(file)) return
    for (const { to } of edges.get(file) ?? []) if (isLocal(to)) visit(to, [...path, file])
    done.add(file)
  }
  for (const file of files) visit(file, [])
  expect(cycles).toEqual([])
})

test('no barrels, no default exports, no rooms without a name', () => {
  expect(files.filter((file) => /(^|\/)(index|utils?|helpers?|common|misc)\.ts$/.test(file))).toEqual([])
  const wrong = files.filter(
    (file) => !file.startsWith('test/') && /^export default /m.test(readFileSync(join(root, file), 'utf8')),
  )
  expect(wrong).toEqual([])
})
