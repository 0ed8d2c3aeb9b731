// "This path is gone", as OCI layers say it: an empty member DIR/.wh.NAME. (image-spec, layer.md, Whiteouts)
import { unescapePath } from './compare-line.ts'
import { renderTarHeader } from './tar-write.ts'

export const WHITEOUT = '.wh.'
/** The name of the pax header before a whiteout whose own name is long or no ASCII. */
export const whiteoutHeader = 'PaxHeaders/whiteout'

/** Whether the last part of the path says "gone" and is no file. */
export const isWhiteout = (path: string): boolean => path.startsWith(WHITEOUT, path.lastIndexOf('/') + 1)

/** The tar member that removes `path`, which is written as in a file list. It has no owner and no time: always the same bytes. */
export function renderWhiteout(path: string): Buffer {
  const whole = unescapePath(path)
  const at = whole.lastIndexOf('/') + 1
  const name = `${whole.slice(0, at)}${WHITEOUT}${whole.slice(at)}`
  return renderTarHeader({ path: name, type: 'file', mode: 0, pax: whiteoutHeader })
}
