// npm run bench [-- ROW...]: the rows by name, all of them when none is named. Ours and its peers are started here, in
// network namespaces of the bench's own. A goal that is missed is said and fails nothing; a server that breaks does.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { capture, captureMany } from './capture.ts'
import { dhcpAvalanche, dhcpRate } from './dhcp.ts'
import { fuzz } from './fuzz.ts'
import { http } from './http.ts'
import { summary } from './report.ts'
import { type FileName, type Ground, makeGround } from './site.ts'
import { storm } from './storm.ts'
import { tftp } from './tftp.ts'

type Row = { files: FileName[]; run(ground: Ground): Promise<void> }
const rows: Record<string, Row> = {
  dhcp: { files: [], run: dhcpRate },
  avalanche: { files: [], run: dhcpAvalanche },
  tftp: { files: ['loader', 'blob'], run: tftp },
  http: { files: ['big'], run: http },
  storm: { files: ['loader', 'blob'], run: storm },
  fuzz: { files: ['loader', 'blob'], run: fuzz },
  capture: { files: [], run: capture },
  many: { files: [], run: captureMany },
}
// These count CPU of the parts and need no network.
const scripts = ['boot', 'objects']

const wanted = process.argv.slice(2)
const known = [...scripts, ...Object.keys(rows)]
const unknown = wanted.filter((name) => !known.includes(name))
if (unknown.length > 0) {
  console.error(`bench: no such row (${unknown.join(' ')}; ${known.join(' ')})`)
  process.exit(2)
}
const chosen = wanted.length > 0 ? known.filter((name) => wanted.includes(name)) : known
for (const name of chosen.filter((each) => scripts.includes(each))) {
  console.log(`\n${name}`)
  const argv = ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, `${name}.ts`)]
  execFileSync(process.execPath, argv, { stdio: 'inherit' })
}
const racks = chosen.filter((name) => Object.hasOwn(rows, name))
if (racks.length > 0) {
  const ground = makeGround([...new Set(racks.flatMap((name) => rows[name]!.files))])
  // Ctrl-C: what was started and made is ended and removed as well.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
  process.once('exit', () => ground.close())
  for (const name of racks) await rows[name]!.run(ground)
  summary()
}
