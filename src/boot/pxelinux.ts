// pxelinux' configuration, and its small forms: petitboot's and the one that SLOF has built in.
import { UserError } from '../fault.ts'
import { isBlobName, joinedName } from './blob-names.ts'
import { imageServers, imageUrlText } from './image-url.ts'
import { kernelLine } from './kernel-words.ts'
import type { BootFile, BootPlan, KernelPlan, ServerAddress } from './plan.ts'
import { serverUrl } from './policy.ts'

export function renderPxelinux(plan: BootPlan): string {
  switch (plan.kind) {
    case 'install':
    case 'boot':
      return text([
        `# ${say(plan.title)}`,
        'DEFAULT sysclone',
        'PROMPT 0',
        ...ONERROR,
        ...kernelEntry(plan),
        ...AGAIN,
      ])
    case 'local':
      return text([`# ${say(plan.title)}`, 'DEFAULT local', 'PROMPT 0', 'LABEL local', '  LOCALBOOT 0'])
    case 'hold':
      return text([
        'DEFAULT again',
        'PROMPT 1',
        `TIMEOUT ${holdSeconds * 10}`,
        ...plan.lines.map((line) => `SAY ${say(line)}`),
        `SAY The machine asks again in ${holdSeconds} seconds.`,
        ...AGAIN,
      ])
  }
}

const holdSeconds = 300
const ONERROR = ['ONERROR again']
/** It loads itself, and with that its configuration anew: a later nodeset is noticed. */
const AGAIN = ['LABEL again', '  KERNEL pxelinux.0']

const kernelEntry = ({ kernel, initrds, args }: KernelPlan): string[] => [
  'LABEL sysclone',
  `  LINUX ${kernel.name}`,
  ...(initrds.length > 0 ? [`  INITRD ${initrds.map(({ name }) => name).join(',')}`] : []),
  `  APPEND ${kernelWords('pxelinux', args)}`,
]

/** petitboot: full URLs, because it joins any other name to that of its configuration. Nothing is quoted, as SLOF keeps quotes. */
export function renderPetitboot(plan: BootPlan, server: ServerAddress): string {
  const [images] = imageServers(server)
  const url = ({ name }: Pick<BootFile, 'name'>) =>
    `${isBlobName(name) ? imageUrlText(images) : serverUrl(server)}/${name}`
  switch (plan.kind) {
    case 'install':
    case 'boot':
      return text(small(plan, url, 'petitboot'))
    case 'local':
      return text([`# ${say(plan.title)}`]) // no entry: petitboot goes on with the disks
    case 'hold': {
      // An entry that can not be started keeps it in its menu, where the lines are read.
      const entries = plan.lines.map((line) => [
        `label ${say(line)}`,
        `\tkernel ${url({ name: 'boot/hold' })}`,
      ])
      return text([`default ${say(plan.lines[0] ?? plan.title)}`, ...entries.flat()])
    }
  }
}

/** SLOF: names from the TFTP server's root, at most 2 KB, and kernels only: whatever else there is to say, GRUB says. */
export function renderSlof(plan: KernelPlan): string {
  const lines = text(small(plan, ({ name }) => name, 'SLOF'))
  if (lines.length > 2048)
    throw new UserError('the configuration is too long for SLOF', {
      what: `${lines.length} bytes`,
      allowed: 'at most 2048: shorten kcmdline or addkcmdline',
    })
  return lines
}

const small = (
  { kernel, initrds, args }: KernelPlan,
  name: (file: Pick<BootFile, 'name'>) => string,
  loader: string,
): string[] => [
  'default sysclone',
  'label sysclone',
  `\tkernel ${name(kernel)}`,
  ...(initrds.length > 0 ? [`\tinitrd ${name({ name: joinedName(initrds) })}`] : []),
  `\tappend ${kernelWords(loader, args)}`,
]

/** An `initrd=` among the words would be taken for the file to load. */
const kernelWords = (loader: string, args: string[]): string =>
  kernelLine(loader, args, /^initrd=/i, 'printable ASCII words without spaces, quotes, backslash; no initrd=')

const text = (lines: string[]): string => `${lines.join('\n')}\n`
/** Text for the screen may come from a node's report. */
const say = (line: string): string =>
  line
    .replace(/[^\x20-\x7e]|["'\\]/g, '?')
    .trim()
    .slice(0, 200)
