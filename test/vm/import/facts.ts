// What a clone says of itself and its disk: facts.sh's lines.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** One of its disk, or of the disk's partitions; lsblk's words. */
export type Block = {
  name: string
  size: number
  parttype: string | null
  partlabel: string | null
  partuuid: string | null
  fstype: string | null
  uuid: string | null
  label: string | null
}
export type Mount = { target: string; source: string; fstype: string; options: string; size: number }
export type Facts = {
  hostname: string
  machineId: string
  firmware: string
  commandLine: string
  ping: string
  /** Each as `TYPE KEY`. */
  hostKeys: string[]
  partitions: Block[]
  mounts: Mount[]
  swaps: string[]
}

const script = readFileSync(join(import.meta.dirname, 'facts.sh'), 'utf8')

export async function askFacts(ssh: (text: string) => Promise<string>): Promise<Facts> {
  const [self = '', blocks = '', mounts = '', ...swaps] = (await ssh(script)).trim().split('\n')
  return {
    ...JSON.parse(self),
    partitions: JSON.parse(blocks).blockdevices[0].children,
    mounts: JSON.parse(mounts).filesystems,
    swaps,
  }
}
