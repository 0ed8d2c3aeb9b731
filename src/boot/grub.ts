// GRUB's configuration for each plan: a flat script without a menu. Its commands are built into the core
// (bootfiles/loaders/build.sh). Every text ends by itself: what fails says so and asks the firmware anew.
import { UserError } from '../fault.ts'
import { imageServers } from './image-url.ts'
import type { BootPlan, KernelPlan, ServerAddress } from './plan.ts'

export function renderGrub(plan: BootPlan, server: ServerAddress): string {
  const head = [`# ${say(plan.title)}`, `echo ${quoteText(`sysclone: ${plan.title}`)}`]
  switch (plan.kind) {
    case 'install':
    case 'boot':
      return text([...head, ...startKernel(plan, server)])
    case 'local':
      return text([...head, ...local(plan)])
    case 'hold':
      return text([...head, ...plan.lines.map((line) => `echo ${quoteText(line)}`), ...again(300)])
  }
}

const text = (lines: string[]): string => `${lines.join('\n')}\n`

/** `linux` must not run twice in one session (hangs at boot), so the way is chosen first and a failure ends in a reset. */
function startKernel({ kernel, initrds, args }: KernelPlan, server: ServerAddress): string[] {
  const [{ address, port, path }] = imageServers(server)
  const file = ({ name }: { name: string }) => `"$from"${quote(`/${name}`)}`
  return [
    '# The HTTP of GRUB crawls under BIOS.',
    'if [ "$grub_platform" = pc ]; then',
    `  set from=${quote(`(tftp,${server.address})`)}`,
    'else',
    `  set from=${quote(`(http,${address}:${port})${path}`)}`,
    'fi',
    `if linux ${[file(kernel), ...args.map(quoteArg)].join(' ')}; then`,
    ...(initrds.length > 0
      ? [`  if initrd ${initrds.map(file).join(' ')}; then`, '    boot', '  fi']
      : ['  boot']),
    'fi',
    `echo ${quoteText('sysclone: kernel or ramdisk could not be fetched; the disks were not touched')}`,
    ...again(20),
  ]
}

/**
 * Under UEFI `exit` ends in OVMF's setup menu (and in that of some machines), so the clone's own loader is started. Its
 * disk must be $root: chainloader hands the device of $root on, and with the network card there the clone's GRUB finds
 * nothing of its own (seen with Debian 12's).
 */
function local({ loader }: Extract<BootPlan, { kind: 'local' }>): string[] {
  const recorded = loader
    ? start(`--fs-uuid --set=root ${quote(loader.espUuid)}`, loader.path.replaceAll('\\', '/'))
    : []
  return [
    'if [ "$grub_platform" = pc ]; then',
    '  exit',
    'fi',
    ...recorded,
    ...start('--file --set=root /EFI/BOOT/BOOTX64.EFI', '/EFI/BOOT/BOOTX64.EFI'),
    `echo ${quoteText('sysclone: no boot loader was found on the disks of this machine')}`,
    ...again(60),
  ]
}

function start(search: string, path: string): string[] {
  return [
    `if search --no-floppy ${search}; then`,
    `  if chainloader ($root)${quote(path)}; then`,
    '    boot',
    '  fi',
    'fi',
  ]
}

/** Back to the firmware, which asks us again: a later nodeset is noticed. */
const again = (seconds: number): string[] => [
  `echo ${quoteText(`The machine asks again in ${seconds} seconds.`)}`,
  `sleep ${seconds}`,
  'reboot',
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
