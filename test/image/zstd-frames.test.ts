import { execFileSync } from 'node:child_process'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { WireError } from '../../src/fault.ts'
import {
  parseSeekTable,
  renderSeekTable,
  SEEK_FOOTER,
  seekTableLength,
  splitFrames,
} from '../../src/image/zstd-frames.ts'

const texts = [
  '',
  'a',
  'words '.repeat(50_000),
  Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * i * 31) % 253)),
]
const params = { [constants.ZSTD_c_checksumFlag]: 1 }
const made = texts.map((text) => zstdCompressSync(Buffer.from(text), { params }))
// The command writes no content size when it reads a pipe: another shape of header.
const piped = texts.map((text) => execFileSync('zstd', ['-1', '-q', '-c'], { input: Buffer.from(text) }))

function split(bytes: Buffer, size: number): Buffer[] {
  const splitter = splitFrames()
  const frames: Buffer[] = []
  for (let at = 0; at < bytes.length; at += size) frames.push(...splitter.push(bytes.subarray(at, at + size)))
  splitter.end()
  return frames.map((frame) => Buffer.from(frame))
}

describe('frames', () => {
  test.each([1, 7, 1000, 1 << 20])('are found whatever the pieces: %i bytes', (size) => {
    const plain = texts.map((text) => zstdCompressSync(Buffer.from(text))) // nothing follows their last block
    const frames = [...made, ...piped, ...plain]
    expect(split(Buffer.concat(frames), size).map((f) => f.length)).toEqual(frames.map((f) => f.length))
  })

  test('of pzstd, which writes their lengths between them', () => {
    const content = Buffer.concat(
      Array.from({ length: 40 }, (_, i) => Buffer.from(texts[3]!).fill(i, 0, 100)),
    )
    const bytes = execFileSync('pzstd', ['-1', '-q', '-c', '-p', '1'], { input: content })
    for (const size of [1, 1000, 1 << 20]) {
      const frames = split(bytes, size)
      expect(frames.length).toBeGreaterThan(1)
      expect(Buffer.concat(frames.map((frame) => zstdDecompressSync(frame))).equals(content)).toBe(true)
    }
    const lies = Buffer.from(bytes)
    lies.writeUInt32LE(5, 4)
    expect(() => split(lies, 1000)).toThrow(WireError)
    expect(() => split(bytes.subarray(0, 7), 3)).toThrow(WireError)
  })

  test('cut short anywhere, the stream throws WireError', () => {
    const bytes = Buffer.concat([piped[1]!, made[1]!])
    const ends = [0, piped[1]!.length, bytes.length]
    for (let length = 0; length <= bytes.length; length++) {
      const cut = () => split(bytes.subarray(0, length), 5)
      if (ends.includes(length)) expect(cut).not.toThrow()
      else expect(cut, `at ${length}`).toThrow(WireError)
    }
  })

  test('garbage throws WireError, nothing else, and needs no endless memory', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (noise) => {
        const magic = Buffer.from([0x28, 0xb5, 0x2f, 0xfd])
        try {
          split(Buffer.concat([magic, noise]), 64)
        } catch (error) {
          expect(error).toBeInstanceOf(WireError)
        }
      }),
    )
    const endless = Buffer.concat([made[1]!.subarray(0, 6), Buffer.alloc(6 << 20)]) // empty blocks, never a last one
    expect(() => split(endless, 1 << 20)).toThrow(WireError)
  })
})

describe('the table at the end', () => {
  const frames = made.map((frame, i) => ({
    compressed: frame.length,
    content: Buffer.from(texts[i]!).length,
  }))
  const table = renderSeekTable(frames)

  test('reads back, and its length stands in its last bytes', () => {
    expect(parseSeekTable(table)).toEqual(frames)
    expect(seekTableLength(table.subarray(-SEEK_FOOTER))).toBe(table.length)
  })

  test('is skipped by the zstd command', () => {
    const plain = execFileSync('zstd', ['-dcq'], {
      input: Buffer.concat([...made, table]),
      maxBuffer: 1 << 24,
    })
    expect(plain.equals(Buffer.concat(texts.map((text) => Buffer.from(text))))).toBe(true)
  })

  test('damaged, it throws WireError', () => {
    for (let at = 0; at < table.length; at++) {
      const bytes = Buffer.from(table)
      bytes[at]! ^= 0x40
      try {
        parseSeekTable(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(WireError)
      }
    }
    expect(() => parseSeekTable(table.subarray(0, 8))).toThrow(WireError)
  })
})
