// One capture in a process of its own, as a job of the server does it: node capture-ours.ts JSON. Prints what came of it.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { captureImage } from '../../services/capture/capture.ts'
import { openImages } from '../../services/images/store.ts'
import type { ImageName } from '../../src/address.ts'
import { probeAnswer, probeScript } from '../capture/golden.ts'

type Order = { images: string; tree: string; host: string; port: number; hostKey: string; identity: string }
const order = JSON.parse(process.argv[2]!) as Order
const script = (name: string) =>
  readFileSync(join(import.meta.dirname, `../../bootfiles/capture/${name}.sh`), 'utf8')
const images = await openImages(order.images)
const { host, port, hostKey, tree } = order
const { version, isNew } = await captureImage({
  target: { node: 'golden', host, port, user: 'root', hostKey },
  privateKey: readFileSync(order.identity, 'utf8'),
  image: 'img' as ImageName,
  images,
  scripts: {
    probe: probeScript(probeAnswer(tree)),
    list: script('list'),
    archive: script('archive'),
    inspect: script('inspect'),
    hold: script('hold'),
  },
  emit: () => {},
  signal: new AbortController().signal,
  root: tree,
})
const report = version.report && JSON.parse(readFileSync(images.blobPath(version.report.digest), 'utf8'))
console.log(JSON.stringify({ version: version.version, isNew, report }))
