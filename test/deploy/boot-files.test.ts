// The files of boot-only osimages, in a real folder.
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { openBootFiles } from '../../services/deploy/boot-files.ts'
import type { Digest } from '../../src/address.ts'

const digestOf = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}` as Digest

async function setUp() {
  const root = mkdtempSync(join(tmpdir(), 'sysclone-boot-files-'))
  onTestFinished(() => rmSync(root, { recursive: true }))
  const folder = join(root, 'bootonly')
  const { keep } = await openBootFiles(folder, new Set())
  const file = (name: string, text: string) => {
    writeFileSync(join(root, name), text)
    return join(root, name)
  }
  const blobs = () => readdirSync(join(folder, 'blobs', 'sha256')).map((name) => `sha256:${name}`)
  return { root, folder, keep, file, blobs }
}

test('what a file held is kept by digest, whatever becomes of the file', async () => {
  const { keep, file, folder, root, blobs } = await setUp()
  const [kernel, initrd] = [file('k', 'kernel'), file('i', 'x'.repeat(3_000_001))]
  symlinkSync('k', join(root, 'vmlinuz')) // as /boot has them
  const link = join(root, 'vmlinuz')
  expect(await keep([kernel, initrd, link])).toEqual({
    [kernel]: { digest: digestOf('kernel'), bytes: 6 },
    [initrd]: { digest: digestOf('x'.repeat(3_000_001)), bytes: 3_000_001 },
    [link]: { digest: digestOf('kernel'), bytes: 6 },
  })
  rmSync(kernel)
  expect(readFileSync(join(folder, 'blobs/sha256', digestOf('kernel').slice(7)), 'utf8')).toBe('kernel')
  expect(blobs()).toHaveLength(2)
  expect(readdirSync(join(folder, 'staging'))).toEqual([])
  expect(statSync(folder).mode & 0o777).toBe(0o700)
})

test('missing, empty, a folder, a named pipe: named, and nothing of the rest is kept', async () => {
  const { keep, file, root, blobs, folder } = await setUp()
  const good = file('k', 'kernel')
  mkdirSync(join(root, 'dir'))
  execFileSync('mkfifo', [join(root, 'pipe')])
  const rows = [
    [join(root, 'none'), 'the file can not be read', 'ENOENT'],
    [file('empty', ''), 'not a kernel or initrd', 'empty'],
    [join(root, 'dir'), 'not a kernel or initrd', 'not a regular file'],
    [join(root, 'pipe'), 'not a kernel or initrd', 'not a regular file'],
  ] as const
  for (const [path, error, why] of rows)
    await expect(keep([good, path])).rejects.toMatchObject({ fault: { error, what: `${path}: ${why}` } })
  expect([blobs(), readdirSync(join(folder, 'staging'))]).toEqual([[], []])
})

test('a file without permission', () => {
  // Root reads everything: the child is nobody.
  const script = `
    import { openBootFiles } from ${JSON.stringify(join(import.meta.dirname, '../../services/deploy/boot-files.ts'))}
    const folder = process.argv[1]
    const { keep } = await openBootFiles(folder, new Set())
    await keep([process.argv[2]]).catch((error) => console.log(error.message))`
  const root = mkdtempSync(join(tmpdir(), 'sysclone-boot-files-'))
  onTestFinished(() => rmSync(root, { recursive: true }))
  execFileSync('chmod', ['777', root])
  writeFileSync(join(root, 'k'), 'kernel', { mode: 0o600 })
  const argv = ['--input-type=module', '-e', script, join(root, 'folder'), join(root, 'k')]
  const { stdout } = spawnSync(process.execPath, argv, { uid: 65534, gid: 65534, encoding: 'utf8' })
  expect(stdout).toBe(`the file can not be read (${join(root, 'k')}: EACCES)\n`)
})

test('opened again: what no osimage needs is removed, and what a killed server left', async () => {
  const { keep, file, folder, blobs } = await setUp()
  await keep([file('a', 'aa'), file('b', 'bb')])
  writeFileSync(join(folder, 'staging', 'left'), 'x')
  await openBootFiles(folder, new Set([digestOf('bb')]))
  expect(blobs()).toEqual([digestOf('bb')])
  expect(readdirSync(join(folder, 'staging'))).toEqual([])
})
