import type { Command } from 'commander'
import { type Needs, type Shared, serverCommand } from './needs.ts'

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
      else for (const line of tableOf(shown)) print.line(line)
    })
}

/** Columns as wide as their widest cell; without rows, nothing. */
function tableOf(images: Row[]): string[] {
  if (images.length === 0) return []
  const head = ['IMAGE', 'CAPTURED', 'FROM', 'ARCH', 'FIRMWARE', 'STORED', 'CONTENT', 'OS']
  const cells = images.map((i) => [
    `${i.name}:${i.version}`,
    i.createdAt.slice(0, 16).replace('T', ' '),
    i.source,
    i.arch,
    i.firmware,
    megabytes(i.bytes),
    megabytes(i.tarBytes),
    i.os.name,
  ])
  const widths = head.map((_, column) => Math.max(...[head, ...cells].map((row) => row[column]!.length)))
  return [head, ...cells].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  )
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`
