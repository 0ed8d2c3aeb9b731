// What `explain` found, as text: aligned, nothing cut off that matters.
import type { Step } from '../../src/boot/record.ts'
import { type Difference, describePacket, type Field } from '../../src/dhcp/describe.ts'
import { sizeText } from '../../src/timeline.ts'
import { widest } from './table.ts'

/** A dry run as the API shows it: bytes as base64. */
export type RunShown = {
  asked: string
  answer: string
  node?: string
  mac?: string
  network?: string
  why?: string
  address?: string
  file?: string
  reply?: string
  fields: (Field & { rule?: string })[]
  compared?: { same: boolean; differences: Difference[]; captured?: string }
}
type FileShown = { name: string; what: string; rule: string; text?: string }
type Boot = { mac: string; node?: string; began: number; last: number; steps: number }
type StepShown = {
  step: Step
  same?: boolean
  run?: RunShown
  now?: FileShown
  readBytes?: number
}
export type Explained = {
  mac?: string
  node?: string
  policy: string
  clients: { as: string; run: RunShown; files: FileShown[] }[]
  boots: Boot[]
  boot?: Omit<Boot, 'steps'> & { steps: StepShown[] }
}

/** Columns as wide as what is in them; the last is as it is. */
export function columns(rows: string[][]): string[] {
  const widths = rows[0]!.map((_, i) =>
    Math.min(
      48,
      widest(rows, (row) => row[i]!.length),
    ),
  )
  return rows.map((row) =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd(),
  )
}

/** `offset field captured ours rule` */
export function differenceText(differences: Difference[], { fields }: Pick<RunShown, 'fields'>): string[] {
  if (differences.length === 0) return []
  const rules = new Map(fields.map(({ name, rule }) => [name, rule ?? '']))
  const rows = differences.map(({ name, about, captured, ours }) => [
    String((captured ?? ours)!.at),
    about === undefined ? name : `${name} ${about}`,
    captured?.text ?? '(absent)',
    ours?.text ?? '(absent)',
    rules.get(name) ?? '',
  ])
  return columns([['byte', 'field', 'captured', 'ours', 'rule'], ...rows]).map((line) => `    ${line}`)
}

// ---- a machine now ----

export function machineText(explained: Explained): string[] {
  const { clients, boot, boots } = explained
  return [
    ...headText(explained),
    ...clients.flatMap(({ as, run, files }) => [
      '',
      `${as}: ${runText(run)}`,
      ...fieldsText(run),
      ...files.flatMap(fileText),
    ]),
    '',
    ...(boot ? lastBootText(boot) : ['no boot of it is recorded']),
    ...(boots.length > 1 ? [`${boots.length} boots are recorded: --boot -1 to --boot -${boots.length}`] : []),
  ]
}

const headText = ({ node, mac, policy }: Explained) => [
  [node, mac ?? 'without a MAC address'].filter(Boolean).join('  '),
  `policy  ${policy}`,
]

function runText({ asked, answer, why, network, address }: RunShown): string {
  const what = address === undefined ? answer : `${answer} of ${address}`
  return `${asked} -> ${what}${network === undefined ? '' : ` in the network of ${network}`}${why === undefined ? '' : ` (${why})`}`
}

function fieldsText({ fields }: RunShown): string[] {
  const shown = fields.filter(({ name, hex }) => name.startsWith('option') || !/^0*$/.test(hex))
  const rows = shown
    .filter(({ name }) => !['op', 'htype', 'hlen', 'xid', 'flags', 'cookie', 'end'].includes(name))
    .map(({ name, about, text, rule }) => [about === undefined ? name : `${name} ${about}`, text, rule ?? ''])
  return rows.length === 0 ? [] : columns(rows).map((line) => `  ${line}`)
}

const fileText = ({ name, what, rule, text }: FileShown): string[] => [
  `  loads ${name}: ${what} (${rule})`,
  ...textLines(text),
]

const textLines = (text: string | undefined): string[] =>
  text === undefined
    ? []
    : text
        .trimEnd()
        .split('\n')
        .map((line) => `    | ${line}`)

/** What differs, and nothing of what does not. */
function lastBootText({ began, last, steps }: NonNullable<Explained['boot']>): string[] {
  const differing = steps.filter(({ same }) => same === false)
  const head = `the last boot began ${when(began)} and took ${seconds(last - began)}:`
  if (differing.length === 0)
    return [`${head} it would get the same now (${steps.length} steps, --boot -1 shows them)`]
  return [
    `${head} ${differing.length} of ${steps.length} steps would be others now`,
    ...differing.flatMap((each) => stepText(each, began)),
  ]
}

// ---- a boot ----

export function bootText(explained: Explained): string[] {
  const { boot } = explained
  if (!boot) return headText(explained)
  return [
    ...headText(explained),
    `boot that began ${when(boot.began)}, ${boot.steps.length} steps in ${seconds(boot.last - boot.began)}`,
    ...boot.steps.flatMap((each) => ['', ...stepText(each, boot.began, true)]),
  ]
}

function stepText({ step, same, run, now, readBytes }: StepShown, began: number, whole = false): string[] {
  const at = `+${seconds(step.time - began)}`.padStart(8)
  if (step.kind === 'blob') return [`${at}  http ${step.digest} (${sizeText(step.bytes)})`]
  if (step.kind === 'dhcp' && run) {
    const got =
      step.reply === undefined
        ? `no reply${step.why ? ` (${step.why})` : ''}`
        : `${step.answer}${step.address ? ` of ${step.address}` : ''}`
    return [
      `${at}  dhcp ${run.asked} -> ${got}${same ? '' : `; now ${run.answer}${run.why ? ` (${run.why})` : ''}`}`,
      ...(whole ? packetText(step, run) : []),
      ...differenceText(run.compared?.differences ?? [], run),
    ]
  }
  if (step.kind !== 'file' || !now) return []
  const { sent, by, name } = step
  const read = readBytes === undefined ? '' : `, ${sizeText(readBytes)} read`
  return [
    `${at}  ${by} ${name} -> ${sentText(sent)}${read}${same ? '' : `; now ${now.what} (${now.rule})`}`,
    ...(whole && sent.what === 'text' ? textLines(sent.text) : []),
    ...(same || sent.what !== 'text' || now.text === undefined ? [] : changedLines(sent.text, now.text)),
  ]
}

function packetText(step: Extract<Step, { kind: 'dhcp' }>, { fields }: RunShown): string[] {
  const rules = new Map(fields.map(({ name, hex, rule }) => [`${name} ${hex}`, rule]))
  const lines = (title: string, bytes: string, withRules: boolean) => {
    const described = describePacket(Buffer.from(bytes, 'base64')).map((field) => {
      const rule = withRules ? rules.get(`${field.name} ${field.hex}`) : undefined
      return { ...field, ...(rule !== undefined && { rule }) }
    })
    return [
      `            ${title}`,
      ...fieldsText({ asked: '', answer: '', fields: described }).map((line) => `          ${line}`),
    ]
  }
  return [
    ...lines('request', step.request, false),
    ...(step.reply === undefined ? [] : lines('reply', step.reply, true)),
  ]
}

function sentText(sent: Extract<Step, { kind: 'file' }>['sent']): string {
  switch (sent.what) {
    case 'text':
      return `text [${sent.kind}]`
    case 'loader':
      return `loader, ${sizeText(sent.bytes)}${sent.digest ? ` ${sent.digest}` : ''}`
    case 'blob':
      return `${sent.digest} (${sizeText(sent.bytes)})`
    case 'empty':
      return 'an empty file'
    case 'nothing':
      return 'no such file'
  }
}

/** Lines of the one that the other has not. */
function changedLines(then: string, now: string): string[] {
  const [a, b] = [then.trimEnd().split('\n'), now.trimEnd().split('\n')]
  const [inA, inB] = [new Set(a), new Set(b)]
  return [
    ...a.filter((line) => !inB.has(line)).map((line) => `    - ${line}`),
    ...b.filter((line) => !inA.has(line)).map((line) => `    + ${line}`),
  ]
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)}s`

function when(time: number): string {
  const date = new Date(time)
  const two = (number: number) => String(number).padStart(2, '0')
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${date.toTimeString().slice(0, 8)}`
}
