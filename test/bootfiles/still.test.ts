// What can be said of the scripts that run on nodes and golden clients, or build what does, without running them.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ramdisk } from './run-phase.ts'

const phases = readdirSync(join(ramdisk, 'phases')).map((name) => `phases/${name}`)
const captures = readdirSync(join(ramdisk, '../capture')).map((name) => `../capture/${name}`)
const builds = ['build.sh', '../loaders/build.sh', '../loaders/fetch.sh']
const scripts = ['init', 'udhcpc.script', 'lib.sh', ...builds, ...phases, ...captures]
const lines = (script: string) => readFileSync(join(ramdisk, script), 'utf8').split('\n')

describe.each(scripts)('%s', (script) => {
  test('shellcheck finds nothing', () => {
    const { stdout } = spawnSync('shellcheck', ['-s', 'sh', '-x', '-P', 'SCRIPTDIR', join(ramdisk, script)], {
      encoding: 'utf8',
    })
    expect(stdout).toBe('')
  })
  test('busybox can parse it', () => {
    expect(spawnSync('busybox', ['sh', '-n', join(ramdisk, script)], { encoding: 'utf8' }).stderr).toBe('')
  })
})

const destroys =
  /^(dd|mkfs[.\w]*|mke2fs|mkswap|mount|umount|reboot|rm|sfdisk|wipefs|chroot|put|unpack|ln|sync)$/
/** Each command of a line of shell: what stands at its beginning, or after `;`, `&&`, `||`, `|`, `then`, `do`. */
function commands(line: string): string[] {
  if (/^\s*#/.test(line)) return []
  return line
    .split(/;|&&|\|\|?|\b(?:then|do|else|if|until|while)\b|\)\s/)
    .map((part) => part.trim().split(/\s/)[0]!)
}
const withoutFolder = (command: string) => command.replace(/^"\$TOOLS"\//, '')

test.each(phases)('%s: what changes the machine stands behind `run`', (phase) => {
  const bare = lines(phase).filter((line) =>
    commands(line).some((command) => destroys.test(withoutFolder(command))),
  )
  expect(bare).toEqual([])
})
test('that test would see a bare command', () => {
  for (const line of [
    'mkfs.ext4 x',
    '    [ -e x ] || rm -rf x',
    'if a; then "$TOOLS"/sfdisk x',
    'while x; do dd if=x',
    '    vfat) mkfs.vfat x ;;',
  ])
    expect(commands(line).some((command) => destroys.test(withoutFolder(command)))).toBe(true)
})

// Debian's busybox runs its applet of that name even when PATH has the real program.
const real = ['curl', 'mke2fs', 'mkswap', 'modprobe', 'sfdisk', 'sha256sum', 'tar', 'wipefs', 'zstd']
test.each(['init', 'lib.sh', ...phases])(
  '%s: programs that must not be applets are named by their path',
  (script) => {
    const bare = lines(script).filter((line) =>
      commands(line.replace(/\brun\b|\$\(/g, ';')).some((c) => real.includes(c)),
    )
    expect(bare).toEqual([])
  },
)

test('the session is never an argument of a program: printf is a part of the shell', () => {
  const wrong = [...phases, 'lib.sh'].flatMap((script) => {
    const text = lines(script)
      .join('\n')
      .replace(/\\\n\s*/g, '')
    return text
      .split('\n')
      .filter((line) => line.includes('fact session') && !/^\s*(code=\$\()?printf /.test(line))
  })
  expect(wrong).toEqual([])
})
