// File trees that are laid over an image while it is installed. A person puts them into folders of the state directory; a
// node that starts to install gets them as blobs, packed as they are at that moment.
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { chmod, mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createZstdCompress } from 'node:zlib'
import type { Digest, ImageName } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import type { PackedOverride } from '../../src/install/plan.ts'
import { type Group, type Override, overridesFor } from '../../src/node/group.ts'
import type { Node } from '../../src/node/node.ts'

const MOST_BYTES = 2 ** 30 // of tar; more belongs into the image
const lookAgainMs = 2000 // a thousand nodes that start at once have the trees looked at once
const keptMs = 24 * 3600_000 // an install is over by then

type Needs = {
  folder: string // the trees, by name
  packed: string // blobs/sha256 in it is served
  groups: { list(): Promise<Group[]> }
  now?: () => number
  mostBytes?: number // of one tree, as tar
}
type Packed = PackedOverride & { signature: string; seenAt: number }

export async function openOverrides(needs: Needs) {
  const { folder, packed, groups, now = Date.now, mostBytes = MOST_BYTES } = needs
  const blobs = join(packed, 'blobs', 'sha256')
  const staging = join(packed, 'staging')
  await rm(staging, { recursive: true, force: true })
  for (const path of [folder, blobs, staging]) await mkdir(path, { recursive: true })
  await chmod(packed, 0o700) // trees carry keys and passwords
  const known = new Map<string, Packed>()
  const looking = new Map<string, Promise<Packed>>()

  const isThere = ({ name }: Override) =>
    stat(join(folder, name)).then(
      (found) => found.isDirectory(),
      () => false,
    )

  /** Those that are there; throws UserError when one is missing that was asked for. */
  async function choose(node: Node, image: ImageName): Promise<string[]> {
    const names: string[] = []
    for (const each of overridesFor(node, image, await groups.list())) {
      if (await isThere(each)) names.push(each.name)
      else if (each.must)
        throw new UserError('an override is missing', {
          what: `${each.name} of ${each.of}`,
          allowed: `the folder ${join(folder, each.name)}`,
          object: node.name,
        })
    }
    return [...new Set(names.reverse())].reverse() // of two places the later one counts
  }

  /** One after the other: packing takes a processor. */
  async function pack(node: Node, image: ImageName): Promise<PackedOverride[]> {
    const all: PackedOverride[] = []
    for (const each of await choose(node, image)) {
      const { name, digest, bytes } = await packOne(each)
      all.push({ name, digest, bytes })
    }
    return all
  }

  /** Whoever asks while one is looked at gets the same answer. */
  async function packOne(name: string): Promise<Packed> {
    const before = known.get(name)
    if (before && now() - before.seenAt < lookAgainMs) return before
    const looked = looking.get(name) ?? look(name, before).finally(() => looking.delete(name))
    looking.set(name, looked)
    return looked
  }

  async function look(name: string, before: Packed | undefined): Promise<Packed> {
    const tree = join(folder, name)
    const signature = await signatureOf(tree).catch((error) => {
      throw refused(name, error)
    })
    const seenAt = now()
    const same = before?.signature === signature && (await touch(before.digest, seenAt))
    const found = same ? { ...before, seenAt } : { ...(await make(name, tree)), signature, seenAt }
    known.set(name, found)
    if (!same) await forgetOld(seenAt)
    return found
  }

  async function make(name: string, tree: string): Promise<PackedOverride> {
    const file = join(staging, randomBytes(8).toString('hex'))
    try {
      const { digest, bytes } = await tarInto(file, tree, mostBytes)
      await rename(file, join(blobs, digest.slice('sha256:'.length)))
      return { name, digest, bytes }
    } catch (error) {
      throw error instanceof UserError ? error : refused(name, error)
    } finally {
      await rm(file, { force: true })
    }
  }

  const pathOf = (digest: Digest) => join(blobs, digest.slice('sha256:'.length))
  /** Says that it is needed still; false when it is gone. */
  const touch = (digest: Digest, at: number) =>
    utimes(pathOf(digest), at / 1000, at / 1000).then(
      () => true,
      () => false,
    )

  async function forgetOld(at: number) {
    for (const name of await readdir(blobs)) {
      const found = await stat(join(blobs, name)).catch(() => undefined)
      if (found && at - found.mtimeMs > keptMs) await rm(join(blobs, name), { force: true })
    }
  }

  return { check: async (node: Node, image: ImageName) => void (await choose(node, image)), pack }
}

/** Changes when anything in the tree does. */
async function signatureOf(tree: string): Promise<string> {
  const hash = createHash('sha256')
  const find = start('find', ['.', '-printf', '%p %y %s %m %U %G %i %T@ %C@ %l\\0'], tree)
  for await (const chunk of find.output) hash.update(chunk)
  await find.ended()
  return hash.digest('hex')
}

/** The same tree always gives the same bytes. */
async function tarInto(
  file: string,
  tree: string,
  mostBytes: number,
): Promise<{ digest: Digest; bytes: number }> {
  const tar = start(
    'tar',
    [
      ...['-c', '-f', '-', '--sort=name', '--numeric-owner', '--xattrs', '--xattrs-include=*', '--acls'],
      ...['--format=posix', '--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime', '.'],
    ],
    tree,
  )
  let tarBytes = 0
  const counted = new Transform({
    transform(chunk: Buffer, _, done) {
      tarBytes += chunk.length
      done(tarBytes > mostBytes ? tooLarge(tree, mostBytes) : null, chunk)
    },
  })
  const hash = createHash('sha256')
  let bytes = 0
  const hashed = new Transform({
    transform(chunk: Buffer, _, done) {
      hash.update(chunk)
      bytes += chunk.length
      done(null, chunk)
    },
  })
  const target = createWriteStream(file, { mode: 0o600, flags: 'wx', flush: true })
  await pipeline(tar.output, counted, createZstdCompress(), hashed, target)
  await tar.ended()
  return { digest: `sha256:${hash.digest('hex')}` as Digest, bytes }
}

/** A command whose output is read to its end, and which then must have ended well. */
function start(command: string, args: string[], cwd: string) {
  const child = spawn(command, args, {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C' },
  })
  let said = ''
  child.stderr.on('data', (chunk) => (said = `${said}${chunk}`.slice(-1000)))
  const gone = new Promise<number | string | null>((done) => {
    child.once('error', (error) => done(error.message))
    child.once('close', (code) => done(code))
  })
  return {
    output: child.stdout,
    async ended() {
      const how = await gone
      if (how !== 0) throw new Error(typeof how === 'string' ? how : said.trim() || `${command} failed`)
    },
  }
}

const tooLarge = (tree: string, mostBytes: number) =>
  new UserError('the override is too large', {
    what: tree,
    allowed: `${mostBytes} bytes; more belongs into the image`,
    status: 500,
  })
const refused = (name: string, error: unknown) =>
  new UserError('the override can not be packed', {
    what: `${name}: ${error instanceof Error ? error.message : error}`,
    status: 500,
  })
