import type { Command } from 'commander'
import type { UserError } from '../../src/fault.ts'
import type { CaptureReport } from '../../src/image/capture-report.ts'
import type { Preflight } from '../../src/image/preflight.ts'
import { showPreflight } from '../../src/image/preflight-text.ts'
import { renderCaptureReport } from '../../src/image/report-text.ts'
import { type Needs, type Shared, serverCommand } from './needs.ts'
import { tableOf } from './table.ts'

type Row = {
  name: string
  version: number
  digest: string
  createdAt: string
  source: string
  arch: string
  firmware: string
  os: { name: string }
  kernelRelease: string
  bytes: number
  ownBytes: number
  sharedBytes: number
  tarBytes: number
  layerCount: number
  origin?: string
  place?: string
  notDeployable?: string[]
}
type Detail = Row & {
  layers: { digest: string; bytes: number; tarBytes: number; entryCount: number }[]
  layout: { disks: { path: string; bytes: number; label: string; partitions: Part[] }[] }
  nodes: string[]
  base?: string
  excludes?: string[]
  report?: CaptureReport
  preflight?: Preflight
  scrub?: string
}
type Part = { number: number; filesystem?: { type: string; mountpoint?: string; label?: string } }
type Options = Shared & { l?: boolean; z?: boolean; report?: boolean }

/** `lsimage [IMAGE...]`: every version that can be deployed; `-l` and `-z` say all of each. */
export function lsimage(program: Command, { api, print }: Needs) {
  serverCommand(program, 'lsimage', 'list the versions of osimages that can be deployed')
    .argument('[images...]', 'only these: img is all its versions, img:2 that one')
    .option('-l', 'everything of each version')
    .option('-z', 'the same as stanzas')
    .option('--report', 'what the capture of each did, and what of identities and secrets was found')
    .action(async (asked: string[], { server, json, l, z, report }: Options) => {
      const client = api(server)
      const { images, broken } = (await client.get('/images')) as {
        images: Row[]
        broken?: UserError['fault'][]
      }
      for (const fault of asked.length === 0 ? (broken ?? []) : []) print.fault(fault)
      for (const each of asked)
        if (!images.some((row) => isMeant(row, each)))
          print.fault({
            error: each.includes(':') ? 'no such version' : 'no such osimage',
            what: each,
            object: each,
          })
      const shown = images.filter((row) => asked.length === 0 || asked.some((each) => isMeant(row, each)))
      if (!l && !z && !report)
        return json ? print.json(shown) : print.line(tableOf(print, head(shown), shown.map(cells(shown))))
      const details: Detail[] = []
      for (const row of shown) details.push((await client.get(`/images/${nameOf(row)}`)).image)
      if (json) print.json(details)
      else if (report) print.line(details.flatMap(reportLines))
      else print.line(details.flatMap((detail) => stanza(detail, z === true)))
    })
}

const nameOf = ({ name, version }: Row) => `${name}:${version}`
const isMeant = (row: Row, asked: string) => asked === row.name || asked === nameOf(row)

const head = (shown: Row[]) => [
  ...['IMAGE', 'CAPTURED', 'FROM', 'ARCH', 'FIRMWARE', 'STORED', 'OWN', 'SHARED', 'CONTENT', 'OS'],
  ...(shown.some(({ place }) => place) ? ['PLACE'] : []),
  ...(shown.some(({ notDeployable }) => notDeployable) ? ['NOT YET DEPLOYABLE'] : []),
]
const cells =
  (shown: Row[]) =>
  (image: Row): string[] => [
    nameOf(image),
    image.createdAt.slice(0, 16).replace('T', ' '),
    image.source,
    image.arch,
    image.firmware,
    megabytes(image.bytes),
    megabytes(image.ownBytes),
    megabytes(image.sharedBytes),
    megabytes(image.tarBytes),
    image.os.name,
    ...(shown.some(({ place }) => place) ? [image.place ?? ''] : []),
    ...(shown.some(({ notDeployable }) => notDeployable) ? [(image.notDeployable ?? []).join('; ')] : []),
  ]

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`

const reportLines = (image: Detail): string[] => [
  `${nameOf(image)}:`,
  ...[
    ...(image.report ? renderCaptureReport(image.report) : [`${image.origin ?? 'no report was kept'}`]),
    ...(image.preflight ? showPreflight(image.preflight) : []),
  ].map((line) => `    ${line}`),
]

/** As lsdef prints an object; `-z` is the form that stanza files have. */
function stanza(image: Detail, isFile: boolean): string[] {
  const facts: Record<string, string | undefined> = {
    objtype: isFile ? 'image' : undefined,
    digest: image.digest,
    captured: image.createdAt,
    source: image.source,
    origin: image.origin,
    base: image.base,
    exclude: image.excludes?.join(','),
    arch: image.arch,
    firmware: image.firmware,
    os: image.os.name,
    kernel: image.kernelRelease,
    place: image.place,
    stored: `${image.bytes}`,
    own: `${image.ownBytes}`,
    shared: `${image.sharedBytes}`,
    content: `${image.tarBytes}`,
    layers: image.layers
      .map(({ digest, bytes, entryCount }) => `${digest.slice(0, 19)}(${bytes},${entryCount})`)
      .join(' '),
    disks: image.layout.disks.map(diskText).join('; '),
    notdeployable: image.notDeployable?.join('; '),
    scrub: image.scrub,
    nodes: image.nodes.join() || undefined,
  }
  const lines = Object.entries(facts).flatMap(([key, value]) =>
    value === undefined ? [] : [`    ${key}=${value}`],
  )
  return [isFile ? `${nameOf(image)}:` : `Object name: ${nameOf(image)}`, ...lines]
}

const diskText = ({ path, bytes, label, partitions }: Detail['layout']['disks'][number]) =>
  `${path} ${label} ${bytes} ${partitions.map(partText).join(' ')}`
const partText = ({ number, filesystem }: Part) =>
  `${number}:${filesystem ? [filesystem.type, filesystem.mountpoint].filter(Boolean).join(',') : '-'}`
