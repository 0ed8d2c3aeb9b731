// What every server of the bench serves: a loader of 1 MB, a configuration, a blob of 10 MB and one of 1 GB.
import { createHash, randomBytes } from 'node:crypto'
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { type Lan, makeLan } from './lan.ts'

/** `root` has the files by name; `folder` is one server's own, empty when it starts. */
export type Site = { lan: Lan; folder: string; root: string; digests: Record<FileName, string> }

const MB = 1_000_000
export const fileBytes = { loader: MB, blob: 10 * MB, big: 1000 * MB }
export type FileName = keyof typeof fileBytes
const workFolders = '/var/tmp/sysclone-bench-'
const config = 'set timeout=0\nmenuentry linux {\n  linux /vmlinuz quiet\n  initrd /initrd\n}\n'

export type Ground = ReturnType<typeof makeGround>

/** A network, and files in a work folder that goes away with it. */
export function makeGround(files: FileName[]) {
  removeLeft()
  const work = mkdtempSync(`${workFolders}${process.pid}-`)
  const root = join(work, 'root')
  mkdirSync(root)
  writeFileSync(join(root, 'config'), config)
  const digests = { loader: '', blob: '', big: '' }
  for (const name of files) digests[name] = writeNoise(join(root, name), fileBytes[name])
  const lan = makeLan()
  let count = 0
  return {
    lan,
    work,
    /** For the next server that is started. */
    site(): Site {
      const folder = join(work, String(count++))
      mkdirSync(folder)
      return { lan, folder, root, digests }
    },
    close() {
      lan.close()
      rmSync(work, { recursive: true, force: true })
    },
  }
}

/** Of a run that was killed: its number is in the name. */
function removeLeft() {
  const parent = dirname(workFolders)
  for (const name of readdirSync(parent)) {
    const pid = name.startsWith(basename(workFolders)) && /(\d+)-\w+$/.exec(name)?.[1]
    if (pid && !existsSync(`/proc/${pid}`)) rmSync(join(parent, name), { recursive: true, force: true })
  }
}

/** Where our image store would have the file: under its digest. */
export function linkBlob({ root, digests }: Site, name: FileName, folder: string) {
  mkdirSync(folder, { recursive: true })
  linkSync(join(root, name), join(folder, digests[name]))
}

/** One random megabyte over and over; answers with the file's sha256 in hex. */
function writeNoise(path: string, bytes: number): string {
  const noise = randomBytes(MB)
  const hash = createHash('sha256')
  const fd = openSync(path, 'w')
  for (let left = bytes; left > 0; left -= MB) {
    writeSync(fd, noise)
    hash.update(noise)
  }
  closeSync(fd)
  return hash.digest('hex')
}
