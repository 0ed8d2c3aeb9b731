// A made-up golden client: a tree of hard cases, and a real sshd on loopback to capture it through.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, linkSync, mkdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { CaptureNeeds } from '../../services/capture/capture.ts'
import { type CaptureScripts, captureScripts } from '../../services/capture/scripts.ts'
import { parseImageName } from '../../src/address.ts'

export const release = '6.1.0-fixture'
export const shim = 'MZ shim that Debian signed'
export const initrd = 'initramfs of the golden client'
export const signedGrub = 'MZ GRUB for the network'
const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })

/** Names that need not be UTF-8: given as bytes. */
const bytes = (root: string, name: string): Buffer =>
  Buffer.concat([Buffer.from(`${root}/`), Buffer.from(name, 'latin1')])

export function makeTree(root: string) {
  const file = (path: string, content: string | Buffer, mode = 0o644) => {
    mkdirSync(join(root, path, '..'), { recursive: true })
    writeFileSync(join(root, path), content)
    chmodSync(join(root, path), mode)
  }
  file('etc/os-release', 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
  file('etc/fstab', 'UUID=0e5e51b4-3b1c-4d71-b7ac-75dfa5fcd29a / ext4 errors=remount-ro 0 1\n')
  file('etc/machine-id', '11111111111111111111111111111111\n')
  file('etc/ssh/ssh_host_ed25519_key', 'PRIVATE', 0o600)
  file('etc/ssh/sshd_config', 'PermitRootLogin prohibit-password\n')
  file('etc/shadow', 'root:*:19000:0:99999:7:::\n', 0o640)
  file('tmp/rubbish', 'gone')
  file('usr/bin/tool', Buffer.alloc(9_000_000, 'one of many words '), 0o4755) // more than two frames
  file('usr/share/noise', Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * i * 7919) % 251)))
  file('usr/bin/-rf', 'a name like an option')
  file('usr/share/empty', '')
  file('usr/share/with\ttab and\nnewline\\and backslash', 'odd')
  file(`usr/share/${'long-'.repeat(30)}/${'name-'.repeat(40)}`, 'long path')
  writeFileSync(bytes(root, 'usr/share/\xff\xfe-not-utf8'), 'latin')
  linkSync(join(root, 'usr/bin/tool'), join(root, 'etc/alias-of-tool'))
  mkdirSync(join(root, 'var/lib/empty'), { recursive: true })
  mkdirSync(join(root, 'proc'))
  // Between a folder and what lies in it the order of paths has another one.
  for (const name of ['zone', 'zone-info', 'zone/none', 'zone/none/below'])
    mkdirSync(join(root, 'usr/share', name))
  utimesSync(join(root, 'usr/share/zone'), 1e9, 1e9)
  chmodSync(join(root, 'tmp'), 0o1777)
  symlinkSync('../bin/tool //x', join(root, 'usr/share/link'))
  symlinkSync('usr/lib', join(root, 'lib'))
  run('truncate', '-s', '9000000', join(root, 'usr/share/sparse'))
  run(
    'dd',
    'if=/dev/urandom',
    `of=${root}/usr/share/sparse`,
    'bs=4096',
    'count=1',
    'seek=1000',
    'conv=notrunc',
    'status=none',
  )
  run('mkfifo', join(root, 'var/fifo'))
  makeSocket(join(root, 'var/sock')) // is left out
  run('mknod', join(root, 'var/null'), 'c', '1', '3')
  run('mknod', join(root, 'var/loop'), 'b', '259', '300')
  run('chown', '1000:3000000', join(root, 'usr/share/empty'))
  run('setcap', 'cap_net_raw+ep', join(root, 'usr/share/noise'))
  file('usr/lib/shim/shimx64.efi.signed', shim)
  file('usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed', signedGrub)
  file(`boot/vmlinuz-${release}`, Buffer.alloc(70_000, 'kernel'))
  file(`boot/initrd.img-${release}`, initrd)
  makeModules(root)
  run('touch', '-d', '2001-02-03 04:05:06.123456789', join(root, 'usr/share/noise'))
  utimesSync(join(root, 'var/lib/empty'), 1e9, 1e9)
}

/** Left behind by a program that was killed. */
export function makeSocket(path: string) {
  const die =
    "require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))"
  spawnSync(process.execPath, ['-e', die, path])
}

function makeModules(root: string) {
  const base = join(root, 'usr/lib/modules', release)
  const module = (path: string, info: Record<string, string>) => {
    mkdirSync(join(base, path, '..'), { recursive: true })
    writeFileSync(join(base, path), elfModule(info))
  }
  module('kernel/fs/ext4/ext4.ko', { name: 'ext4', license: 'GPL', needs: 'jbd2_start' })
  module('kernel/fs/jbd2/jbd2.ko', { name: 'jbd2', license: 'GPL', exports: 'jbd2_start' })
  module('kernel/drivers/net/virtio_net.ko', { name: 'virtio_net', alias: 'virtio:d00000001v*' })
  module('kernel/drivers/scsi/lpfc/lpfc.ko', { name: 'lpfc' })
  module('kernel/sound/snd.ko', { name: 'snd' })
  writeFileSync(join(base, 'modules.order'), 'kernel/fs/ext4/ext4.ko\nkernel/drivers/net/virtio_net.ko\n')
  writeFileSync(join(base, 'modules.builtin'), 'kernel/fs/fat/fat.ko\n')
  writeFileSync(join(base, 'modules.builtin.modinfo'), 'fat.license=GPL\0')
  run('depmod', '-b', join(root, 'usr'), release)
}

/** The least that depmod takes for a module: an ELF object that says what it is, exports and needs. */
function elfModule({ exports = '', needs = '', ...info }: Record<string, string>): Buffer {
  const modinfo = Object.entries(info)
    .map(([key, value]) => `${key}=${value}\0`)
    .join('')
  const symbol = Buffer.alloc(needs === '' ? 24 : 48) // the first one is void by definition
  if (needs !== '') symbol.set([1, 0, 0, 0, 0x10], 24) // name at 1, global, undefined
  const rows: [name: string, type: number, content: Buffer, link?: number, entry?: number][] = [
    ['.modinfo', 1, Buffer.from(modinfo)],
    ['__ksymtab_strings', 1, Buffer.from(exports === '' ? '' : `${exports}\0`)],
    ['.symtab', 2, symbol, 4, 24],
    ['.strtab', 3, Buffer.from(`\0${needs}\0`)],
  ]
  const names = Buffer.from(`\0${rows.map(([name]) => `${name}\0`).join('')}.shstrtab\0`)
  rows.push(['.shstrtab', 3, names])
  let at = 64
  const sections = rows.map(([name, type, content, link = 0, entry = 0]) => {
    const s = Buffer.alloc(64)
    s.writeUInt32LE(names.indexOf(name), 0)
    s.writeUInt32LE(type, 4)
    s.writeBigUInt64LE(BigInt(at), 24)
    s.writeBigUInt64LE(BigInt(content.length), 32)
    s.writeUInt32LE(link, 40)
    s.writeBigUInt64LE(BigInt(entry), 56)
    at += content.length
    return s
  })
  const header = Buffer.alloc(64)
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 62, 0, 1]) // relocatable, x86-64
  header.writeBigUInt64LE(BigInt(at), 40)
  header.set([64, 0, 0, 0, 0, 0, 64, 0, rows.length + 1, 0, rows.length, 0], 52)
  return Buffer.concat([header, ...rows.map(([, , content]) => content), Buffer.alloc(64), ...sections])
}

/** An sshd with its own keys in `dir`, on a free port of loopback; `inside` is what its command line is put behind. */
export async function startSshd(dir: string, more: Record<string, string> = {}, inside: string[] = []) {
  mkdirSync('/run/sshd', { recursive: true }) // where Debian's sshd separates privileges
  const key = (name: string) => {
    run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', join(dir, name))
    return readFileSync(join(dir, name), 'utf8')
  }
  key('host')
  const privateKey = key('client')
  const port = await freePort()
  const config = {
    Port: port,
    ListenAddress: '127.0.0.1',
    HostKey: join(dir, 'host'),
    AuthorizedKeysFile: join(dir, 'client.pub'),
    StrictModes: 'no',
    PermitRootLogin: 'yes',
    UsePAM: 'no',
    PidFile: 'none',
    MaxStartups: 100,
    SetEnv: 'SHLVL=2', // bash then does not read ~/.bashrc, which may take long

    ...more,
  }
  writeFileSync(
    join(dir, 'config'),
    Object.entries(config)
      .map((pair) => `${pair.join(' ')}\n`)
      .join(''),
  )
  const [command, ...args] = [...inside, '/usr/sbin/sshd', '-D', '-e', '-f', join(dir, 'config')]
  const sshd = spawn(command!, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  await new Promise<void>((resolve, reject) => {
    sshd.stderr.on('data', (chunk) => {
      said += chunk
      if (said.includes('Server listening on')) resolve()
    })
    sshd.once('close', () => reject(new Error(`sshd ended: ${said}`)))
  })
  const hostKey = run('ssh-keygen', '-lf', join(dir, 'host.pub')).toString().split(' ')[1]!
  const close = async () => {
    const gone = once(sshd, 'close')
    sshd.kill()
    await gone
  }
  return { port, hostKey, privateKey, said: () => said, close }
}

/** `inside` of startSshd: a mount namespace in which these files hold something else. */
export function withFiles(dir: string, replaced: Record<string, string>): string[] {
  const binds = Object.entries(replaced).map(([path, text], index) => {
    const file = join(dir, `file${index}`)
    writeFileSync(file, text, { mode: path === '/etc/sudoers' ? 0o440 : 0o644 })
    return `mount --bind '${file}' ${path}`
  })
  return ['unshare', '-m', 'sh', '-ec', `${binds.join('\n')}\nexec "$@"`, 'sh']
}

/** An sshd whose machine has a user `admin` that is not root, and for it these lines of sudoers. */
export async function startAdminSshd(dir: string, sudoers: string) {
  run('chmod', '755', join(dir, '..'), dir)
  const inside = withFiles(dir, {
    '/etc/passwd': `${readFileSync('/etc/passwd', 'utf8')}admin:x:12345:12345::/:/bin/sh\n`,
    '/etc/shadow': `${readFileSync('/etc/shadow', 'utf8')}admin:*:19000:0:99999:7:::\n`,
    '/etc/sudoers': sudoers,
  })
  const server = await startSshd(dir, {}, inside)
  chmodSync(join(dir, 'client.pub'), 0o644)
  return server
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  await new Promise((done) => server.close(done))
  return port
}

/**
 * For ForceCommand: sshd then seems to run on a machine whose root is `tree`. The probe gets the fixed answer, as this
 * machine's own disks are no part of a test; all other scripts run as they are, with `tree` where they are told `/`.
 */
export function asMachine(dir: string, tree: string, answer: string): string {
  const [command, probe] = [join(dir, 'command'), join(dir, 'probe')]
  writeFileSync(probe, probeScript(answer))
  const lines = [
    '#!/bin/bash',
    'length=${SSH_ORIGINAL_COMMAND##*head -c }; length=${length%%)*}',
    'script=$(head -c "$length"; echo x); script=${script%x}',
    'case $script in',
    // As long as what it stands for.
    `  *'# probe.sh '*) printf -v script '%-*s' "$length" "$(cat ${probe})"$'\\n'; fill() { cat; } ;;`,
    `  *'# hold.sh '*) fill() { sed -u 's|^root /$|root ${tree}|'; } ;;`,
    `  *) fill() { IFS= read -r root; [ "$root" = / ] && root=${tree}; printf '%s\\n' "$root"; cat; } ;;`,
    'esac',
    'exec bash -c "$SSH_ORIGINAL_COMMAND" < <(printf %s "$script"; fill)',
  ]
  writeFileSync(command, lines.map((line) => `${line}\n`).join(''), { mode: 0o755 })
  return command
}

/** The answer of probe.sh on a machine with such a tree: one GPT disk with bios_grub, ESP and an ext4 root. */
export function probeAnswer(tree: string, more: object = {}): string {
  const base64 = (text: string) => Buffer.from(text).toString('base64')
  const layout = JSON.parse(readFileSync(join(import.meta.dirname, '../fixtures/capture/disks.json'), 'utf8'))
  return JSON.stringify({
    arch: 'x86_64',
    firmware: 'bios',
    release,
    user: 0,
    osRelease: base64(readFileSync(join(tree, 'etc/os-release'), 'utf8')),
    fstab: base64(readFileSync(join(tree, 'etc/fstab'), 'utf8')),
    swaps: base64('Filename\tType\tSize\tUsed\tPriority\n/var/swap\\040file file 1024 0 -2\n'),
    modules: base64('snd 16384 0 - Live 0x0\nlpfc 16384 0 - Live 0x0\n'),
    tar: base64('tar (GNU tar) 1.34\n'),
    zstd: true,
    split: true,
    said: { 'dumpe2fs /dev/vda3': base64('Filesystem features:      has_journal extent metadata_csum\n') },
    files: {},
    hostKeys: ['ssh-ed25519', 'ecdsa-sha2-nistp256', 'ssh-rsa'],
    kernel: `boot/vmlinuz-${release}`,
    ...layout,
    ...more,
  })
}

/** A probe script that gives a fixed answer: this machine's own disks are not part of a test. */
export const probeScript = (answer: string): string =>
  `IFS= read -r root\ncat <<'ANSWER'\n${answer}\nANSWER\n`

const scripts = await captureScripts()
/** The scripts as they are, but for that one. */
export const goldenScripts = (answer: string): CaptureScripts => ({ ...scripts, probe: probeScript(answer) })

type Golden = { sshd: Awaited<ReturnType<typeof startSshd>>; tree: string; images: CaptureNeeds['images'] }

/** All that a capture of that tree needs, behind that sshd. */
export const goldenNeeds = ({ sshd, tree, images }: Golden, image: string): CaptureNeeds => ({
  target: { node: 'golden', host: '127.0.0.1', port: sshd.port, user: 'root', hostKey: sshd.hostKey },
  privateKey: sshd.privateKey,
  image: parseImageName(image),
  images,
  scripts: goldenScripts(probeAnswer(tree)),
  emit: () => {},
  signal: new AbortController().signal,
  root: tree,
})
