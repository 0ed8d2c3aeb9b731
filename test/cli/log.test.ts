import { expect, test } from 'vitest'
import { renderEvent } from '../../services/cli/log.ts'
import type { Event } from '../../src/events.ts'

test('a name from the network moves no cursor of the terminal that shows the log', () => {
  const file = 'a\x1b[2J\x9b2J\u202eb'
  const line = renderEvent({ time: 0, type: 'tftp.fail', file, why: 'no such file' } as unknown as Event)
  expect(line).toMatch(/ tftp\.fail file="a\S+b" why="no such file"$/)
  expect(line).not.toMatch(/[\x00-\x1f\x7f-\x9f\u202a-\u202e]/)
})
