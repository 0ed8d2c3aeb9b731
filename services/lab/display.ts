// What the lab shows: one status line that changes in place on a terminal, plain lines elsewhere, and a table.
export type Display = {
  say: (line: string) => void
  /** What goes on right now. Off a terminal it is said only when `key` is another than the last time. */
  status: (text: string, key: string) => void
}
type Screen = { isTTY?: boolean; columns?: number; write: (text: string) => unknown }

export function openDisplay(screen: Screen): Display {
  let shown = ''
  let lastKey = ''
  const clear = () => {
    if (shown) screen.write('\r\x1b[K')
    shown = ''
  }
  return {
    say(line) {
      clear()
      screen.write(`${line}\n`)
    },
    status(text, key) {
      if (screen.isTTY) {
        clear()
        shown = text.slice(0, (screen.columns ?? 80) - 1)
        screen.write(shown)
      } else if (key !== lastKey) screen.write(`  ${text}\n`)
      lastKey = key
    },
  }
}

/** Columns as wide as their widest cell; columns of numbers to the right. */
export function renderTable(head: string[], rows: string[][]): string[] {
  const all = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]!.length)))
  const numeric = head.map((_, column) => rows.every((row) => /^[\d.,]*$/.test(row[column]!)))
  const line = (row: string[]) =>
    row
      .map((cell, i) => (numeric[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd()
  return [line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)]
}

/** 1234567 -> '1,234,567'; nothing for what has no size. */
export const grouped = (bytes: number | undefined) =>
  bytes === undefined ? '' : bytes.toLocaleString('en-US')
