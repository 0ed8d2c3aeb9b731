// Holding a golden client's files still for the time of a copy: LVM snapshots, and commands of its admin. The script there
// lets go by itself when the connection, this process or the whole server is gone.
import { randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'
import { PassThrough } from 'node:stream'
import { UserError } from '../../src/fault.ts'
import { volumePath } from '../../src/image/disks.ts'
import type { Probe } from '../../src/image/probe.ts'
import type { Ssh } from '../remote/ssh.ts'
import { collect } from './layer.ts'

/** `freeze` and `thaw` are lines for a shell there. */
export type Hold = { snapshot?: boolean; freeze?: string; thaw?: string }
/** `root` is where the files are to be read. `release` throws when what was read is not to be used. */
export type Held = { root: string; release(): Promise<void> }

type Needs = {
  ssh: Pick<Ssh, 'runScript'>
  script: string // bootfiles/capture/hold.sh
  root: string
  hold: Hold | undefined
  probe: Pick<Probe, 'layout' | 'mountpoints' | 'devices'>
}

const BEAT_MS = 5000 // the script lets go after a minute without one

export async function holdStill(needs: Needs): Promise<Held> {
  const { ssh, script, root, hold } = needs
  if (hold === undefined) return { root, release: async () => {} }
  const input = new PassThrough()
  const running = await ssh.runScript(script, linesOf(needs, hold), input)
  const said = collect(running.stderr, 65_536)
  const lines = createInterface({ input: running.stdout })[Symbol.asyncIterator]()
  const beat = setInterval(() => void input.write('\n'), BEAT_MS)
  running.exit.catch(() => {}).finally(() => clearInterval(beat))

  /** The next line that begins so; what failed there is thrown. */
  async function next(word: string): Promise<string> {
    for (let line = await lines.next(); !line.done; line = await lines.next()) {
      if (line.value.startsWith('failed ')) throw failed(line.value.slice('failed '.length), await said)
      if (line.value.startsWith(word)) return line.value.slice(word.length).trim()
    }
    throw failed('it ended early', await said)
  }
  async function release() {
    clearInterval(beat)
    input.end('end\n')
    await next('released')
    // What comes after it: a snapshot that has run full.
    for (let line = await lines.next(); !line.done; line = await lines.next())
      if (line.value.startsWith('failed ')) throw failed(line.value.slice('failed '.length), await said)
  }
  try {
    return { root: await next('root '), release }
  } catch (error) {
    clearInterval(beat)
    input.end()
    throw error
  }
}

const failed = (what: string, said: string) =>
  new UserError('the golden client cannot be held still', {
    what: [what, said.trim().split('\n').at(-1)].filter(Boolean).join('; ').slice(0, 500),
  })

function linesOf({ root, probe }: Needs, { snapshot, freeze, thaw }: Hold): string[] {
  return [
    `id ${randomBytes(6).toString('hex')}`,
    `root ${root}`,
    ...(freeze === undefined ? [] : [`freeze ${freeze}`]),
    ...(thaw === undefined ? [] : [`thaw ${thaw}`]),
    ...(snapshot ? snapshotLines(probe) : []),
    'go',
  ]
}

/** What is on no volume is read as it is, where the snapshots leave it. */
function snapshotLines({ layout, mountpoints, devices }: Needs['probe']): string[] {
  const volumes = new Map(
    (layout.groups ?? []).flatMap(({ name: group, volumes }) =>
      volumes.map((volume) => [volumePath(group, volume.name), { group, volume }] as const),
    ),
  )
  if (!volumes.has(devices[mountpoints.indexOf('/')] ?? ''))
    throw new UserError('no snapshot can be made', {
      what: '/ is on no logical volume',
      allowed: 'a golden client on LVM, or --freeze and --thaw',
    })
  return mountpoints.map((mountpoint, index) => {
    const found = volumes.get(devices[index]!)
    if (found === undefined) return `plain ${mountpoint}`
    const isThin = found.volume.segments.some(({ type }) => type === 'thin')
    return `snapshot ${found.group} ${found.volume.name} ${isThin ? found.volume.pool : '-'} ${mountpoint}`
  })
}
