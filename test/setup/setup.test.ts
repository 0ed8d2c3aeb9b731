// The door of every npm script, run in a copy of the tree whose npm, apt-get and dpkg-query only write down that they
// were called. /usr/sbin is a fresh tmpfs in a mount namespace of its own: the policy file is never made on this machine.
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'

const checkout = join(import.meta.dirname, '../..')
let home: string
const path = (...parts: string[]) => join(home, ...parts)

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'sysclone-setup-'))
  for (const file of [
    'services/setup.mjs',
    'package-lock.json',
    'package.json',
    'bootfiles/ramdisk/packages',
    'bootfiles/loaders/packages',
  ])
    cpSync(join(checkout, file), path(file), { recursive: true })
  mkdirSync(path('bin'))
  mkdirSync(path('services/cli'), { recursive: true })
  writeFileSync(
    path('services/cli/main.ts'),
    'console.log(JSON.stringify({ args: process.argv.slice(2), cwd: process.cwd() }))\nprocess.exit(Number(process.env.EXIT ?? 0))',
  )
  writeFileSync(path('installed'), '')
  fake(
    'npm',
    `mkdir -p node_modules/node-linux-${process.arch}/bin
ln -s ${process.execPath} node_modules/node-linux-${process.arch}/bin/node`,
  )
  fake(
    'apt-get',
    `[ ! -e /usr/sbin/policy-rc.d ] || echo "policy: $(/usr/sbin/policy-rc.d; echo $?)" >> ${path('calls')}
case " $* " in *" install "*) for word; do echo "$word installed"; done >> ${path('installed')} ;; esac`,
  )
  fake('dpkg-query', `grep -v '^-' ${path('installed')} || true; exit 1`, false)
})
afterEach(() => rmSync(home, { recursive: true }))

function fake(name: string, script: string, logged = true) {
  const log = logged ? `echo "${name} $*" >> ${path('calls')}\n` : ''
  writeFileSync(path('bin', name), `#!/bin/sh\n${log}${script}\n`, { mode: 0o755 })
}

function setup(args: string[], env: Record<string, string> = {}) {
  const { npm_execpath: _, INIT_CWD: __, ...own } = process.env
  const inside =
    'mount -t tmpfs none /usr/sbin && "$@"; code=$?; [ ! -e /usr/sbin/policy-rc.d ] || echo policy left; exit $code'
  const argv = ['--mount', 'sh', '-c', inside, 'sh', process.execPath, path('services/setup.mjs'), ...args]
  const PATH = `${path('bin')}:${own.PATH}`
  const { status, stdout, stderr } = spawnSync('unshare', argv, {
    env: { ...own, PATH, ...env },
    encoding: 'utf8',
    cwd: '/',
  })
  return { status, stdout, stderr }
}
const calls = () => (existsSync(path('calls')) ? readFileSync(path('calls'), 'utf8').trim().split('\n') : [])

test('the first run installs and says so; the second asks neither npm nor apt', () => {
  const first = setup(['start', '--', '--config', 'lab.yaml'])
  expect(first).toMatchObject({ status: 0 })
  expect(JSON.parse(first.stdout)).toEqual({ args: ['serve', '--config', 'lab.yaml'], cwd: home })
  expect(first.stderr).toMatch(/setup: installing npm packages/)
  expect(first.stderr).toMatch(/setup: installing Debian packages: .*\bbusybox-static\b/)
  expect(calls()[0]).toBe('npm ci --loglevel=error')
  expect(calls().filter((call) => / update$/.test(call))).toHaveLength(1)
  expect(calls().at(-2)).toMatch(/^apt-get .*--no-install-recommends install .*\bgrub-efi-amd64-bin\b/)
  expect(calls().at(-1)).toBe('policy: 101') // no daemon is started by an installation
  expect(first.stdout).not.toMatch(/policy left/)
  rmSync(path('calls'))
  const second = setup(['start', '--', '--config', 'lab.yaml'])
  expect(second).toEqual({ status: 0, stdout: first.stdout, stderr: '' })
  expect(calls()).toEqual([])
})

test('another lock file is installed anew', () => {
  setup(['sysclone', '--', 'lsdef'])
  writeFileSync(path('package-lock.json'), '{}')
  rmSync(path('node_modules'), { recursive: true })
  setup(['sysclone', '--', 'lsdef'])
  expect(calls().filter((call) => call.startsWith('npm'))).toHaveLength(2)
})

test("a command that talks to a server needs no Debian packages; its exit code and folder are the caller's", () => {
  const { status, stdout } = setup(['sysclone', '--', 'lsdef', '-t', 'node', 'n1'], {
    EXIT: '2',
    INIT_CWD: '/usr',
  })
  expect(status).toBe(2)
  expect(JSON.parse(stdout)).toEqual({ args: ['lsdef', '-t', 'node', 'n1'], cwd: '/usr' })
  expect(calls()).toEqual(['npm ci --loglevel=error'])
})

test('npm that fails: its words, its exit code, and no stamp', () => {
  fake('npm', 'echo "npm error network" >&2; exit 7')
  const { status, stderr } = setup(['sysclone', '--', 'lsdef'])
  expect(status).toBe(1)
  expect(stderr).toMatch(/npm error network\n.*npm ci failed with exit code 7/s)
  expect(existsSync(path('node_modules/.sysclone-stamp'))).toBe(false)
})

test('apt that fails: what it said, and the policy is taken away', () => {
  fake('apt-get', 'case " $* " in *" install "*) echo "E: Unable to locate package" >&2; exit 100 ;; esac')
  const { status, stdout, stderr } = setup(['demo'])
  expect(status).toBe(1)
  expect(stderr).toMatch(/Unable to locate package\n.*apt-get install failed with exit code 100/s)
  expect(stdout).toBe('')
})

test('without root: a message that names the packages', () => {
  setup(['sysclone', '--', 'lsdef'])
  const reader = ['--reuid', '65534', '--regid', '65534', '--clear-groups', process.execPath]
  const node = path(`node_modules/node-linux-${process.arch}/bin/node`)
  rmSync(node) // a link to where this reader may have no business; that it is there is all that counts here
  writeFileSync(node, '')
  spawnSync('chmod', ['755', home])
  const argv = [...reader, path('services/setup.mjs'), 'demo']
  const { status, stderr } = spawnSync('setpriv', argv, {
    env: { PATH: `${path('bin')}:${process.env.PATH}` },
    encoding: 'utf8',
  })
  expect(status).toBe(1)
  expect(stderr).toMatch(/as root: apt-get install --no-install-recommends .*qemu-system-x86/)
})

test('an unknown command is a usage error that names the known ones', () => {
  const { status, stderr } = setup(['toString'])
  expect(status).toBe(2)
  expect(stderr).toBe('setup: no command toString (allowed: sysclone start demo check test bench test:vm)\n')
})
