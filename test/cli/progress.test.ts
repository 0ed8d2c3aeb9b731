import { expect, test } from 'vitest'
import { openProgress } from '../../services/cli/progress.ts'

function shown({ isTty, columns = 80 }: { isTty: boolean; columns?: number }) {
  let text = ''
  const add = (more: string) => {
    text += more
  }
  const progress = openProgress({ line: (line) => add(`${line}\n`), raw: add, isTty, columns })
  return { ...progress, text: () => text }
}

test('on a terminal one line moves', () => {
  const { show, close, text } = shown({ isTty: true })
  show({ phase: 'copy', percent: 0 })
  show({ phase: 'copy', percent: 50, text: '1.0 GB' })
  close()
  expect(text()).toBe(
    `\r\x1b[K[${'.'.repeat(24)}] copy 0%\r\x1b[K[${'#'.repeat(12)}${'.'.repeat(12)}] copy 50% 1.0 GB\n`,
  )
})

test('the line is never wider than the terminal, and its text cannot move the cursor', () => {
  const { show, text } = shown({ isTty: true, columns: 40 })
  show({ phase: 'copy', percent: 500, text: `\x1b[2J${'x'.repeat(100)}` })
  expect(text()).toMatch(/^\r\x1b\[K[\x20-\x7e]{39}$/)
})

test('elsewhere a line is said for each phase and each tenth of the way', () => {
  const { show, close, text } = shown({ isTty: false })
  for (const percent of [0, 1, 9, 10, 11, 35]) show({ phase: 'copy', percent })
  show({ phase: 'publish', percent: 35 })
  close()
  expect(text()).toBe('copy 0%\ncopy 10%\ncopy 35%\npublish 35%\n')
})

test.each([true, false])(
  'what a person is to know has a line of its own that stays (terminal: %s)',
  (isTty) => {
    const { show, close, text } = shown({ isTty })
    show({ phase: 'list', percent: 1 })
    show({ phase: 'list', percent: 1, note: 'not yet deployable: btrfs' })
    show({ phase: 'archive', percent: 3 })
    close()
    const [before, after, ...more] = text().split('not yet deployable: btrfs\n')
    expect(before).toMatch(isTty ? /list 1%\r\x1b\[K$/ : /^list 1%\n$/)
    expect(after).toMatch(/archive 3%\n$/)
    expect(more).toEqual([])
  },
)
