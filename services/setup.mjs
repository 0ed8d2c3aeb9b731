// The door of every npm script: npm packages, Debian packages, then Node 24. Plain JavaScript without a dependency,
// because it runs before there is anything else, under whatever Node the machine has. The second time it starts no npm
// and no apt: nothing is asked of a network.
//   node services/setup.mjs COMMAND [-- ARGUMENT...]
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'

const root = join(import.meta.dirname ?? dirname(new URL(import.meta.url).pathname), '..')
const node24 = join(root, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node')
const quiet = '--disable-warning=ExperimentalWarning'
/** Node 24 keeps there what it compiled; a file that changed is compiled anew. */
const compiled = { NODE_COMPILE_CACHE: join(process.env.SYSCLONE_CACHE || '/var/cache/sysclone', 'compiled') }
const cli = [node24, quiet, join(root, 'services/cli/main.ts')]

// Debian packages, by what they are for. Those that build what nodes load are named beside their build scripts.
const bootfiles = ['ramdisk', 'loaders'].flatMap((folder) =>
  readLines(join(root, 'bootfiles', folder, 'packages')),
)
const node = ['iproute2', 'util-linux']
// What carries archives of golden clients.
const server = ['openssh-client']
const lab = [
  ...['qemu-system-x86', 'ovmf', 'ipxe-qemu', 'seabios', 'mmdebstrap', 'debian-archive-keyring', 'mtools'],
  ...['openssh-client', 'fdisk', 'e2fsprogs', 'dosfstools', 'tar', 'zstd'],
]
// Machines of other processors, and what else stands in a network: for the matrix of netboot paths.
const matrix = [
  // SLOF comes with qemu-system-ppc.
  ...['qemu-system-arm', 'qemu-efi-aarch64', 'qemu-system-ppc', 'dnsmasq-base', 'isc-dhcp-relay'],
  ...['tcpdump', 'cpio', 'kmod', 'gzip', 'procps', 'ipxe'],
]
// Golden clients of several makes, and a root tarball: an sshd to jump over, and what reads and writes attributes.
const golden = ['openssh-server', 'attr', 'acl', 'libcap2-bin']
const testPeers = [
  ...['busybox-static', 'shellcheck', 'grub-common', 'grub-pc-bin', 'grub-efi-amd64-bin'],
  ...[
    'udhcpc',
    'isc-dhcp-client',
    'dhcpcd-base',
    'isc-dhcp-relay',
    'dnsmasq-base',
    'kea-admin',
    'nmap',
    'nftables',
    'systemd',
  ],
  ...['tftp-hpa', 'curl', 'tcpdump', 'skopeo', 'zstd', 'cpio'],
  ...['openssh-server', 'openssh-client', 'attr', 'acl', 'libcap2-bin', 'e2fsprogs', 'dosfstools', 'fdisk'],
  ...['mtools', 'kmod', 'atftp', 'nftables', 'nginx-light', 'sudo'],
  // What else reads images.
  ...['podman', 'crun', 'docker-registry', 'openssl', 'xz-utils', 'gzip'],
]
// What we are measured against, and the clients: perfdhcp is in kea-admin, ours is compiled.
const benchPeers = [
  ...['kea-dhcp4-server', 'kea-admin', 'dnsmasq-base', 'tftpd-hpa', 'nginx-light', 'nftables'],
  ...['gcc', 'libc6-dev', 'procps'],
  ...['rsync', 'openssh-server', 'openssh-client', 'iproute2', 'libcap2-bin', 'zstd', 'kmod'],
]

// command -> its Debian packages, and what is run, one after the other until one fails.
const commands = {
  sysclone: { packages: (args) => neededBy(args[0]), run: (args) => [[...cli, ...args]] },
  start: { packages: () => [...node, ...server, ...bootfiles], run: (args) => [[...cli, 'serve', ...args]] },
  demo: {
    packages: () => [...node, ...bootfiles, ...lab],
    run: (args) => [[...cli, 'lab', 'demo', ...args]],
  },
  check: { packages: () => [], run: () => checks() },
  test: {
    packages: () => [...node, ...bootfiles, ...testPeers],
    run: (args) => [...checks(), vitest('vitest.config.ts', args)],
  },
  bench: {
    packages: () => [...node, ...bootfiles, ...benchPeers],
    run: (args) => [[node24, quiet, join(root, 'test/bench/run.ts'), ...args]],
  },
  'test:vm': {
    packages: () => [...node, ...bootfiles, ...lab, ...matrix, ...golden],
    run: (args) => [vitest('test/vm/vitest.config.ts', args)],
  },
}

/** Three commands of the command line do their work here; the others talk to a server. */
function neededBy(command) {
  if (command === 'serve') return commands.start.packages()
  if (command === 'bootfiles') return [...node, ...bootfiles]
  if (command === 'lab') return commands.demo.packages()
  return []
}

function checks() {
  return [
    [node24, join(root, 'node_modules/typescript/bin/tsc'), '--noEmit', '-p', root],
    [node24, join(root, 'node_modules/@biomejs/biome/bin/biome'), 'check', root],
  ]
}

/** SYSCLONE_TEST_REPORT names a file that gets the results as JSON, beside what is printed. */
function vitest(config, args) {
  const report = process.env.SYSCLONE_TEST_REPORT
  const reporters = report ? ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`] : []
  return [
    node24,
    quiet,
    join(root, 'node_modules/vitest/vitest.mjs'),
    'run',
    '--root',
    root,
    '--config',
    join(root, config),
    ...reporters,
    ...args,
  ]
}

async function main() {
  const [name, ...rest] = process.argv.slice(2)
  const args = rest[0] === '--' ? rest.slice(1) : rest
  const command = Object.hasOwn(commands, name ?? '') ? commands[name] : undefined
  if (!command) throw new Stop(`no command ${name ?? ''} (allowed: ${Object.keys(commands).join(' ')})`, 2)
  if (!newEnough(process.versions.node))
    throw new Stop(`Node ${process.versions.node} is too old (allowed: 20.19 or newer)`)
  await npmPackages()
  await debianPackages(command.packages(args))
  const steps = command.run(args)
  for (const argv of steps) {
    if (steps.length > 1) say(`$ ${argv.slice(1).join(' ').replaceAll(`${root}/`, '')}`)
    const code = await run(argv, { cwd: workingFolder(name), env: compiled })
    if (code !== 0) return code
  }
  return 0
}

/** npm starts scripts in the checkout; paths that a person typed are meant from where they typed them. */
function workingFolder(name) {
  const typedIn = name === 'sysclone' || name === 'start' ? process.env.INIT_CWD : undefined
  return typedIn && existsSync(typedIn) ? typedIn : root
}

/** Below 20.19 npm leaves out the native parts of some packages as if they were for another system. */
function newEnough(version) {
  const [major, minor] = version.split('.').map(Number)
  return major > 20 || (major === 20 && minor >= 19)
}

async function npmPackages() {
  const stamp = join(root, 'node_modules/.sysclone-stamp')
  const wanted = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex')
  if (readLines(stamp)[0] === wanted && existsSync(node24)) return
  say('installing npm packages as package-lock.json names them')
  // loglevel: packages say that they want a newer Node; they get one, this is only npm's.
  const code = await run([...npm(), 'ci', '--loglevel=error'], { cwd: root, quiet: true })
  if (code !== 0) throw new Stop(`npm ci failed with exit code ${code}`)
  if (!existsSync(node24)) throw new Stop(`there is no Node 24 for ${process.arch} (allowed: x64, arm64)`)
  writeFileSync(stamp, `${wanted}\n`)
}

/** The npm that started us, else the one in PATH. */
function npm() {
  const own = process.env.npm_execpath
  return own && /npm-cli\.c?js$/.test(own) && existsSync(own) ? [process.execPath, own] : ['npm']
}

async function debianPackages(wanted) {
  const missing = await notInstalled([...new Set(wanted)].sort())
  if (missing.length === 0) return
  if (process.getuid() !== 0)
    throw new Stop(
      `Debian packages are missing; as root: apt-get install --no-install-recommends ${missing.join(' ')}`,
    )
  say(`installing Debian packages: ${missing.join(' ')}`)
  const apt = ['apt-get', '-qq', '-o', 'DPkg::Lock::Timeout=300']
  const env = { DEBIAN_FRONTEND: 'noninteractive' }
  const updated = await run([...apt, 'update'], { env, quiet: true })
  if (updated !== 0) throw new Stop(`apt-get update failed with exit code ${updated}`)
  const code = await withoutDaemons(() =>
    run([...apt, '-y', '--no-install-recommends', 'install', ...missing], { env, quiet: true }),
  )
  if (code !== 0) throw new Stop(`apt-get install failed with exit code ${code}`)
  const still = await notInstalled(missing)
  if (still.length > 0) throw new Stop(`still not installed: ${still.join(' ')}`)
}

async function notInstalled(names) {
  if (names.length === 0) return []
  const lines = []
  const format = '${Package} ${db:Status-Status}\n'
  await run(['dpkg-query', '-W', '-f', format, ...names], { lines }) // 1: some are unknown to it
  const installed = new Set(
    lines.filter((line) => line.endsWith(' installed')).map((line) => line.split(' ')[0]),
  )
  return names.filter((name) => !installed.has(name))
}

/** Debian starts a daemon when its package is installed (sshd); a policy of 101 says no. An own policy stays as it is. */
async function withoutDaemons(work) {
  const policy = '/usr/sbin/policy-rc.d'
  if (existsSync(policy)) return work()
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    return await work()
  } finally {
    rmSync(policy, { force: true })
  }
}

/** Runs a command; `quiet` shows its output only when it fails, `lines` takes its stdout. Signals are passed on. */
function run(argv, { cwd = root, env = {}, quiet = false, lines } = {}) {
  const path = `${dirname(node24)}${delimiter}${process.env.PATH}`
  const PATH = quiet || lines ? process.env.PATH : path // npm and apt run under the machine's own Node
  const stdio = quiet ? ['ignore', 'pipe', 'pipe'] : lines ? ['ignore', 'pipe', 'ignore'] : 'inherit'
  const child = spawn(argv[0], argv.slice(1), { cwd, stdio, env: { ...process.env, ...env, PATH } })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk) => {
      output += chunk
    })
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
  const pass = (signal) => child.kill(signal)
  for (const signal of signals) process.on(signal, pass)
  return new Promise((resolve) => {
    child.once('error', (error) => {
      process.stderr.write(`setup: ${argv[0]}: ${error.message}\n`)
      resolve(127)
    })
    child.once('close', (code, signal) => {
      for (const name of signals) process.off(name, pass)
      lines?.push(...output.split('\n'))
      if (quiet && code !== 0) process.stderr.write(output)
      resolve(code ?? 128 + constants.signals[signal])
    })
  })
}

function readLines(file) {
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : []
}
function say(line) {
  process.stderr.write(`setup: ${line}\n`)
}
/** Ends the set-up with one line for the person and an exit code. */
class Stop extends Error {
  constructor(line, code = 1) {
    super(line)
    this.code = code
  }
}

process.exitCode = await main().catch((error) => {
  if (!(error instanceof Stop)) throw error
  say(error.message)
  return error.code
})
