// A golden client's files as they are in size and number: about 75,000 entries and 2.4 GB that compress to about a third.
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeTree } from '../capture/golden.ts'

const POOL = 32 << 20
/** How many files of how many bytes, on average, in how many folders. */
const kinds = [
  { count: 60_000, bytes: 8_000, folders: 1200 },
  { count: 13_000, bytes: 60_000, folders: 400 },
  { count: 34, bytes: 34_000_000, folders: 4 },
]

/** Numbers that are the same in every run. */
function numbers(seed: number) {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

/** Words, the frequent ones much more often, as in programs and texts. */
function makePool(): Buffer {
  const next = numbers(1)
  const word = () =>
    Buffer.from(Array.from({ length: 4 + Math.floor(next() * 21) }, () => Math.floor(next() * 256)))
  const words = Array.from({ length: 3000 }, word)
  const pool = Buffer.alloc(POOL)
  for (let at = 0; at < POOL; ) at += words[Math.floor(next() ** 3 * words.length)]!.copy(pool, at)
  return pool
}

const pool = makePool()
/** Content that no two files share at the same place. */
export function content(bytes: number, next: () => number): Buffer {
  const parts: Buffer[] = []
  for (let left = bytes; left > 0; ) {
    const start = Math.floor(next() * (POOL - 1))
    const part = pool.subarray(start, Math.min(POOL, start + left))
    parts.push(part)
    left -= part.length
  }
  return Buffer.concat(parts)
}

export const bigFile = 'srv/added'
export type GoldenTree = { root: string; changeOnePercent(): string[] }

/** Makes it, unless it is there from another run; what an earlier run added is taken away. */
export function makeGoldenTree(root: string): GoldenTree {
  const isWhole = join(root, '../whole')
  const paths = kinds.flatMap(({ count, folders }, kind) =>
    Array.from({ length: count }, (_, i) => `usr/k${kind}/d${i % folders}/file-${i}`),
  )
  if (!existsSync(isWhole)) {
    rmSync(root, { recursive: true, force: true })
    mkdirSync(root, { recursive: true })
    makeTree(root)
    const next = numbers(2)
    let at = 0
    for (const [kind, { count, bytes, folders }] of kinds.entries()) {
      for (let i = 0; i < folders; i++) mkdirSync(join(root, `usr/k${kind}/d${i}`), { recursive: true })
      for (let i = 0; i < count; i++)
        writeFileSync(join(root, paths[at++]!), content(Math.ceil(bytes * (0.2 + 1.6 * next())), next))
    }
    writeFileSync(isWhole, '')
  }
  rmSync(join(root, bigFile), { force: true })
  return {
    root,
    /** One file in a hundred anew, and one of 200 MB; answers with their paths. */
    changeOnePercent() {
      const next = numbers(Date.now() >>> 0)
      const changed = paths.filter((_, i) => i % 100 === 7 && i < 73_000)
      for (const path of changed) writeFileSync(join(root, path), content(Math.ceil(20_000 * next()), next))
      mkdirSync(join(root, 'srv'), { recursive: true })
      writeFileSync(join(root, bigFile), content(200_000_000, next))
      return [...changed, bigFile]
    },
  }
}

const MANY = { folders: 2000, files: 500 } // in each

/** A million files of a few bytes: what counts is their number. It is made anew when an earlier run has changed it. */
export function makeManyFiles(root: string) {
  const isWhole = join(root, '../whole')
  const folder = (i: number) => join(root, `usr/share/many-${i}`)
  if (!existsSync(isWhole)) {
    rmSync(root, { recursive: true, force: true })
    mkdirSync(root, { recursive: true })
    makeTree(root)
    for (let i = 0; i < MANY.folders; i++) {
      mkdirSync(folder(i), { recursive: true })
      for (let j = 0; j < MANY.files; j++) writeFileSync(join(folder(i), `file-of-many-${j}`), `${i} ${j}`)
    }
    writeFileSync(isWhole, '')
  }
  return {
    root,
    /** One file in twenty gets another mode, and every fifth folder another name. */
    change() {
      rmSync(isWhole)
      for (let i = 0; i < MANY.folders; i++) {
        for (let j = 0; j < MANY.files; j += 20) chmodSync(join(folder(i), `file-of-many-${j}`), 0o600)
        if (i % 5 === 0) renameSync(folder(i), `${folder(i)}-renamed`)
      }
    },
  }
}
