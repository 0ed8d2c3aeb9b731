// What a capture says of how far it is: steps of a made-up copy with a made-up clock, and the event that comes of each.
import { expect, test } from 'vitest'
import { startProgress } from '../../services/capture/progress.ts'
import { parseImageName } from '../../src/address.ts'

const MB = 1_000_000
type Fields = Record<string, unknown>

function start() {
  const told: Fields[] = []
  let clock = 1_000_000
  const progress = startProgress({
    emit: (type, fields) => {
      expect(type).toBe('capture.progress')
      told.push(fields)
    },
    ...{ node: 'golden', image: parseImageName('img'), now: () => clock },
  })
  return {
    progress,
    pass(seconds: number) {
      clock += seconds * 1000
    },
    /** What has been told since it was asked last. */
    news: () => told.splice(0),
  }
}
const moved = (tar: number, wire: number, entries: number) => ({
  ...{ tarBytes: tar * MB, wireBytes: wire * MB, entries },
})

test('files, bytes, rate and time left', () => {
  const { progress, pass, news } = start()
  const usual = { node: 'golden', image: 'img' }
  progress.phase('list', 1)
  pass(9) // the list took that long: no part of the rate
  progress.phase('archive', 10, 90)
  expect(news()).toEqual([
    { ...usual, phase: 'list', percent: 1, bytes: 0 },
    { ...usual, phase: 'archive', percent: 10, bytes: 0 },
  ])
  progress.expect({ tarBytes: 400 * MB, entries: 800 })
  pass(0.6)
  progress.add(moved(20, 5, 40)) // too early for a rate
  pass(1.4)
  progress.add(moved(80, 35, 160))
  pass(0.2)
  progress.add(moved(1, 1, 1)) // an event tells it: half a second must pass
  pass(5.8)
  progress.add(moved(299, 79, 599))
  expect(news()).toEqual([
    {
      ...{ ...usual, phase: 'archive', percent: 14, bytes: 5 * MB, files: 40, totalFiles: 800 },
      text: '40 of 800 files, 5 MB',
    },
    {
      ...{ ...usual, phase: 'archive', percent: 30, bytes: 40 * MB, files: 200, totalFiles: 800 },
      ...{ rate: 20 * MB, secondsLeft: 6, text: '200 of 800 files, 40 MB, 20.0 MB/s, 0:06 left' },
    },
    {
      ...{ ...usual, phase: 'archive', percent: 90, bytes: 120 * MB, files: 800, totalFiles: 800 },
      ...{ rate: 15 * MB, secondsLeft: 0, text: '800 of 800 files, 120 MB, 15.0 MB/s, 0:00 left' },
    },
  ])
  progress.phase('manifest', 89)
  expect(news()).toEqual([{ ...usual, phase: 'manifest', percent: 90, bytes: 120 * MB, files: 800 }]) // no fall to 89
  expect(progress.moved()).toEqual({ tarBytes: 400 * MB, wireBytes: 120 * MB, entries: 800 })
})

const clocks: [secondsLeft: number, said: string][] = [
  [59, '0:59'],
  [60, '1:00'],
  [3599, '59:59'],
  [3600, '1:00:00'],
  [90_061, '25:01:01'],
]
test.each(clocks)('%d seconds left is %s', (seconds, said) => {
  const { progress, pass, news } = start()
  progress.phase('archive', 0, 100)
  progress.expect({ tarBytes: (seconds + 1) * MB, entries: 10 })
  pass(1)
  progress.add(moved(1, 0.5, 1)) // a megabyte a second of archive
  expect(news().at(-1)).toMatchObject({
    secondsLeft: seconds,
    text: expect.stringContaining(`, ${said} left`),
  })
})

test('more files than were listed are told, and never more than all of them', () => {
  const { progress, pass, news } = start()
  progress.phase('archive', 3, 88)
  progress.expect({ tarBytes: 10 * MB, entries: 5 })
  pass(2)
  progress.add(moved(30, 4, 7)) // files have grown since
  expect(news().at(-1)).toMatchObject({
    ...{ percent: 88, files: 7, totalFiles: 5, secondsLeft: 0 },
    text: '5 of 5 files, 4 MB, 2.0 MB/s, 0:00 left',
  })
})

test('nothing to copy: no rate, no time, no division by nothing', () => {
  const { progress, pass, news } = start()
  progress.phase('archive', 3, 88)
  progress.expect({ tarBytes: 0, entries: 0 })
  pass(5)
  progress.note('nothing changed')
  progress.note(undefined)
  expect(news().slice(1)).toEqual([
    {
      ...{ node: 'golden', image: 'img', phase: 'archive', percent: 3, bytes: 0, totalFiles: 0 },
      text: '0 of 0 files, 0 MB',
      note: 'nothing changed',
    },
  ])
})
