// Cutting a capture into disjoint layers that unpack at the same time: by directory, of about equal weight, hard links
// of one file together. The last layer holds every directory entry and nothing else: it is unpacked last, when no
// other entry can change a directory's time any more.
import { UserError } from '../fault.ts'
import type { ListedFile } from './compare-line.ts'

const MAX_FILE_LAYERS = 3
const LAYER_BYTES = 96 << 20 // below this one more stream does not pay
const FILE_COST = 8192 // making a file costs the target about as much as writing so many bytes

/** A version of more layers is squashed by the server itself after its capture: each costs an install a stream of its own. */
const MOST_LAYERS = 24

export const needsSquash = ({ layers }: { layers: readonly unknown[] }): boolean =>
  layers.length > MOST_LAYERS

type Tree = { weight: number; files: ListedFile[]; children: Map<string, Tree> }
const emptyTree = (): Tree => ({ weight: 0, files: [], children: new Map() })
type Unit = { weight: number; files: ListedFile[] }

/** What each layer holds, by path. Every layer but the last is without directories. */
export function planLayers(files: readonly ListedFile[]): ListedFile[][] {
  refuseWhiteouts(files)
  const directories = files.filter((file) => file.type === 'd')
  const others = files.filter((file) => file.type !== 'd')
  const layers = others.length === 0 ? [] : balance(joinHardLinks(cut(others)), countFor(others))
  return [...layers, directories].map((layer) => layer.sort(byPath))
}

/** OCI layers use these names for "this path is gone": such a file would delete its neighbour when unpacked. */
function refuseWhiteouts(files: readonly ListedFile[]) {
  const wrong = files.filter((file) => /(^|\/)\.wh\.[^/]*$/.test(file.path))
  if (wrong.length === 0) return
  throw new UserError('names beginning with .wh. cannot be captured', {
    what:
      wrong
        .slice(0, 5)
        .map((file) => `/${file.path}`)
        .join(', ') + (wrong.length > 5 ? ', ...' : ''),
    allowed: 'rename or remove them: in an image they mean "deleted"',
  })
}

const cost = (file: ListedFile): number => FILE_COST + (file.type === 'f' ? (file.size ?? 0) / file.links : 0)

function countFor(files: ListedFile[]): number {
  const weight = files.reduce((sum, file) => sum + cost(file), 0)
  return Math.max(1, Math.min(MAX_FILE_LAYERS, Math.ceil(weight / LAYER_BYTES)))
}

/** Whole directories, and parts of those that are too heavy for one piece. */
function cut(files: ListedFile[]): Unit[] {
  const root = emptyTree()
  for (const file of files) plant(root, file)
  const limit = root.weight / (MAX_FILE_LAYERS * 4)
  const units: Unit[] = []
  const open = [root]
  for (let tree = open.pop(); tree !== undefined; tree = open.pop()) {
    if (tree.weight <= limit) units.push({ weight: tree.weight, files: everyFile(tree) })
    else {
      for (const file of tree.files) units.push({ weight: cost(file), files: [file] })
      for (const child of tree.children.values()) open.push(child)
    }
  }
  return units
}

function plant(root: Tree, file: ListedFile) {
  let tree = root
  tree.weight += cost(file)
  for (const part of file.path.split('/').slice(0, -1)) {
    const child = tree.children.get(part) ?? emptyTree()
    tree.children.set(part, child)
    child.weight += cost(file)
    tree = child
  }
  tree.files.push(file)
}

function everyFile(tree: Tree): ListedFile[] {
  const files: ListedFile[] = []
  const open = [tree]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const file of next.files) files.push(file)
    for (const child of next.children.values()) open.push(child)
  }
  return files
}

/** Joins all pieces that share a file with several names. */
function joinHardLinks(units: Unit[]): Unit[] {
  const parent = units.map((_, index) => index)
  const find = (index: number): number => {
    let top = index
    while (parent[top] !== top) top = parent[top] = parent[parent[top]!]!
    return top
  }
  const owner = new Map<string, number>()
  units.forEach((unit, index) => {
    for (const file of unit.files) {
      if (file.links < 2) continue
      const other = owner.get(file.inode)
      if (other === undefined) owner.set(file.inode, index)
      else parent[find(index)] = find(other)
    }
  })
  const joined = new Map<number, Unit>()
  units.forEach((unit, index) => {
    const into = joined.get(find(index))
    if (into === undefined) joined.set(find(index), { weight: unit.weight, files: [...unit.files] })
    else {
      into.weight += unit.weight
      for (const file of unit.files) into.files.push(file)
    }
  })
  return [...joined.values()]
}

/** The heaviest piece first, each to the lightest layer. */
function balance(units: Unit[], count: number): ListedFile[][] {
  const bins: Unit[] = Array.from({ length: count }, () => ({ weight: 0, files: [] }))
  for (const unit of units.sort((a, b) => b.weight - a.weight || byPath(a.files[0]!, b.files[0]!))) {
    const bin = bins.reduce((light, next) => (next.weight < light.weight ? next : light))
    bin.weight += unit.weight
    for (const file of unit.files) bin.files.push(file)
  }
  return bins.map((bin) => bin.files).filter((files) => files.length > 0)
}

/** By bytes: paths are one character a byte. */
const byPath = (a: ListedFile, b: ListedFile): number => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0)
