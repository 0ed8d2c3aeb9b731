// A version laid out again by GNU tar and zstd alone, and told by find and getfattr: no code of ours judges itself.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'
import type { Digest } from '../../src/address.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { withFiles } from './golden.ts'

type Store = { blobPath(digest: Digest): string }
const flags =
  '-x -p -f - --same-owner --numeric-owner --xattrs --xattrs-include=* --acls --warning=no-timestamp'.split(
    ' ',
  )
const sh = (script: string, ...args: string[]) =>
  execFileSync('sh', ['-euc', script, 'sh', ...args], {
    env: { PATH: process.env.PATH, LC_ALL: 'C' },
    maxBuffer: 1 << 29,
  })

// The ramdisk knows no user but root: what an ACL says by name must not hang on that.
export const rootAlone = { '/etc/passwd': 'root:x:0:0:root:/:/bin/sh\n', '/etc/group': 'root:x:0:\n' }

/** As the ramdisk does it: each layer without what later ones replace, those with directories last. */
export function unpack(store: Store, version: ImageVersion, into: string): string {
  mkdirSync(into, { recursive: true })
  const lists = mkdtempSync(join(into, '../lists-'))
  const order = [
    ...version.layers.filter((l) => !l.directories),
    ...version.layers.filter((l) => l.directories),
  ]
  const inside = withFiles(lists, rootAlone)
  order.forEach(({ digest, superseded }, i) => {
    const list = join(lists, String(i))
    writeFileSync(list, superseded ? zstdDecompressSync(readFileSync(store.blobPath(superseded.digest))) : '')
    const without = [
      '--no-anchored',
      '--wildcards',
      '--exclude=.wh.*',
      '--no-recursion',
      '--anchored',
      '-X',
      list,
    ]
    const program = ['sh', '-euc', 'file=$1; shift; zstd -dcq "$file" | LC_ALL=C tar "$@"', 'sh']
    const [command, ...args] = [
      ...inside,
      ...program,
      store.blobPath(digest),
      ...flags,
      '-C',
      into,
      ...without,
    ]
    execFileSync(command!, args)
  })
  return into
}

/** As the image specification says it: layer upon layer, each whiteout takes away what lies below it. */
export function applyLayers(store: Store, version: ImageVersion, into: string): string {
  mkdirSync(into, { recursive: true })
  for (const { digest } of version.layers) {
    const names = sh('zstd -dcq "$1" | tar -tf - --quoting-style=escape', store.blobPath(digest))
    for (const line of names.toString('latin1').split('\n')) {
      const name = line.replace(/\\(\d{3}|.)/g, (_, what: string) =>
        what.length === 3 ? String.fromCharCode(Number.parseInt(what, 8)) : what === 'n' ? '\n' : what,
      )
      const [, folder = '', gone] = /^(.*\/)?\.wh\.([^/]+)$/s.exec(name) ?? []
      if (gone !== undefined)
        execFileSync('rm', [
          '-rf',
          '--',
          Buffer.from(`${into}/${folder}${gone}`, 'latin1') as unknown as string,
        ])
    }
    sh(
      'file=$1; shift; zstd -dcq "$file" | tar "$@" --exclude=".wh.*"',
      store.blobPath(digest),
      ...flags,
      '-C',
      into,
    )
  }
  return into
}

/** One line a path: type, mode, owner, size, time (not of directories, unless asked), link, number of names; then attributes and sums. */
export function told(root: string, { directoryTimes = true } = {}): string[] {
  const out = sh(
    `cd "$1"
     find . -printf '%P|%y|%m|%U|%G|%l' \\( -type d -printf '|${directoryTimes ? '%T@' : '-'}' -o -printf '|%s|%T@|%n' \\) -printf '\\0' | sort -z
     find . -type f -size -1000000k -print0 | sort -z | xargs -0 -r sha256sum -z --
     find . -type f -size +1000000k -exec tail -c 20 {} \\;
     find . \\( -type b -o -type c \\) -print0 | sort -z | xargs -0 -r stat --printf '%n %t:%T\\0' --
     find . ! -type l -print0 | sort -z | xargs -0 -r getfattr -h -d -m - -e hex -- 2>/dev/null | tr '\\n' '\\0'
     find . -type f -links +1 -printf '%P|inode%i\\0' | sort -z`,
    root,
  )
  // Inode numbers are other ones there: only who shares one counts.
  const numbers = new Map<string, number>()
  return out
    .toString('latin1')
    .split('\0')
    .map((line) =>
      line.replace(/\|inode(\d+)$/, (_, inode: string) => {
        if (!numbers.has(inode)) numbers.set(inode, numbers.size)
        return `|inode${numbers.get(inode)}`
      }),
    )
}
