// `sysclone cat img:3 /etc/fstab`: one file out of a version's layers, without unpacking them.
import { posix } from 'node:path'
import { UserError } from '../../src/fault.ts'
import type { FileFacts, Stored } from '../../src/image/compare-line.ts'
import { parseManifestLine, unescapePath } from '../../src/image/compare-line.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { versionName } from '../../src/image/version.ts'
import { pathField } from './diff.ts'
import { openLayer } from './layer.ts'
import { readManifest } from './manifest.ts'
import type { Outlet } from './outlet.ts'
import { shownPath, typedPath } from './shown-path.ts'
import type { Images } from './store.ts'

type File = FileFacts & Stored

/** Writes the content of the file; answers with its bytes. Throws UserError for what has none, naming what a link leads to. */
export async function catFile(
  images: Pick<Images, 'placeOf'>,
  { version, path: typed }: { version: ImageVersion; path: string },
  outlet: Outlet,
): Promise<number> {
  const path = typedPath(typed)
  const above = path.split('/').map((_, i, parts) => parts.slice(0, i + 1).join('/'))
  const found = await lookUp(images, version, new Set(above))
  const link = above.map((each) => found.get(each)).find((file) => file?.type === 'l')
  if (link) throw isLink(version, path, link)
  const file = found.get(path)
  if (file?.type !== 'f') throw noFile(version, path, file)
  const layer = await openLayer(images.placeOf(version).blobPath(version.layers[file.layer]!.digest))
  try {
    return await send(layer, file.offset, outlet)
  } finally {
    await layer.close()
  }
}

async function send(layer: Awaited<ReturnType<typeof openLayer>>, offset: number, outlet: Outlet) {
  let bytes = 0
  for await (const chunk of layer.streamFile(offset)) {
    bytes += chunk.length
    await outlet.write(chunk)
  }
  return bytes
}

async function lookUp(images: Pick<Images, 'placeOf'>, version: ImageVersion, wanted: Set<string>) {
  const found = new Map<string, File>()
  await readManifest(images, version, (line) => {
    const path = unescapePath(pathField(line))
    if (wanted.has(path)) found.set(path, parseManifestLine(line))
  })
  return found
}

/** A link leads to another path, which a person may want or not: it is named. */
function isLink(version: ImageVersion, path: string, link: File): UserError {
  const rest = path.slice(link.path.length + 1)
  const target = posix.resolve('/', posix.dirname(link.path), link.target!, rest)
  return new UserError('a symbolic link', {
    what: `${shown(link.path)} -> ${Buffer.from(link.target!, 'latin1').toString('utf8')}`,
    allowed: Buffer.from(target, 'latin1').toString('utf8'),
    object: versionName(version),
  })
}

const kinds: Record<FileFacts['type'], string> = {
  f: 'file',
  d: 'directory',
  l: 'symbolic link',
  b: 'block device',
  c: 'character device',
  p: 'named pipe',
}

const noFile = (version: ImageVersion, path: string, file: File | undefined) =>
  new UserError(file ? `a ${kinds[file.type]}` : 'no such file', {
    what: shown(path),
    ...(file && { allowed: 'a regular file' }),
    object: versionName(version),
    status: 404,
  })

const shown = (path: string) => shownPath(path).path
