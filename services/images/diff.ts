// `sysclone diff img:2 img:3`: the manifests of two versions side by side.
import { parseManifestLine } from '../../src/image/compare-line.ts'
import type { Difference } from '../../src/image/difference.ts'
import { byPath, differenceOf } from '../../src/image/difference.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import { readManifest } from './manifest.ts'
import type { Outlet } from './outlet.ts'
import { shownPath } from './shown-path.ts'
import type { Images } from './store.ts'

/** Writes a JSON object a line, by path; answers with how many there are. */
export async function diffVersions(
  images: Pick<Images, 'placeOf'>,
  [from, to]: [ImageVersion, ImageVersion],
  outlet: Outlet,
): Promise<number> {
  const found = await differences(images, from, to)
  for (const { path, ...difference } of found)
    await outlet.write(`${JSON.stringify({ ...shownPath(path), ...difference })}\n`)
  return found.length
}

/** Of the first one the lines are held, as text: a tree has millions of files. */
async function differences(images: Pick<Images, 'placeOf'>, from: ImageVersion, to: ImageVersion) {
  const before = new Map<string, string>()
  await readManifest(images, from, (line) => void before.set(pathField(line), line))
  const found: Difference[] = []
  await readManifest(images, to, (line) => {
    const key = pathField(line)
    const old = before.get(key)
    before.delete(key)
    const file = parseManifestLine(line)
    const difference =
      old === undefined
        ? { path: file.path, change: 'added' as const, type: file.type }
        : differenceOf(parseManifestLine(old), file)
    if (difference) found.push(difference)
  })
  for (const line of before.values()) {
    const { path, type } = parseManifestLine(line)
    found.push({ path, change: 'removed', type })
  }
  return found.sort(byPath)
}

/** The path as it stands in the line, escaped. */
export function pathField(line: string): string {
  let at = 0
  for (let field = 0; field < 7; field++) at = line.indexOf('\t', at) + 1
  return line.slice(at, line.indexOf('\t', at))
}
