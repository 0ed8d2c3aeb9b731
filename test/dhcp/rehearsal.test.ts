import { expect, test } from 'vitest'
import { rehearse } from '../../src/dhcp/rehearsal.ts'

test('the rehearsal is of whole exchanges: all machines but unknown UEFI ones are answered twice', () => {
  const rehearsal = rehearse(1200)
  let stops = 0
  let step = rehearsal.next()
  for (; !step.done; step = rehearsal.next()) stops++
  expect(stops).toBe(12)
  // Of four kinds one is UEFI firmware, of three machines one is unknown: that one is not answered.
  expect(step.value).toBe(2 * (1200 - 1200 / 12))
})
