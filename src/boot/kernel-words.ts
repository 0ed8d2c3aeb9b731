// The words of a kernel's command line in languages that have no quotes of their own: a word is what stands between
// spaces, so what can not be one is refused by name.
import { UserError } from '../fault.ts'

/** Bytes that a kernel of x86, arm64 or POWER takes (COMMAND_LINE_SIZE without its NUL). */
const MOST_BYTES = 2047
/** What loaders add by themselves: the names of the kernel and of two ramdisks by their digests. */
const LOADER_BYTES = 280

/** The words in one line, each as `check` of the loader's language lets it pass. */
export function kernelLine(loader: string, args: string[], refused: RegExp, allowed: string): string {
  for (const word of args)
    if (word === '' || /[^\x21-\x7e]|["'\\]/.test(word) || refused.test(word))
      throw new UserError(`${loader} can not pass this to the kernel`, {
        what: JSON.stringify(word),
        allowed,
      })
  return args.join(' ')
}

/** A kernel cuts a longer line off without a word, and the token or a console is gone. */
export function checkLength(args: string[]) {
  const bytes = args.join(' ').length
  const most = MOST_BYTES - LOADER_BYTES
  if (bytes > most)
    throw new UserError('the kernel command line is too long', {
      what: `${bytes} bytes`,
      allowed: `at most ${most}: shorten kcmdline or addkcmdline`,
    })
}
