// How long work is shown: one moving line on a terminal, now and then a line of its own elsewhere. What a person is to know
// stays: it has a line of its own on both.
import type { Print } from './print.ts'

export type Step = { phase: string; percent: number; text?: string; note?: string }

export function openProgress({
  line,
  raw,
  isTty,
  columns,
}: Pick<Print, 'line' | 'raw' | 'isTty' | 'columns'>) {
  let said: Step | undefined

  function show(step: Step) {
    const { note } = step
    if (note !== undefined) {
      if (isTty) raw('\r\x1b[K')
      line(note)
    }
    if (isTty) raw(`\r\x1b[K${barOf(step, columns)}`)
    else if (isNews(step)) line(textOf(step))
    else return
    said = step
  }

  /** Elsewhere than on a terminal: each phase, and each tenth of the way. */
  const isNews = ({ phase, percent }: Step) =>
    phase !== said?.phase || Math.floor(percent / 10) > Math.floor(said.percent / 10)

  /** Leaves the last state of the moving line to be read. */
  function close() {
    if (isTty && said) raw('\n')
  }

  return { show, close }
}

const textOf = ({ phase, percent, text }: Step) => `${phase} ${percent}%${text ? ` ${text}` : ''}`

function barOf(step: Step, columns: number): string {
  const width = 24
  const full = Math.round((Math.min(100, Math.max(0, step.percent)) / 100) * width)
  const bar = `[${'#'.repeat(full)}${'.'.repeat(width - full)}] ${textOf(step)}`
  return bar.replace(/[^\x20-\x7e]/g, '?').slice(0, Math.max(10, columns - 1))
}
