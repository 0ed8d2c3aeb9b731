// SystemImager's cluster.xml: which groups there are, their images, and who is in them. Where groups disagree the lowest
// priority number wins, a group without one comes last, equal ones go by their names.
import { type ImageName, ipv4ToNumber, isIpv4, type NodeName, parseImageName } from '../address.ts'
import { parsePool } from '../config-rules.ts'
import { type Fault, UserError } from '../fault.ts'
import { spellNames } from '../noderange.ts'
import { type Element, parseXml } from '../xml.ts'
import type { AddressRange } from './network.ts'
import { parseGroupName, parseOverrideName } from './values.ts'

export type ClusterGroup = {
  name: string
  priority?: number
  image?: ImageName
  overrides: string[] // the first one counts most
  nodes: NodeName[]
  ranges: AddressRange[]
}
/** `groups`: the foremost first. `left`: what has no counterpart here, in words. */
export type Cluster = { groups: ClusterGroup[]; left: string[] }

/** A node as the server shows it. */
export type KnownNode = { name: string; ip: string; groups: string; osimage: string }
export type Definition = { type: 'node' | 'group' | 'osimage'; name: string; attrs: Record<string, string> }
/** Which image a node gets, and which groups say otherwise. */
export type Choice = { node: string; image: string; of: string; others: string[] }
export type Import = { definitions: Definition[]; choices: Choice[]; newImages: string[]; keepOwn: string[] }

type Draft = ClusterGroup & { left: string[] }
type Row = (draft: Draft, text: string) => Draft | undefined

const words = (text: string) => text.split(/[\s,]+/).filter(Boolean)

// One row per element of a group; no answer: it has no counterpart here.
const rows: Record<string, Row> = {
  name: (draft, text) => ({ ...draft, name: parseGroupName(text) }),
  priority: (draft, text) => (text === '' ? draft : { ...draft, priority: parsePriority(text) }),
  image: (draft, text) => (text === '' || draft.image ? draft : { ...draft, image: parseImageName(text) }),
  node: addNodes,
  dynamic_node: addNodes, // a machine that SystemImager put into the group by itself
  'ip-range': (draft, text) => ({ ...draft, ranges: [...draft.ranges, parsePool(text)] }),
  override: addOverrides,
  domain: () => undefined,
}

function addNodes(draft: Draft, text: string): Draft {
  const names = words(text)
  return names.length === 0 ? draft : { ...draft, nodes: [...draft.nodes, ...spellNames(names.join())] }
}

function addOverrides(draft: Draft, text: string): Draft {
  const overrides = [...draft.overrides, ...words(text).map(parseOverrideName)]
  return { ...draft, overrides: [...new Set(overrides)] }
}

function parsePriority(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new UserError('not a priority', { what: text, allowed: '0 to 999999' })
  return Number(text)
}

/** What the file says; a UserError has all that is wrong in it, each with its line. */
export function parseCluster(text: string, file: string): Cluster {
  const root = parseXml(text, file)
  const faults: Fault[] = []
  const left: string[] = []
  const groups: ClusterGroup[] = []
  for (const element of root.children) {
    if (element.name === 'group') readGroup(element)
    else if (element.name === 'override') readGlobal(words(element.text))
    else if (element.name !== 'master' && element.name !== 'name')
      unknown(element, 'master name override group')
  }
  const [first, ...others] = faults
  if (first) throw new UserError(first.error, first, others)
  return { groups: groups.sort(foremost), left }

  /** What is laid over all nodes has one name here. */
  function readGlobal(names: string[]) {
    for (const name of names)
      if (name !== 'all') left.push(`override ${name} of all nodes: its files belong into overrides/all here`)
  }

  function readGroup(group: Element) {
    let draft: Draft = { name: '', overrides: [], nodes: [], ranges: [], left: [] }
    for (const element of group.children) draft = readElement(draft, element)
    const { left: more, ...made } = draft
    const twice = groups.some(({ name }) => name === made.name)
    if (made.name === '') add({ error: 'a group without a name', what: '<group>' }, group)
    else if (twice) add({ error: 'the group is there twice', what: made.name }, group)
    groups.push({ ...made, nodes: [...new Set(made.nodes)] })
    left.push(...more.map((what) => `${what} of group ${made.name}`))
  }

  function readElement(draft: Draft, element: Element): Draft {
    const { name, text } = element
    if (!Object.hasOwn(rows, name)) {
      unknown(element, Object.keys(rows).join(' '))
      return draft
    }
    try {
      return rows[name]!(draft, text.trim()) ?? { ...draft, left: [...draft.left, `${name} ${text.trim()}`] }
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      add(error.fault, element)
      return draft
    }
  }

  function unknown(element: Element, allowed: string) {
    add({ error: 'no such element', what: `<${element.name}>`, allowed }, element)
  }
  function add(fault: Fault, { line }: Element) {
    faults.push({ ...fault, object: `${file}:${line}` })
  }
}

const rank = ({ priority = Number.POSITIVE_INFINITY }: ClusterGroup) => priority
function foremost(a: ClusterGroup, b: ClusterGroup): number {
  if (rank(a) !== rank(b)) return rank(a) < rank(b) ? -1 : 1
  return a.name < b.name ? -1 : 1
}

/**
 * What is to be written. The image stays with its group, as in the file, so that moving a group to another image still is
 * one change; a node that has an osimage of its own keeps it. A range of addresses means nodes that are defined already.
 */
export function planImport({ groups }: Cluster, known: KnownNode[], osimages: string[]): Import {
  const all = new Map(known.map((node) => [node.name, node]))
  const inGroup = new Map<string, ClusterGroup[]>()
  for (const group of groups)
    for (const name of [...group.nodes, ...inRanges(group, known)]) {
      const its = inGroup.get(name) ?? inGroup.set(name, []).get(name)!
      if (!its.includes(group)) its.push(group)
    }
  const images = [...new Set(groups.flatMap(({ image }) => image ?? []))]
  const newImages = images.filter((image) => !osimages.includes(image))
  const choices = [...inGroup].flatMap(([node, its]) => choiceOf(node, its))
  const keepOwn = [...inGroup.keys()].filter((name) => all.get(name)?.osimage)
  const definitions: Definition[] = [
    ...newImages.map((name): Definition => ({ type: 'osimage', name, attrs: {} })),
    ...[...inGroup].map(([name, its]): Definition => {
      const before = words(all.get(name)?.groups ?? '')
      const merged = [...new Set([...before, ...its.map((group) => group.name)])]
      return { type: 'node', name, attrs: { groups: merged.join() } }
    }),
    ...groups.map(({ name, priority, image, overrides }): Definition => {
      const attrs = {
        ...(priority !== undefined && { priority: `${priority}` }),
        ...(image && { osimage: image }),
        ...(overrides.length > 0 && { overrides: overrides.join() }),
      }
      return { type: 'group', name, attrs }
    }),
  ]
  return { definitions, choices, newImages, keepOwn }
}

function inRanges({ ranges }: ClusterGroup, known: KnownNode[]): string[] {
  const within = ({ ip }: KnownNode) =>
    isIpv4(ip) &&
    ranges.some(({ from, to }) => {
      const number = ipv4ToNumber(ip)
      return number >= ipv4ToNumber(from) && number <= ipv4ToNumber(to)
    })
  return known.filter(within).map(({ name }) => name)
}

function choiceOf(node: string, its: ClusterGroup[]): Choice[] {
  const [first, ...rest] = its.filter(({ image }) => image !== undefined)
  if (!first) return []
  const others = rest.filter(({ image }) => image !== first.image)
  return [
    { node, image: first.image!, of: first.name, others: others.map((g) => `${g.name} says ${g.image}`) },
  ]
}
