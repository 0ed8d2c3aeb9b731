// Osimages in the database: what a person set, and what the newest version says. The image store is the truth about
// versions; these rows are made again from it at start.
import type { Kysely } from 'kysely'
import type { ImageName } from '../../src/address.ts'
import { UserError } from '../../src/fault.ts'
import type { Osimage } from '../../src/image/osimage.ts'
import { atomically } from './atomic.ts'
import { type Columns, fromRow, json, text, toRow } from './columns.ts'
import type { Tables } from './tables.ts'

const columns: Columns<Osimage> = {
  name: text,
  profile: text,
  addkcmdline: text,
  captured: json,
  provmethod: text,
  kernel: text,
  initrd: json,
  kcmdline: text,
  files: json,
  exclude: json,
  scrub: json,
  postscripts: json,
  postbootscripts: json,
  pkglist: json,
  pkgdir: json,
  otherpkglist: json,
  otherpkgdir: json,
  template: text,
  synclists: json,
  partitionfile: text,
  usercomment: text,
}

export function openOsimages(db: Kysely<Tables>) {
  async function get(name: ImageName): Promise<Osimage | undefined> {
    const row = await db.selectFrom('osimage').selectAll().where('name', '=', name).executeTakeFirst()
    return row && fromRow(columns, row)
  }

  async function list(): Promise<Osimage[]> {
    const rows = await db.selectFrom('osimage').selectAll().orderBy('name').execute()
    return rows.map((row) => fromRow(columns, row))
  }

  const put = (image: Osimage): Promise<void> => putMany([image])
  const putMany = (images: Osimage[]): Promise<void> =>
    atomically(db, async (t) => {
      for (const image of images) await write(t, image)
    })

  /** New osimages; refused when one of them exists. */
  function create(images: Osimage[]): Promise<void> {
    return atomically(db, async (t) => {
      for (const image of images) {
        if (await openOsimages(t).get(image.name)) throw alreadyThere(image.name)
        await write(t, image)
      }
    })
  }

  /** Reads, changes and writes as one step. */
  function change(names: ImageName[], edit: (image: Osimage) => Osimage): Promise<void> {
    return atomically(db, async (t) => {
      for (const name of names) {
        const image = await openOsimages(t).get(name)
        if (!image) throw noSuch(name)
        await write(t, edit(image))
      }
    })
  }

  function remove(names: ImageName[]): Promise<void> {
    return atomically(db, async (t) => {
      for (const name of names) {
        const gone = await t.deleteFrom('osimage').where('name', '=', name).executeTakeFirst()
        if (gone.numDeletedRows === 0n) throw noSuch(name)
      }
    })
  }

  return { get, list, put, putMany, create, change, remove }
}
export type Osimages = ReturnType<typeof openOsimages>

async function write(db: Kysely<Tables>, image: Osimage) {
  const row = toRow(columns, image)
  await db
    .insertInto('osimage')
    .values(row)
    .onConflict((c) => c.column('name').doUpdateSet(row))
    .execute()
}

const noSuch = (name: string) => new UserError('no such osimage', { what: name, object: name, status: 404 })
const alreadyThere = (name: string) =>
  new UserError('the osimage exists already', { what: name, allowed: 'chdef', object: name, status: 409 })
