// The look at a golden client for a person: what is done with what was found, and how to say otherwise.
import type { Finding, Preflight } from './preflight.ts'

const verbs = { keep: 'taken', regenerate: 'made anew on each clone', drop: 'left out' }
const SHOWN_NAMES = 5

export function showPreflight({
  findings,
  databases,
  staysOut,
  refusals,
  notDeployable,
  flagged = [],
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
    ...list('captured, not yet deployable', notDeployable),
    ...kinds,
    ...list(
      'running databases',
      databases.map(
        (name) => `${name}: stop it, or use --freeze or --snapshot, lest its files do not fit together`,
      ),
    ),
    ...list('immutable (i) or append-only (a): clones have them without that', flagged),
    ...list(
      'stays out',
      staysOut.map(({ what, why }) => `${what}: ${why}`),
    ),
  ]
}

function showFinding({ name, rule, rules, is, count, names }: Finding): string[] {
  const others = rules.filter((each) => each !== rule)
  const files = count === 1 ? '1 file' : `${count} files`
  return [
    `  ${name}:${rule}  ${files} ${verbs[rule]}${others.length > 0 ? ` (or ${others.join(', ')})` : ''}: ${is}`,
    ...names.slice(0, SHOWN_NAMES).map((path) => `    ${path}`),
    ...(count > SHOWN_NAMES ? [`    and ${count - SHOWN_NAMES} more`] : []),
  ]
}
