// One capture in a process of its own, as a job of the server does it: node capture-ours.ts JSON. Prints what came of it.
import { readFileSync } from 'node:fs'
import { captureImage } from '../../services/capture/capture.ts'
import { openImages } from '../../services/images/store.ts'
import type { ImageName } from '../../src/address.ts'
import { goldenScripts, probeAnswer } from '../capture/golden.ts'

type Order = { images: string; tree: string; host: string; port: number; hostKey: string; identity: string }
const order = JSON.parse(process.argv[2]!) as Order
const images = await openImages(order.images)
const { host, port, hostKey, tree } = order
const { version, isNew } = await captureImage({
  target: { node: 'golden', host, port, user: 'root', hostKey },
  privateKey: readFileSync(order.identity, 'utf8'),
  image: 'img' as ImageName,
  images,
  scripts: goldenScripts(probeAnswer(tree)),
  emit: () => {},
  signal: new AbortController().signal,
  root: tree,
})
const report = version.report && JSON.parse(readFileSync(images.blobPath(version.report.digest), 'utf8'))
console.log(JSON.stringify({ version: version.version, isNew, report }))
