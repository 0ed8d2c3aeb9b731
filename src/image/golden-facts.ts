// What else a golden client is: how it starts, its kernels, its network. Kept with the version for whatever makes clones of it.
import type { Static } from 'typebox'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { WireError } from '../fault.ts'
import { decode, fileHeld, type Said, toolSaid } from './probe-said.ts'

const text = Type.String({ maxLength: 65_536 })
const words = Type.Array(text, { maxItems: 10_000 })
const maybe = Type.Optional
const GoldenFacts = Type.Object({
  hostname: maybe(text),
  machine: maybe(text), // 'Dell Inc. PowerEdge R640'
  commandLine: text, // of the kernel that runs
  bootLoader: Type.Object({
    kind: maybe(text), // grub, systemd-boot, elilo, refind, extlinux, lilo; absent: none that is known
    tools: words, // its programs, by path
    files: words, // on the EFI system partition
    entries: words, // BLS
  }),
  efi: maybe(
    Type.Object({
      bits: maybe(Type.Integer()),
      secureBoot: Type.Boolean(),
      order: words, // '0001'
      entries: Type.Array(
        Type.Object({ number: text, label: text, active: Type.Boolean(), path: maybe(text) }),
        { maxItems: 10_000 },
      ),
    }),
  ),
  kernels: Type.Array(Type.Object({ release: text, kernel: maybe(text), initrd: maybe(text) }), {
    maxItems: 1000,
  }),
  initramfs: Type.Object({ tools: words, hostOnly: maybe(Type.Boolean()) }),
  network: Type.Object({
    styles: words, // NetworkManager, netplan, systemd-networkd, ifupdown, ifcfg, wicked
    files: words,
    nics: Type.Array(
      Type.Object({ name: text, mac: text, kind: text, driver: maybe(text), master: maybe(text) }),
      {
        maxItems: 10_000,
      },
    ),
  }),
  selinux: maybe(text), // Enforcing, Permissive, Disabled
  versions: Type.Record(text, text), // of tools: 'mdadm' -> 'mdadm - v4.2 ...'
})
export type GoldenFacts = Static<typeof GoldenFacts>

export const renderFacts = (facts: GoldenFacts): string => JSON.stringify(facts)

/** Throws WireError when they are none. */
export function parseFacts(json: string): GoldenFacts {
  try {
    const value = JSON.parse(json)
    if (Value.Check(GoldenFacts, value)) return value
  } catch {}
  throw new WireError('image: facts out of shape')
}

export function readFacts(said: Said): GoldenFacts {
  const linesOf = (name: string) => toolSaid(said, name).split('\n').filter(Boolean)
  const hostname = fileHeld(said, 'etc/hostname').trim()
  const machine = ['sys_vendor', 'product_name']
    .map((name) => fileHeld(said, `/sys/class/dmi/id/${name}`).trim())
    .filter(Boolean)
    .join(' ')
  const selinux = toolSaid(said, 'selinux').trim()
  const hostOnly = hostOnlyOf(said)
  return {
    ...(hostname && { hostname }),
    ...(machine && { machine }),
    commandLine: fileHeld(said, '/proc/cmdline').trim(),
    bootLoader: bootLoaderOf(said, linesOf('loaders'), linesOf('esp')),
    ...(said.firmware === 'uefi' && { efi: efiOf(said) }),
    kernels: kernelsOf(linesOf('modules'), linesOf('boot')),
    initramfs: { tools: linesOf('initramfs'), ...(hostOnly !== undefined && { hostOnly }) },
    network: networkOf(said, linesOf('network'), linesOf('nics')),
    ...(selinux && { selinux }),
    versions: Object.fromEntries(
      linesOf('versions').map((line) => line.split(/: (.*)/s, 2) as [string, string]),
    ),
  }
}

function bootLoaderOf(said: Said, tools: string[], files: string[]): GoldenFacts['bootLoader'] {
  const code = Object.entries(said.said)
    .filter(([name]) => name.startsWith('bootCode '))
    .map(([, held]) => decode(held))
    .join(' ')
  const entries = Object.keys(said.files).filter((path) => path.startsWith('boot/loader/entries/'))
  const has = (shape: RegExp) => files.some((file) => shape.test(file)) // what firmware starts counts before what lies about
  const kind = has(/systemd-boot[a-z0-9]*\.efi$/i)
    ? 'systemd-boot'
    : has(/\/(grub|shim)[a-z0-9]*\.efi$/i)
      ? 'grub'
      : has(/elilo\.efi$/i)
        ? 'elilo'
        : has(/refind[a-z0-9_]*\.efi$/i)
          ? 'refind'
          : /GRUB/.test(code) || tools.some((tool) => /grub2?-install$/.test(tool))
            ? 'grub'
            : /LILO/.test(code)
              ? 'lilo'
              : /(EXT|SYS)LINUX/.test(code)
                ? 'extlinux'
                : undefined
  return { ...(kind !== undefined && { kind }), tools, files, entries }
}

const GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c'
function efiOf(said: Said): NonNullable<GoldenFacts['efi']> {
  const variable = (name: string) => {
    const held = said.files[`/sys/firmware/efi/efivars/${name}-${GLOBAL}`]
    return held === undefined ? undefined : Buffer.from(held, 'base64').subarray(4) // after its attributes
  }
  const bits = Number(fileHeld(said, '/sys/firmware/efi/fw_platform_size'))
  const order = variable('BootOrder') ?? Buffer.alloc(0)
  const numbers = Object.keys(said.files).flatMap(
    (path) => /\/Boot([0-9A-F]{4})-8be4df61/.exec(path)?.[1] ?? [],
  )
  return {
    ...(bits > 0 && { bits }),
    secureBoot: variable('SecureBoot')?.[0] === 1,
    order: Array.from({ length: order.length >> 1 }, (_, i) =>
      order
        .readUInt16LE(2 * i)
        .toString(16)
        .toUpperCase()
        .padStart(4, '0'),
    ),
    entries: numbers.sort().flatMap((number) => entryOf(number, variable(`Boot${number}`)!)),
  }
}

// UEFI 3.1.3, EFI_LOAD_OPTION:
//   attributes 4 | length of the device path 2 | description, UTF-16, 0 | device path | ...
// Device path nodes: type 1 | subtype 1 | length 2 | data; a file is 4, 4 and its UTF-16 path.
function entryOf(number: string, option: Buffer): NonNullable<GoldenFacts['efi']>['entries'] {
  if (option.length < 8) return []
  let end = 6
  while (end + 1 < option.length && option.readUInt16LE(end) !== 0) end += 2
  const label = option.toString('utf16le', 6, end)
  const path = option.subarray(end + 2, end + 2 + option.readUInt16LE(4))
  let file = ''
  for (let at = 0; at + 4 <= path.length; ) {
    const length = path.readUInt16LE(at + 2)
    if (length < 4) break
    if (path[at] === 4 && path[at + 1] === 4)
      file += path.toString('utf16le', at + 4, at + length).replace(/\0.*$/s, '')
    at += length
  }
  return [{ number, label, active: (option[0]! & 1) === 1, ...(file && { path: file }) }]
}

function kernelsOf(releases: string[], boot: string[]): GoldenFacts['kernels'] {
  return releases.sort().map((release) => {
    const kernel = boot.find((name) => name === `vmlinuz-${release}` || name === `vmlinux-${release}`)
    const initrd = boot.find((name) =>
      [`initrd.img-${release}`, `initramfs-${release}.img`, `initrd-${release}`].includes(name),
    )
    return { release, ...(kernel !== undefined && { kernel }), ...(initrd !== undefined && { initrd }) }
  })
}

/** Whether its initramfs has only the drivers of its own hardware, where the settings say so. */
function hostOnlyOf(said: Said): boolean | undefined {
  const dracut = Object.keys(said.files)
    .filter((path) => path.startsWith('etc/dracut.conf.d/'))
    .map((path) => /^\s*hostonly="?(yes|no)"?/m.exec(fileHeld(said, path))?.[1])
    .findLast((word) => word !== undefined)
  const debian = /^MODULES=(\w+)/m.exec(fileHeld(said, 'etc/initramfs-tools/initramfs.conf'))?.[1]
  if (dracut !== undefined) return dracut === 'yes'
  return debian === undefined ? undefined : debian === 'dep'
}

// What is configured, by where; the services that run are asked for when the files say nothing.
const styles: [RegExp, string][] = [
  [/^netplan\//, 'netplan'],
  [/^NetworkManager\/system-connections\//, 'NetworkManager'],
  [/^systemd\/network\/.*\.network$/, 'systemd-networkd'],
  [/^network\/interfaces/, 'ifupdown'],
  [/^sysconfig\/network-scripts\/ifcfg-(?!lo$)/, 'ifcfg'],
  [/^sysconfig\/network\/ifcfg-(?!lo$)/, 'wicked'],
]
const services = [
  'NetworkManager',
  'systemd-networkd',
  'networking',
  'network',
  'wicked',
  'dhcpcd',
  'connman',
]
function networkOf(said: Said, files: string[], nics: string[]): GoldenFacts['network'] {
  const active = toolSaid(said, 'networkServices').split('\n')
  const running = services.filter((_, index) => active[index] === 'active')
  const found = styles.filter(([shape]) => files.some((file) => shape.test(file))).map(([, style]) => style)
  return {
    styles: [...new Set([...found, ...running])],
    files: files.sort(),
    nics: nics.map((line) => {
      const [name = '', mac = '', kind = '', driver = '', master = ''] = line.split(' ')
      return { name, mac, kind, ...(driver && { driver }), ...(master && { master }) }
    }),
  }
}
