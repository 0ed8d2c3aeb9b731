// "This path is gone", as OCI layers say it: an empty member DIR/.wh.NAME. (image-spec, layer.md, Whiteouts)
// Header: name 0,100 mode 100,8 uid 108,8 gid 116,8 size 124,12 mtime 136,12 chksum 148,8 typeflag 156,1 magic 257,8
import { unescapePath } from './compare-line.ts'
import { BLOCK } from './tar.ts'

const PREFIX = '.wh.'
/** The name of the pax header before a whiteout whose own name is long or not plain. */
export const whiteoutHeader = 'PaxHeaders/whiteout'

export const isWhiteout = (path: string): boolean => path.slice(path.lastIndexOf('/') + 1).startsWith(PREFIX)

/** The tar member that removes `path`, which is written as in a file list. It has no owner and no time: always the same bytes. */
export function renderWhiteout(path: string): Buffer {
  const whole = unescapePath(path)
  const at = whole.lastIndexOf('/') + 1
  const name = `${whole.slice(0, at)}${PREFIX}${whole.slice(at)}`
  if (name.length <= 100 && /^[\x20-\x7e]*$/.test(name)) return header(name, '0', 0)
  const record = paxRecord('path', name)
  const padding = Buffer.alloc((BLOCK - (record.length % BLOCK)) % BLOCK)
  return Buffer.concat([
    header(whiteoutHeader, 'x', record.length),
    record,
    padding,
    header(name.slice(0, 100), '0', 0),
  ])
}

/** Two empty blocks: the end of an archive that has nothing else behind it. */
export const archiveEnd = (): Buffer => Buffer.alloc(2 * BLOCK)

function header(name: string, flag: string, size: number): Buffer {
  const block = Buffer.alloc(BLOCK)
  const octal = (value: number, at: number, digits: number) =>
    block.write(`${value.toString(8).padStart(digits, '0')}\0`, at, 'latin1')
  block.write(name, 0, 100, 'latin1')
  octal(0, 100, 7)
  octal(0, 108, 7)
  octal(0, 116, 7)
  octal(size, 124, 11)
  octal(0, 136, 11)
  block.write(flag, 156, 'latin1')
  block.write('ustar\x0000', 257, 'latin1')
  block.fill(' ', 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

/** `LENGTH KEY=VALUE\n`, where LENGTH counts its own digits too. */
function paxRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`
  let length = rest.length + 1
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length
  return Buffer.from(`${length}${rest}`, 'latin1')
}
