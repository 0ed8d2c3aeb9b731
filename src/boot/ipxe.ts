// The iPXE script for each plan. iPXE honours Retry-After and comes back by itself: every text ends in asking again, so a
// server that restarts and a later nodeset are both noticed.
import { type Mac, macWithDashes } from '../address.ts'
import { UserError } from '../fault.ts'
import { imageServers, imageUrlText } from './image-url.ts'
import { ownLoaders } from './loaders.ts'
import type { BootPlan, KernelPlan, ServerAddress } from './plan.ts'
import { serverUrl } from './policy.ts'

/** `name` is what this script was asked by, for asking again. `elilo`: under UEFI, elilo starts the kernel. */
export function renderIpxe(
  plan: BootPlan,
  server: ServerAddress,
  { name, elilo = false }: { name: string; elilo?: boolean },
): string {
  const head = ['#!ipxe', `echo sysclone: ${say(plan.title)}`]
  const again = `chain --replace --autofree ${quote(`${serverUrl(server)}/${name}`)}`
  switch (plan.kind) {
    case 'install':
    case 'boot':
      return text([
        ...head,
        ...(elilo ? startElilo(server, name) : []),
        ...startKernel(plan, server),
        ...retry(5, again),
      ])
    case 'local':
      return text([...head, ...local(server)])
    case 'hold':
      return text([
        ...head,
        ...plan.lines.map((line) => `echo ${say(line)}`),
        ...(plan.asksOn ? askOn(plan.asksOn, server) : retry(60, again)),
      ])
  }
}

const text = (lines: string[]): string => `${lines.join('\n')}\n`

/**
 * The next device in the firmware's order is BIOS' way. UEFI firmware shows its setup menu after a plain exit (OVMF does), so
 * GRUB is loaded: it starts the clone's own loader. Beside another DHCP server GRUB would ask that one for its
 * configuration; there, and when GRUB does not come, the exit says failure, and firmware tries its next device.
 */
function local(server: ServerAddress): string[] {
  const grub = [
    'set core x86_64-efi',
    'iseq ${buildarch} arm64 && set core arm64-efi ||',
    `chain --autofree ${quote(`${serverUrl(server)}/boot/grub/`)}\${core}/core.efi ||`,
  ]
  return ['iseq ${platform} efi || exit', ...(server.proxy ? [] : grub), 'exit 1']
}

/** xCAT's way: elilo reads this configuration and no other, and with xCAT's build everything comes by HTTP. */
function startElilo(server: ServerAddress, name: string): string[] {
  const config = `/${name.replace(/^boot\/ipxe\//, 'boot/elilo/')}`
  return [
    `iseq \${platform} efi && chain --autofree ${quote(`${serverUrl(server)}/${ownLoaders.elilo}`)} -C ${quote(config)} ||`,
  ]
}

/** `initrd=` names are needed by the kernel's EFI stub; BIOS ignores them. */
function startKernel({ kernel, initrds, args }: KernelPlan, server: ServerAddress): string[] {
  const base = imageUrlText(imageServers(server)[0])
  const url = ({ name }: { name: string }) => quote(`${base}/${name}`)
  const names = initrds.map((_, index) => `initrd${index}`)
  const line = [...names.map((initrd) => `initrd=${initrd}`), ...args].map(quote).join(' ')
  return [
    'imgfree',
    `kernel --name kernel ${url(kernel)} ${line} || goto failed`,
    ...initrds.map((file, index) => `initrd --name ${names[index]} ${url(file)} || goto failed`),
    'boot || goto failed',
    ':failed',
    'echo sysclone: kernel or ramdisk could not be fetched, the disks were not touched',
  ]
}

const retry = (seconds: number, again: string): string[] => [
  ':again',
  `echo The machine asks again in ${seconds} seconds.`,
  `sleep ${seconds}`,
  `${again} || goto again`,
]

/** On the screen of an unknown machine: the serial number goes with the name. */
const askOn = (mac: Mac, server: ServerAddress): string[] => {
  const name = `${serverUrl(server)}/boot/ipxe/${macWithDashes(mac)}/serial`
  return [
    'isset ${serial} && echo   serial  ${serial} ||',
    ...retry(30, `chain --replace --autofree ${quote(name)}/\${serial:uristring}`),
  ]
}

/** iPXE splits at spaces and expands ${...}; it has neither quotes nor an escape. A word in "..." is for the kernel. */
function quote(word: string): string {
  const special = /[^\x20-\x7e]|["\\]|\$\{|^#|^(;|&&|\|\|)$|^$| {2}|^ | $/
  if (special.test(word))
    throw new UserError('iPXE can not say this', {
      what: JSON.stringify(word),
      allowed: 'printable ASCII words without quotes, backslash, ${, a leading #, ; && and ||',
    })
  if (!word.includes(' ')) return word
  // The kernel takes name="a b"; each of the pieces must be a harmless word for iPXE too.
  return `"${word.split(' ').map(quote).join(' ')}"`
}

/** Text for the screen may come from a node's report: what iPXE could take for a command becomes a question mark. */
const say = (line: string): string =>
  line
    .replace(/[^A-Za-z0-9 ,.:_/=()@%+*<>!?'-]/g, '?')
    .replace(/^\s*-/, '?')
    .slice(0, 300)
