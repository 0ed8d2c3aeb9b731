// What a capture leaves on the golden client: what belongs to a running system, or to nobody. What belongs to one machine
// alone, or is secret, is in scrub.ts. `*` is any run of characters but a slash; a trailing `/**` is everything
// below a directory, which itself is kept.
import { UserError } from '../fault.ts'
import { bytewise } from './compare-line.ts'

type Row = [pattern: string, why: string, types?: string]

const MEDIA = 'media that were put in there'

/** Its folders stay: their owners are those of the package. */
const nfsState = [
  ...['etab', 'rmtab', 'xtab', 'state', '.etab.lock', '.rmtab.lock', '.xtab.lock', 'export-lock'],
  ...['sm/**', 'sm.bak/**', 'statd/state', 'statd/sm/**', 'statd/sm.bak/**'], // the second are Red Hat's
  ...['rpc_pipefs/**', 'v4recovery/**', 'nfsdcltrack/**', 'nfsdcld/**'],
].map((path): Row => [`var/lib/nfs/${path}`, 'what a running NFS server knows of its clients'])

const defaultExcludes: readonly Row[] = [
  ['proc/**', 'made by the kernel'],
  ['sys/**', 'made by the kernel'],
  ['dev/**', 'made by the kernel and udev'],
  ['run/**', 'lives until the next boot'],
  ['tmp/**', 'temporary'],
  ['var/tmp/**', 'temporary'],
  ['selinux/**', 'made by the kernel'], // before /sys/fs/selinux
  ['media/**', MEDIA],
  ['lost+found', 'made by mkfs'],
  ['*/lost+found', 'made by mkfs', 'd'],
  ['swapfile', 'made anew for the size of the clone'],
  ['swap.img', 'made anew for the size of the clone'],
  ['var/cache/apt/archives/*.deb', 'can be fetched again'],
  ['var/cache/apt/archives/partial/**', 'can be fetched again'],
  ['var/cache/apt/*.bin', 'made again by apt'],
  ['var/cache/dnf/**', 'can be fetched again'],
  ['var/cache/yum/**', 'can be fetched again'],
  ...nfsState,
]

/** What an image that is booted in RAM has no use for. */
const disklessExcludes: readonly Row[] = [
  ['boot/initrd*', 'of no use to an image that is booted in RAM'],
  ['boot/initramfs*', 'of no use to an image that is booted in RAM'],
  ['boot/grub*/**', 'of no use to an image that is booted in RAM'],
  ['boot/loader/**', 'of no use to an image that is booted in RAM'],
  ['boot/efi/**', 'of no use to an image that is booted in RAM'],
  ['efi/**', 'of no use to an image that is booted in RAM'],
  ['var/cache/**', 'can be made again'],
  ['var/log/**', 'history of one machine'],
]

/**
 * One word of exclude=, in SystemImager's syntax: `/dir` with all below it, `/dir/*` only what is in it, `name` at any
 * depth, a slash at the end for directories alone; `*` and `?` do not match a slash, `**` does, `[a-z]` is a class.
 * `+ /path` is kept although a later word or a default leaves it out; of all words the first that fits counts.
 */
export function parseExclude(text: string): string {
  const pattern = text.replace(/^\+ */, '+ ')
  const path = pattern.replace(/^\+ /, '')
  const isPath = /^[^\x00-\x1f\x7f-\x9f,|\ufffd]{1,1000}$/.test(path) && path !== '/' && !/\/\//.test(path)
  if (!isPath || path.split('/').some((part) => part === '.' || part === '..'))
    throw new UserError('not a pattern of paths', { what: text.slice(0, 100) })
  if (pattern.startsWith('+ ') && !path.startsWith('/'))
    throw new UserError('what is kept is a path from the root', { what: text.slice(0, 100) })
  patternSource(path) // its classes must be closed
  return pattern
}
export const excludeWords =
  'what captures leave out, with commas between: /dir, /dir/*, name, *.tmp, dir/ ; "+ /dir" is kept (SystemImager\'s syntax)'

type Rule = { keeps: boolean; test: RegExp; types: string | undefined; why: string }

export type Excludes = {
  patterns?: readonly string[] // of exclude=
  paths?: readonly string[] // known only on the machine, as its active swap files
  diskless?: boolean
  /** Mount points of the file systems that are captured: a disk of its own below /media is no medium. */
  mounted?: readonly string[]
}

/** Says why a file stays out; undefined: it is captured. Paths are one character a byte, relative to the root. */
export function makeExclude(excludes: Excludes = {}): (path: string, type: string) => string | undefined {
  const { patterns = [], paths = [], diskless = false, mounted = [] } = excludes
  const disks = mounted.filter((path) => path.startsWith('/media/')).map((path) => bytewise(path.slice(1)))
  const isOnDisk = (path: string) =>
    disks.some((disk) => `${path}/`.startsWith(`${disk}/`) || disk.startsWith(`${path}/`))
  const own = patterns.map(userRule)
  const defaults = [...defaultExcludes, ...(diskless ? disklessExcludes : [])].map(defaultRule)
  const rules = [...own, ...defaults]
  // Nearly all files match nothing: one look says so.
  const any = new RegExp(rules.map(({ test }) => `(?:${test.source})`).join('|'), 's')
  const swap = new Set(paths)
  return (path, type) => {
    if (swap.has(path)) return 'active swap files'
    const subject = type === 'd' ? `${path}/` : path
    if (!any.test(subject)) return undefined
    const rule = rules.find(
      ({ test, types, why }) =>
        (types?.includes(type) ?? true) && test.test(subject) && !(why === MEDIA && isOnDisk(path)),
    )
    return rule === undefined || rule.keeps ? undefined : rule.why
  }
}

/** Directories are asked about with a slash at their end. */
function userRule(pattern: string): Rule {
  const keeps = pattern.startsWith('+ ')
  const path = bytewise(pattern.replace(/^\+ /, ''))
  const source = patternSource(path.replace(/\/$/, ''))
  const whole = path.endsWith('/') ? `${source}/` : `${source}(?:/|$)`
  const test = new RegExp(keeps ? `${whole}|${parentsOf(path)}` : whole, 's')
  return { keeps, test, types: undefined, why: `exclude=${pattern}` }
}

/** The directories on the way to what is kept. */
function parentsOf(path: string): string {
  const parts = path.split('/').slice(1, -1)
  const sources = parts.map((_, i) => `${patternSource(`/${parts.slice(0, i + 1).join('/')}`)}/$`)
  return sources.length > 0 ? sources.join('|') : '$.'
}

function patternSource(pattern: string): string {
  const anchor = pattern.startsWith('/') ? '^' : '(?:^|/)'
  const rest = pattern.replace(/^\//, '')
  const source = rest.replace(/\*\*|[*?]|\[[!^]?\]?[^\]]*\]|[.+^${}()|[\]\\]/g, (found, at) => {
    const isWhole = /(^|\/)$/.test(rest.slice(0, at)) && /^(\/|$)/.test(rest.slice(at + found.length))
    if (found === '**') return isWhole ? '.+' : '.*'
    if (found === '*') return isWhole ? '[^/]+' : '[^/]*' // a folder's `*` is not the folder
    if (found === '?') return '[^/]'
    if (found === '[') throw new UserError('a [ is not closed', { what: pattern.slice(0, 100) })
    if (found.length > 1) return found.replace(/^\[!/, '[^').replace(/\\/g, '\\\\')
    return `\\${found}`
  })
  return anchor + source
}

function defaultRule([pattern, why, types]: Row): Rule {
  const below = pattern.endsWith('/**')
  const text = (below ? pattern.slice(0, -3) : pattern)
    .replace(/[.+?^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '[^/]*')
  const test = new RegExp(below ? `^${text}/.` : `^${text}(/|$)`, 's')
  return { keeps: false, test, types, why }
}
