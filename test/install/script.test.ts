import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { renderRefusal, renderScript } from '../../src/install/script.ts'

const folder = mkdtempSync(join(tmpdir(), 'sysclone-script-'))
afterAll(() => rmSync(folder, { recursive: true }))
const sh = (script: string) =>
  spawnSync('busybox', ['sh'], {
    input: script,
    encoding: 'utf8',
    env: { ...process.env, INSTALLER: join(folder, 'i') },
  })

const texts = {
  plan: 'node n1\nfstab it\'s $(reboot) `reboot` \\n "q"\n',
  layouts: { vda: 'label: gpt\n' },
  lib: 'run_phases() { for f in "$INSTALLER"/phases/*; do sh "$f"; done; }\n',
  phases: { '30-b.sh': 'echo second\n', '10-a.sh': 'echo "first $HOME"' },
}

test('the script writes every file as it is and runs the phases in order', () => {
  const { stdout, status, stderr } = sh(renderScript(texts))
  expect({ stdout, status, stderr }).toEqual({
    stdout: `first ${process.env.HOME}\nsecond\n`,
    status: 0,
    stderr: '',
  })
  expect(readFileSync(join(folder, 'i/plan'), 'utf8')).toBe(texts.plan)
  expect(readFileSync(join(folder, 'i/layouts/vda'), 'utf8')).toBe('label: gpt\n')
  expect(readdirSync(join(folder, 'i/phases'))).toEqual(['10-a.sh', '30-b.sh'])
})

test('any text arrives byte for byte', () => {
  const word = fc.string({ unit: 'binary' }).filter((s) => !/[\0\r]/.test(s))
  fc.assert(
    fc.property(word, (plan) => {
      const { status } = sh(
        renderScript({ ...texts, plan: `${plan}\n`, phases: {} }).replace(/run_phases\n$/, ''),
      )
      expect(status).toBe(0)
      expect(readFileSync(join(folder, 'i/plan'), 'utf8')).toBe(Buffer.from(`${plan}\n`).toString())
    }),
    { numRuns: 30 },
  )
})

test('a text that holds the end mark is refused, not cut', () => {
  expect(() => renderScript({ ...texts, plan: 'a\nEND-OF-SYSCLONE-FILE\nreboot\n' })).toThrow(
    /cannot be carried/,
  )
  expect(() => renderScript({ ...texts, layouts: { '../x y': '' } })).toThrow(/not a file name/)
})

test('a refusal only speaks', () => {
  const script = renderRefusal({ error: "it's too small", what: 'needs 2.1 GB\n$(reboot)' })
  const { stdout, status } = sh(script.replaceAll('/dev/kmsg', '/nowhere'))
  expect(stdout).toBe("sysclone: refused: it's too small (needs 2.1 GB?$(reboot))\n")
  expect(status).toBe(1)
})
