// GRUB's configuration for each plan: a flat script without a menu. Its commands are built into the core
// (bootfiles/loaders/build.sh). Every text ends by itself: what fails says so and asks the firmware anew.
import { type Mac, macWithDashes } from '../address.ts'
import { UserError } from '../fault.ts'
import { imageServers } from './image-url.ts'
import type { BootPlan, KernelPlan, ServerAddress } from './plan.ts'

/**
 * Where kernels come from. `auto`: by HTTP, but under BIOS, where GRUB's HTTP crawls, by TFTP. The signed GRUB has TFTP
 * alone: HTTP is prohibited to it by Secure Boot.
 */
export type GrubTransport = 'auto' | 'http' | 'tftp'

/** `signed`: for Debian's signed GRUB, under Secure Boot. */
export function renderGrub(
  plan: BootPlan,
  server: ServerAddress,
  { transport = 'auto', signed = false }: { transport?: GrubTransport; signed?: boolean } = {},
): string {
  const head = [`# ${say(plan.title)}`, `echo ${quoteText(`sysclone: ${plan.title}`)}`]
  switch (plan.kind) {
    case 'install':
    case 'boot':
      return text([...head, ...startKernel(plan, server, signed ? 'tftp' : transport)])
    case 'local':
      return text([...head, ...local(plan, signed)])
    case 'hold':
      return text([
        ...head,
        ...plan.lines.map((line) => `echo ${quoteText(line)}`),
        ...(plan.asksOn ? askOn(plan.asksOn, server) : again(300)),
      ])
  }
}

const text = (lines: string[]): string => `${lines.join('\n')}\n`

/** `linux` must not run twice in one session (hangs at boot), so the way is chosen first and a failure ends in a reset. */
function startKernel(
  { kernel, initrds, args }: KernelPlan,
  server: ServerAddress,
  transport: GrubTransport,
): string[] {
  const file = ({ name }: { name: string }) => `"$from"${quote(`/${name}`)}`
  return [
    ...chooseServer(server, transport),
    `if linux ${[file(kernel), ...args.map(quoteArg)].join(' ')}; then`,
    ...(initrds.length > 0
      ? [`  if initrd ${initrds.map(file).join(' ')}; then`, '    boot', '  fi']
      : ['  boot']),
    'fi',
    `echo ${quoteText('sysclone: kernel or ramdisk could not be fetched; the disks were not touched')}`,
    ...again(20),
  ]
}

function chooseServer(server: ServerAddress, transport: GrubTransport): string[] {
  const [{ address, port, path }] = imageServers(server)
  const tftp = `set from=${quote(`(tftp,${server.address})`)}`
  const http = `set from=${quote(`(http,${address}:${port})${path}`)}`
  if (transport !== 'auto') return [transport === 'tftp' ? tftp : http]
  return [
    '# The HTTP of GRUB crawls under BIOS.',
    'if [ "$grub_platform" = pc ]; then',
    `  ${tftp}`,
    'else',
    `  ${http}`,
    'fi',
  ]
}

/**
 * Under UEFI `exit` ends in OVMF's setup menu (and in that of some machines), so the clone's own loader is started. Its
 * disk must be $root: chainloader hands the device of $root on, and with the network card there the clone's GRUB finds
 * nothing of its own (seen with Debian 12's). Under Secure Boot the recorded loader may be one that nobody signed: a shim
 * beside it goes first. What is not there, or for another processor, is passed over.
 */
function local({ loader }: Extract<BootPlan, { kind: 'local' }>, signed: boolean): string[] {
  const path = loader?.path.replaceAll('\\', '/') ?? ''
  const folder = path.slice(0, path.lastIndexOf('/'))
  const shims = signed ? ['shimx64.efi', 'shimaa64.efi'].map((name) => `${folder}/${name}`) : []
  const fallbacks = ['/EFI/BOOT/BOOTX64.EFI', '/EFI/BOOT/BOOTAA64.EFI']
  return [
    'if [ "$grub_platform" != efi ]; then',
    '  exit',
    'fi',
    ...(loader ? start(`--fs-uuid --set=root ${quote(loader.espUuid)}`, [...shims, path]) : []),
    ...fallbacks.flatMap((fallback) => start(`--file --set=root ${fallback}`, [fallback])),
    `echo ${quoteText('sysclone: no boot loader was found on the disks of this machine')}`,
    ...again(60),
  ]
}

/** The first of these loaders that starts, on the disk that `search` finds. */
const start = (search: string, paths: string[]): string[] => [
  `if search --no-floppy ${search}; then`,
  ...paths.flatMap((path) => [`  if chainloader ($root)${quote(path)}; then`, '    boot', '  fi']),
  'fi',
]

/** Back to the firmware, which asks us again: a later nodeset is noticed. */
const again = (seconds: number): string[] => [
  `echo ${quoteText(`The machine asks again in ${seconds} seconds.`)}`,
  `sleep ${seconds}`,
  'reboot',
]

/**
 * On the screen of an unknown machine. Its text stays there: looking is one open file, and the serial number and whether
 * Secure Boot is on go with the name. By TFTP, which every GRUB has; what `test -s` does not find is no message.
 */
const askOn = (mac: Mac, { address }: ServerAddress): string[] => [
  'smbios --type 1 --get-string 7 --set serial',
  'if [ -n "$serial" ]; then',
  '  echo "    serial  $serial"',
  'fi',
  `set known=${quote(`(tftp,${address})/boot/known/${macWithDashes(mac)}`)}`,
  // Debian's signed GRUB sets it where Secure Boot is on, and no other one runs there.
  'if [ "$lockdown" = y ]; then',
  '  set known="$known/secure"',
  'fi',
  'while true; do',
  '  sleep 30',
  '  if [ -s "$known/serial/$serial" ]; then',
  '    reboot',
  '  fi',
  'done',
]

/** Single quotes keep every character but themselves; GRUB has no escape inside them. */
function quote(word: string): string {
  if (/[^\x20-\x7e]/.test(word))
    throw new UserError('GRUB can not say this', {
      what: JSON.stringify(word),
      allowed: 'printable ASCII characters',
    })
  return /^[\w=.,:/@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`
}

/** A word of the kernel's command line. GRUB writes \' \" \\ for these there, and the kernel has no such escapes. */
function quoteArg(word: string): string {
  if (word === '' || /['"\\]/.test(word))
    throw new UserError('GRUB can not pass this to the kernel', {
      what: JSON.stringify(word),
      allowed: 'no quotes and no backslash in kernel parameters',
    })
  return quote(word)
}

/** Text for the screen may come from a node's report: what GRUB cannot show becomes a question mark. */
const say = (line: string): string => line.replace(/[^\x20-\x7e]/g, '?').slice(0, 300)
/** The two spaces keep `echo` from taking a dash for an option. */
const quoteText = (line: string): string => `'  ${say(line).replaceAll("'", `'"'"'`)}'`

/** The one text that Debian's signed GRUB asks for, the same for every machine: it asks on for its own. */
export const signedGrubStart = text([
  'configfile "$prefix/grub.cfg-01-$net_default_mac"',
  `echo ${quoteText('sysclone: no answer for this machine')}`,
  ...again(20),
])
