// The look at a golden client for a person: what is done with what was found, and how to say otherwise.
import type { Finding, Preflight, SomeFiles } from './preflight.ts'

const verbs = { keep: 'taken', regenerate: 'made anew on each clone', drop: 'left out' }
const SHOWN_NAMES = 5

export function showPreflight({
  findings,
  databases,
  staysOut,
  refusals,
  warnings = [],
  notDeployable,
  flagged = [],
  unread = { count: 0, names: [] },
}: Preflight): string[] {
  const titles = { identity: 'identities', secret: 'secrets', data: 'data' }
  const kinds = (['identity', 'secret', 'data'] as const).flatMap((kind) => {
    const some = findings.filter((finding) => finding.kind === kind)
    return some.length === 0 ? [] : [`${titles[kind]}:`, ...some.flatMap(showFinding)]
  })
  const list = (title: string, lines: string[]) =>
    lines.length === 0 ? [] : [`${title}:`, ...lines.map((l) => `  ${l}`)]
  return [
    ...list('refused, cannot be reproduced on a clone', refusals),
    ...list('degraded there, captured as if it were whole', warnings),
    ...list('captured, not yet deployable', notDeployable),
    ...kinds,
    ...list(
      'running databases',
      databases.map(
        (name) => `${name}: stop it, or use --freeze or --snapshot, lest its files do not fit together`,
      ),
    ),
    ...list(`too large to look into for keys and passwords, ${filesOf(unread.count)}`, someNames(unread)),
    ...list('immutable (i) or append-only (a): clones have them without that', flagged),
    ...list(
      'stays out',
      staysOut.map(({ what, why }) => `${what}: ${why}`),
    ),
  ]
}

function showFinding({ name, rule, rules, is, count, names }: Finding): string[] {
  const others = rules.filter((each) => each !== rule)
  return [
    `  ${name}:${rule}  ${filesOf(count)} ${verbs[rule]}${others.length > 0 ? ` (or ${others.join(', ')})` : ''}: ${is}`,
    ...someNames({ count, names }).map((line) => `    ${line}`),
  ]
}

const filesOf = (count: number) => (count === 1 ? '1 file' : `${count} files`)
const someNames = ({ count, names }: SomeFiles): string[] => [
  ...names.slice(0, SHOWN_NAMES),
  ...(count > SHOWN_NAMES ? [`and ${count - SHOWN_NAMES} more`] : []),
]
