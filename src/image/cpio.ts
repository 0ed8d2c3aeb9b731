// initramfs archives, format "newc" (kernel: Documentation/driver-api/early-userspace/buffer-format.rst):
//   110 bytes of hex header | name NUL, padded to 4 | content, padded to 4 | ... | TRAILER!!!
// Times and inode numbers are fixed, so equal content gives equal bytes.

export type CpioFile = { path: string; content: Buffer }

/** All parents of the files are made first, as directories 0755; files are 0644, all of root. */
export function renderCpio(files: readonly CpioFile[]): Buffer {
  const sorted = [...files].sort((a, b) => (a.path < b.path ? -1 : 1))
  const parents = new Set<string>()
  for (const { path } of sorted)
    for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1)) parents.add(path.slice(0, at))
  let inode = 0
  const member = (path: string, mode: number, content: Buffer = Buffer.alloc(0)) =>
    renderMember(path, mode, ++inode, content)
  return Buffer.concat([
    ...[...parents].sort().map((path) => member(path, 0o040755)),
    ...sorted.map(({ path, content }) => member(path, 0o100644, content)),
    renderMember('TRAILER!!!', 0, 0, Buffer.alloc(0)),
  ])
}

function renderMember(path: string, mode: number, inode: number, content: Buffer): Buffer {
  const name = Buffer.from(`${path}\0`, 'latin1')
  const links = mode === 0o040755 ? 2 : 1
  // inode mode uid gid nlink mtime size devmajor devminor rdevmajor rdevminor namesize check
  const fields = [inode, mode, 0, 0, links, 0, content.length, 0, 0, 0, 0, name.length, 0]
  const header = `070701${fields.map((n) => n.toString(16).padStart(8, '0')).join('')}`
  const head = Buffer.concat([Buffer.from(header, 'latin1'), name])
  return Buffer.concat([head, padding(head.length), content, padding(content.length)])
}

const padding = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4)
