// The report of a capture for a person.
import type { CaptureReport, Named } from './capture-report.ts'

const number = (value: number) => value.toLocaleString('en-US')
const megabytes = (bytes: number) =>
  `${(bytes / 1e6).toLocaleString('en-US', { maximumFractionDigits: 1 })} MB`

/** Lines for a person. */
export function renderCaptureReport(report: CaptureReport): string[] {
  const { node, kind, base, startedAt, seconds, entries, fetched, unchanged, removed, left } = report
  const { changed, retried, vanished, resumed, movedBytes, storedBytes } = report
  const list = (what: string, { count, names }: Named) =>
    count === 0
      ? []
      : [
          `${what} ${number(count)}`,
          ...names.slice(0, 20).map((name) => `  /${name}`),
          ...(count > 20 ? ['  ...'] : []),
        ]
  return [
    `captured from ${node} (${kind}) ${startedAt.slice(0, 19).replace('T', ' ')}, ${seconds.toFixed(1)} s${base === undefined ? '' : `, on top of ${base}`}`,
    `entries ${number(entries)}: ${number(unchanged)} unchanged, ${number(fetched.entries)} fetched (${number(fetched.files)} files, ${megabytes(fetched.bytes)})`,
    `moved ${megabytes(movedBytes)}, stored ${megabytes(storedBytes)}`,
    ...(removed > 0 ? [`removed since ${base} ${number(removed)}`] : []),
    ...(resumed
      ? [`received by an earlier attempt ${number(resumed.layers)} layers, ${megabytes(resumed.bytes)}`]
      : []),
    ...(retried > 0 ? [`read again because they were written to ${number(retried)}`] : []),
    ...list('still written to while they were read', changed),
    ...list('gone before they were read', vanished),
    ...Object.entries(left).map(([why, entriesLeft]) => `left out ${number(entriesLeft)}: ${why}`),
  ]
}
