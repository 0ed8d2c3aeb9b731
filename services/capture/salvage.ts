// What a capture that was killed had received: its layers are read again from the staging folder up to the last whole
// file, closed, and used as if they were part of the version before. Only what is not in them goes over the wire again.
import { copyFileSync, createReadStream, existsSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { WireError } from '../../src/fault.ts'
import { readTar } from '../../src/image/tar.ts'
import { tarEnd } from '../../src/image/tar-write.ts'
import { isWhiteout, whiteoutHeader } from '../../src/image/whiteout.ts'
import type { Stage } from '../images/stage.ts'
import { readList } from './compare.ts'
import type { LayerFrame } from './frames.ts'
import { madeFrames, soundFrames } from './frames.ts'
import type { CapturedLayer } from './layer.ts'
import { indexLayer } from './layer-index.ts'
import { layerOf, writeLayer } from './layer-write.ts'
import { beginOf, freshFrom } from './listing.ts'

export type SalvagedLayer = Pick<CapturedLayer, 'layer' | 'blob' | 'list' | 'rows'>

/** Layers of all that lies in the staging folder; `number` is that of the first one. Everything else there is removed. */
export async function salvage(stage: Stage, number: number): Promise<SalvagedLayer[]> {
  const names = readdirSync(stage.path)
  const received = receivedOf(names)
  for (const name of names)
    if (!received.includes(name) && !received.includes(name.replace(/\.list$/, '')) && name !== 'purpose')
      rmSync(join(stage.path, name), { recursive: true })
  const salvaged: SalvagedLayer[] = []
  for (const name of received) {
    const file = join(stage.path, name)
    const layer = await closeLayer(stage, file, number + salvaged.length)
    if (layer !== undefined) salvaged.push(layer)
    for (const left of [file, `${file}.list`]) rmSync(left)
  }
  return salvaged
}

const receivedOf = (names: string[]) => names.filter((name) => names.includes(`${name}.list`))

/** Whether there is anything of use for another attempt. */
export const hasReceived = (folder: string): boolean =>
  receivedOf(readdirSync(folder)).some((name) => statSync(join(folder, name)).size > 0)

async function closeLayer(stage: Stage, file: string, number: number): Promise<SalvagedLayer | undefined> {
  const begin = beginOf(`${file}.list`)
  const wholeBytes = await wholeMembers(file)
  if (begin === undefined || wholeBytes === 0) return undefined
  const blob = await stage.openBlob()
  const list = `${blob.path}.list`
  copyFileSync(`${file}.list`, list) // the old one stays until this is whole: we can be killed as well
  const index = indexLayer({
    layer: number,
    listed: readList(list),
    rows: `${blob.path}.rows`,
    freshNs: freshFrom(begin),
  })
  try {
    await writeLayer({ blob, index, progress: () => {} }, cutFrames(file, wholeBytes))
    const { skipped: _, ...found } = index.end()
    const staged = await blob.end()
    return { layer: layerOf(staged, found), blob: staged, list, rows: index.rows }
  } catch (error) {
    if (!(error instanceof WireError)) throw error
    rmSync(blob.path) // damaged in a way that only now shows: then it is fetched again
    rmSync(list)
    return undefined
  } finally {
    await blob.close()
  }
}

/** How many bytes of the archive are whole members; 0: none. */
async function wholeMembers(file: string): Promise<number> {
  let members = 0
  const tar = readTar({
    entry: () => {},
    done: () => {
      members += 1
    },
  })
  try {
    for await (const { content } of archiveFrames(file)) tar.push(content)
  } catch (error) {
    if (!(error instanceof WireError)) throw error
  }
  return members > 0 ? tar.boundary() : 0
}

async function* cutFrames(file: string, bytes: number): AsyncGenerator<LayerFrame> {
  let rest = bytes
  for await (const frame of archiveFrames(file)) {
    if (frame.content.length > rest) {
      yield* madeFrames(Readable.from([Buffer.concat([frame.content.subarray(0, rest), tarEnd()])]))
      return
    }
    rest -= frame.content.length
    yield frame
  }
  yield* madeFrames(Readable.from([tarEnd()]))
}

/** Without the whiteouts in front, which have frames of their own: they were right for the tree as it was then. */
async function* archiveFrames(file: string): AsyncGenerator<LayerFrame> {
  if (!existsSync(file)) return
  let inFront = true
  for await (const frame of soundFrames(createReadStream(file, { highWaterMark: 1 << 16 }))) {
    const name = frame.content.toString('latin1', 0, 100).replace(/\0.*$/s, '')
    inFront &&= name === whiteoutHeader || isWhiteout(name)
    if (!inFront) yield frame
  }
}
