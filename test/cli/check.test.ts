// `serve --check` as a person runs it before a restart: nothing is started, nothing is made.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'

const main = join(import.meta.dirname, '../../services/cli/main.ts')
const folder = mkdtempSync(join(tmpdir(), 'sysclone-check-'))
afterAll(() => rmSync(folder, { recursive: true }))

function check(text: string | undefined) {
  const file = join(folder, 'server.yaml')
  rmSync(file, { force: true })
  if (text !== undefined) writeFileSync(file, text)
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [main, 'serve', '--check', '--config', file],
    {
      encoding: 'utf8',
      timeout: 20_000,
    },
  )
  return { status, out: stdout, err: stderr.replaceAll(file, 'FILE') }
}
const network = 'networks: [{ interface: eth7, subnet: 10.0.0.0/24, address: 10.0.0.1 }]'

test('a good file: said so, and nothing was started or made', () => {
  const stateDir = join(folder, 'state')
  const { status, out } = check(`stateDir: ${stateDir}\n${network}\n`)
  expect([status, out.split(': ').slice(1).join(': ')]).toEqual([0, 'good; it serves 10.0.0.0/24 on eth7\n'])
  expect(existsSync(stateDir)).toBe(false)
})

test('a bad file: every fault at once with its line, exit code 1', () => {
  const text =
    'networks:\n  - interface: eth7\n    subnet: 10.0.0.0/24\n    address: 10.0.1.1\n    pool: 10.0.0.9-10.0.0.1\nhttp: { prot: 80 }\n'
  const { status, out, err } = check(text)
  expect([status, out]).toEqual([1, ''])
  expect(err.split('\n').filter(Boolean)).toEqual([
    expect.stringMatching(/^FILE:4: networks\[0\]\.address: not inside 10\.0\.0\.0\/24 /),
    expect.stringMatching(/^FILE:5: networks\[0\]\.pool: /),
    expect.stringMatching(/^FILE:6: http\.prot: no such key .*allowed: port imagePort workers imageUrls/),
  ])
})

test('no such file', () => {
  expect(check(undefined)).toMatchObject({
    status: 1,
    err: expect.stringMatching(/^FILE: the configuration can not be read \(ENOENT/),
  })
})
