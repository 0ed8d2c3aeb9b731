import type { Command } from 'commander'
import { type Needs, type Shared, serverCommand } from './needs.ts'
import { tableOf } from './table.ts'

type Row = {
  name: string
  version: number
  createdAt: string
  source: string
  arch: string
  firmware: string
  os: { name: string }
  kernelRelease: string
  bytes: number
  tarBytes: number
}

/** `lsimage [NAME...]`: every version that can be deployed. */
export function lsimage(program: Command, { api, print }: Needs) {
  serverCommand(program, 'lsimage', 'list the versions of osimages that can be deployed')
    .argument('[names...]', 'only these osimages')
    .action(async (names: string[], { server, json }: Shared) => {
      const { images } = (await api(server).get('/images')) as { images: Row[] }
      for (const name of names)
        if (!images.some((each) => each.name === name))
          print.fault({ error: 'no such osimage', what: name, object: name })
      const shown = images.filter(({ name }) => names.length === 0 || names.includes(name))
      if (json) print.json(shown)
      else print.line(tableOf(print, head, shown.map(cells)))
    })
}

const head = ['IMAGE', 'CAPTURED', 'FROM', 'ARCH', 'FIRMWARE', 'STORED', 'CONTENT', 'OS']
const cells = (image: Row): string[] => [
  `${image.name}:${image.version}`,
  image.createdAt.slice(0, 16).replace('T', ' '),
  image.source,
  image.arch,
  image.firmware,
  megabytes(image.bytes),
  megabytes(image.tarBytes),
  image.os.name,
]

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`
