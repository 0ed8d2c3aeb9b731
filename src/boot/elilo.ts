// elilo's configuration. Only keywords of its table: at any other word, and at a missing file, it stops at its prompt for
// good. It has no way to start another disk's loader and no screen for a text, so GRUB stands in for it there
// (loaders.ts); what elilo gets is always a kernel.
import { UserError } from '../fault.ts'
import { joinedName } from './blob-names.ts'
import { kernelLine } from './kernel-words.ts'
import type { KernelPlan } from './plan.ts'

/** Both as the vanilla loader has it and as xCAT's build: beyond the second none of them reads the kernel to its end. */
const SURE_KERNEL_BYTES = 8 << 20
const MOST_KERNEL_BYTES = 15 << 20

/** One initrd per image: several are one file that holds them one after the other. */
export function renderElilo({ kernel, initrds, args }: KernelPlan): string {
  checkEliloKernel(kernel.bytes)
  return [
    'default=sysclone',
    'delay=0',
    '',
    `image=${quote(`/${kernel.name}`)}`,
    '   label=sysclone',
    ...(initrds.length > 0 ? [`   initrd=${quote(`/${joinedName(initrds)}`)}`] : []),
    '   read-only',
    `   append="${kernelLine('elilo', args, /%/, 'printable ASCII without spaces, quotes, backslash and %')}"`,
    '',
  ].join('\n')
}

/** File names are cut at 255 characters. */
function quote(name: string): string {
  if (!/^[\w./-]{1,255}$/.test(name))
    throw new UserError('elilo can not name this file', { what: name, allowed: '255 characters, no spaces' })
  return name
}

function checkEliloKernel(bytes: number) {
  if (bytes > MOST_KERNEL_BYTES)
    throw new UserError('the kernel is too large for elilo', {
      what: `${bytes} bytes`,
      allowed: `at most ${MOST_KERNEL_BYTES}; netboot=grub2 has no limit`,
    })
}

/** What to tell a person who chose elilo for this kernel; undefined: nothing. */
export const eliloWarning = (bytes: number): string | undefined =>
  bytes > SURE_KERNEL_BYTES
    ? `the kernel has ${bytes} bytes: elilo without xCAT's patches stops without a word at more than ${SURE_KERNEL_BYTES}`
    : undefined
