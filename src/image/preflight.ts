// What a look at a golden client found before its capture: what a clone must not have, what stays out, what cannot be.
import type { Static } from 'typebox'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { UserError, WireError } from '../fault.ts'
import { printable } from './capture-report.ts'
import { notDeployable } from './disks.ts'
import type { Probe } from './probe.ts'
import { defaultRules, type ScrubRules, scrubFacts } from './scrub.ts'
import type { ScrubName } from './scrub-table.ts'

const text = Type.String({ maxLength: 65_536 })
const words = Type.Array(text, { maxItems: 100_000 })
const rule = Type.Union([Type.Literal('keep'), Type.Literal('regenerate'), Type.Literal('drop')])

/** Files of one row of the scrub table; `names` are some of them. */
const Finding = Type.Object({
  name: text,
  kind: Type.Union([Type.Literal('identity'), Type.Literal('secret'), Type.Literal('data')]),
  is: text,
  rule,
  rules: Type.Array(rule), // what may be said instead; the first is the default
  count: Type.Integer({ minimum: 0 }),
  names: words,
})
export type Finding = Static<typeof Finding>

/** `names` are some of so many. */
const SomeFiles = Type.Object({ count: Type.Integer({ minimum: 0 }), names: words })
export type SomeFiles = Static<typeof SomeFiles>

const Preflight = Type.Object({
  findings: Type.Array(Finding, { maxItems: 1000 }),
  databases: words, // that run: 'mysqld'
  staysOut: Type.Array(Type.Object({ what: text, why: text }), { maxItems: 100_000 }),
  refusals: words, // the capture would be refused
  warnings: Type.Optional(words), // '/dev/md0 (md raid1) has 1 of its 2 members'
  notDeployable: words, // it would be captured, and not be installed
  flagged: Type.Optional(words), // '/etc/resolv.conf (i)': clones have it without that flag; absent: not known
  unread: Type.Optional(SomeFiles), // may hold secrets, and were too large to look into
})
export type Preflight = Static<typeof Preflight>

const MOST_NAMES = 50
/** What a classified file list gave: per row how many files, and some of their names. */
export type Counts = Map<ScrubName, SomeFiles>

export function addFile(counts: Counts, name: ScrubName, path: string) {
  const found = counts.get(name) ?? { count: 0, names: [] }
  counts.set(name, found)
  countFiles(found, path)
}

export function countFiles(found: SomeFiles, path: string) {
  found.count += 1
  if (found.names.length < MOST_NAMES) found.names.push(`/${printable(path)}`)
}

type Looked = Pick<Probe, 'processes' | 'staysOut' | 'refusals' | 'warnings' | 'layout'>
type Files = { counts: Counts; unread: SomeFiles; flagged?: string[] | undefined }

export function makePreflight(
  probe: Looked,
  rules: ScrubRules,
  { counts, unread, flagged }: Files,
): Preflight {
  const findings = [...counts].map(([name, found]): Finding => {
    const { kind, is, rules: allowed } = scrubFacts(name)
    return { name, kind, is, rule: rules[name], rules: allowed, ...found }
  })
  const order = Object.keys(defaultRules)
  return {
    findings: findings.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name)),
    databases: databasesOf(probe.processes),
    staysOut: probe.staysOut,
    refusals: probe.refusals,
    ...(probe.warnings.length > 0 && { warnings: probe.warnings }),
    notDeployable: notDeployable(probe.layout),
    ...(flagged && { flagged }),
    ...(unread.count > 0 && { unread }),
  }
}

// Names of processes, as the kernel cuts them.
const databases =
  /^(mysqld|mariadbd|postgres|mongod|redis-server|valkey-server|slapd|etcd|influxd|ora_pmon.*|db2sysc|sqlservr|clickhouse.*|ceph-(osd|mon)|cockroach|beam\.smp|memcached|ns-slapd|couchdb|victoria-.*)$/
const databasesOf = (processes: readonly string[]): string[] =>
  [...new Set(processes.filter((name) => databases.test(name)))].sort()

/** Throws UserError when the golden client has what no clone could be given. */
export function refuseUnreproducible({ refusals }: Pick<Probe, 'refusals'>) {
  if (refusals.length > 0)
    throw new UserError('a part of the golden client cannot be reproduced on a clone', {
      what: refusals.join('; '),
      allowed: 'see imgcapture --check',
    })
}

export const renderPreflight = (preflight: Preflight): string => JSON.stringify(preflight)

/** Throws WireError when it is none. */
export function parsePreflight(json: string): Preflight {
  try {
    const value = JSON.parse(json)
    if (Value.Check(Preflight, value)) return value
  } catch {}
  throw new WireError('preflight: out of shape')
}
