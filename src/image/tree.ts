// The effective tree of a version: what there is when its layers have been laid one over the other, by the rules of the
// OCI image specification ("Image Layer Filesystem Changeset"). In a layer,
//   DIR/.wh.NAME     takes DIR/NAME of the layers below away, with all that is in it
//   DIR/.wh..wh..opq takes away all that the layers below have in DIR
// and any other member comes in the place of what was there; a directory over a directory keeps what is inside. What a
// layer takes away is never its own.
import { WireError } from '../fault.ts'
import type { LayerMember } from './archive-index.ts'
import type { FileFacts, Stored } from './compare-line.ts'
import { isWhiteout, WHITEOUT } from './whiteout.ts'

/** A path that is there in the end. */
export type TreeEntry = {
  facts: FileFacts // a hard link has those of the file that it is another name of
  stored: Stored // of this path's own member
  content: Span // the member that holds the content: of a hard link that of the file, which may have gone as a path
}
/** Where a member lies: `layer` is its number from the lowest, offsets are those of the uncompressed archive. */
export type Span = { layer: number; offset: number; end: number }

type Node = { entry?: TreeEntry; children?: Map<string, Node>; layer: number } // layer: the last one that came by here

const DEEPEST = 2048 // Linux opens no path of more than 4096 bytes
const OPAQUE = '.wh..wh..opq'

/** A tree that grows by `add`, lowest layer first. */
export function growTree() {
  const root: Node = { layer: 0 }
  let layer = -1

  /** Throws WireError for members that cannot all be there. */
  function add(members: readonly LayerMember[]) {
    layer++
    for (const { facts } of members) if (isWhiteout(facts.path)) takeAway(facts.path)
    for (const member of members) if (!isWhiteout(member.facts.path)) put(member)
  }

  function takeAway(path: string) {
    const parent = find(parentOf(path))
    if (parent === undefined) return
    const name = nameOf(path)
    if (name === OPAQUE) delete parent.children
    // Other names with a double prefix are notes of one old file system to itself.
    else if (!name.startsWith(`${WHITEOUT}${WHITEOUT}`)) parent.children?.delete(name.slice(WHITEOUT.length))
  }

  function put(member: LayerMember) {
    const { path, type } = member.facts
    const entry = entryOf(member)
    const node = makeWay(path)
    if (type !== 'd' && node.children !== undefined) {
      if ([...node.children.values()].some((child) => child.layer === layer))
        throw new WireError(`layer ${layer}: ${shown(path)} is no directory, but has something in it`)
      delete node.children
    }
    node.entry = entry
  }

  function entryOf(member: LayerMember): TreeEntry {
    const { facts, hardLinkTo, offset, end, sha256, xattrs, ctimeNs, inode } = member
    const own: Stored = {
      layer,
      offset,
      ...(sha256 !== undefined && { sha256 }),
      ...(xattrs !== undefined && { xattrs }),
      ...(ctimeNs !== undefined && { ctimeNs }),
      ...(inode !== undefined && { inode }),
    }
    if (hardLinkTo === undefined) return { facts, stored: own, content: { layer, offset, end } }
    const first = find(hardLinkTo)?.entry
    if (first === undefined || first.facts.type === 'd')
      throw new WireError(
        `layer ${layer}: ${shown(facts.path)} is a link to ${shown(hardLinkTo)}, which is not there`,
      )
    const { layer: _, offset: __, ...known } = first.stored
    return {
      facts: { ...first.facts, path: facts.path },
      stored: { ...known, ...own },
      content: first.content,
    }
  }

  /** The node of a path, made with all above it when it is not there. */
  function makeWay(path: string): Node {
    let node = root
    if (path === '.') return node
    const parts = path.split('/')
    if (parts.length > DEEPEST) throw new WireError(`layer ${layer}: ${shown(path)} is too deep`)
    for (let i = 0; i < parts.length; i++) {
      if (node.entry !== undefined && node.entry.facts.type !== 'd')
        throw new WireError(
          `layer ${layer}: ${shown(path)} lies below ${shown(parts.slice(0, i).join('/'))}, which is no directory`,
        )
      node.children ??= new Map()
      let child = node.children.get(parts[i]!)
      if (child === undefined) {
        child = { layer }
        node.children.set(parts[i]!, child)
      }
      child.layer = layer
      node = child
    }
    return node
  }

  function find(path: string): Node | undefined {
    if (path === '.') return root
    let node: Node | undefined = root
    for (const part of path.split('/')) {
      node = node?.children?.get(part)
      if (node === undefined) return undefined
    }
    return node
  }

  /** What is there now, by path in the order of LC_ALL=C. */
  function entries(): TreeEntry[] {
    const found: TreeEntry[] = []
    walk((_, node) => {
      if (node.entry !== undefined) found.push(node.entry)
    })
    return found.sort(byPath)
  }

  /** Directories that something lies in and that no layer describes. */
  function undescribed(): string[] {
    const found: string[] = []
    walk((path, node) => {
      if (node.entry === undefined && (path === '.' || (node.children?.size ?? 0) > 0)) found.push(path)
    })
    return found.sort()
  }

  /** Not by recursion: how deep a path is others decide. */
  function walk(visit: (path: string, node: Node) => void) {
    const open: [string, Node][] = [['.', root]]
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const [path, node] = next
      visit(path, node)
      for (const [name, child] of node.children ?? [])
        open.push([path === '.' ? name : `${path}/${name}`, child])
    }
  }

  return { add, entries, undescribed }
}

/** Entries that are names of one file, the one that is archived first at the head; files with one name are left out. */
export function hardLinkGroups(entries: readonly TreeEntry[]): TreeEntry[][] {
  const byContent = new Map<string, TreeEntry[]>()
  for (const entry of entries) {
    if (entry.facts.type === 'd') continue
    const key = `${entry.content.layer} ${entry.content.offset}`
    const group = byContent.get(key)
    if (group === undefined) byContent.set(key, [entry])
    else group.push(entry)
  }
  return [...byContent.values()]
    .filter((group) => group.length > 1)
    .map((group) =>
      group.sort((a, b) => a.stored.layer - b.stored.layer || a.stored.offset - b.stored.offset),
    )
}

const byPath = (a: TreeEntry, b: TreeEntry): number =>
  a.facts.path < b.facts.path ? -1 : a.facts.path > b.facts.path ? 1 : 0
const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1)
const parentOf = (path: string): string => (path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '.')
const shown = (path: string): string => JSON.stringify(`/${path.slice(0, 200)}`)
